-- text.lua -- what predict spends on text beside the network: reading records, tokenising, rows, answers as text.
--   datamux bench/text.lua MODEL FILE [texts=20000] [repeats=5]
-- MODEL: anything that predict takes; FILE: lines of text. Prints, of the best of the repeats (the first one has cold
-- caches): texts a second, the processor seconds in the network and outside it, that as a share of the network's, and
-- the tokeniser's alone. For one thread: DATAMUX_THREADS=1.
local dm = require 'datamux'
local filter = require 'datamux.filter'
local predict = require 'datamux.predict'
local reader = require 'datamux.data.reader'
local clock = os.clock

local o = { texts = 20000, repeats = 5 }
for i = 3, #arg do
  local k, v = arg[i]:match '^(%a+)=(%d+)$'
  if not o[k or ''] then error('text.lua: ' .. arg[i] .. ' is no key=value it knows', 0) end
  o[k] = tonumber(v)
end
if not arg[2] then error('text.lua: give MODEL and FILE', 0) end
local model = dm.load(arg[1])

-- The first lines of the file, as a file of their own.
local path, list = os.tmpname(), {}
for line in reader.lines(arg[2]) do
  list[#list + 1] = line
  if #list == o.texts then break end
end
require('datamux.sys').write(path, table.concat(list, '\n') .. '\n')

local inside = 0
local run = model.logits
function model.logits(self, batch)
  local t = clock()
  local v, k = run(self, batch)
  inside = inside + clock() - t
  return v, k
end

local best
for _ = 1, o.repeats do
  inside = 0
  local t = clock()
  filter.run(model, { files = { path }, input = 'text', output = 'same', flush = 0, sink = function() end })
  local all = clock() - t
  if not best or (all - inside) < best.outside then best = { all = all, network = inside, outside = all - inside } end
end
os.remove(path)

local tokens = math.huge
for _ = 1, o.repeats do
  local p, t = predict.new(model), clock()
  for _, line in ipairs(list) do
    if p:full() then p:clear() end
    p:add(line)
  end
  tokens = math.min(tokens, clock() - t)
end
print(('%s: %d texts, %.0f a second; network %.3f s, outside %.3f s (%.1f %% of it), of that tokens %.3f s (%.1f %%)')
  :format(model.tokenizer.kind, #list, #list / best.all, best.network, best.outside, 100 * best.outside / best.network,
    tokens, 100 * tokens / best.network))
