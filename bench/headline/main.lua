-- main.lua -- texts labelled in a second, file to file, by `datamux predict` with N = 20 and int8 products, beside a
-- plain Transformer of the same size in PyTorch (f32) and ONNX Runtime (f32, int8).
--   bench/headline/run [layers=12] [width=768] [heads=12] [rounds=3] [texts=8720] [peer_texts=256] [batch=32]
--                      [peers=eager,onnx-int8] [threads=0] [runs=FOLDER] [json=FILE]
-- The texts are SST-2's dev sentences, in the order of the file, repeated to `texts`. Ours: the whole command, from its
-- start to the last line written, reading and cutting text included. Peers: the passes alone, on batches of 32 texts
-- padded to their longest, without start, files or tokenizer, on the first peer_texts. The model is trained for one
-- step: speed does not depend on what it knows. Alternating rounds, medians.
local core = require 'datamux.ffi'
local sys = require 'datamux.sys'
local task = require 'datamux.data.task'
package.path = 'bench/?.lua;' .. package.path
local programs = require 'programs'

local o = programs.options(arg, { layers = 12, width = 768, heads = 12, rounds = 3, texts = 8720, peer_texts = 256,
  batch = 32, peers = 'eager,onnx-int8', threads = 0, runs = '', json = '' })
local exe, here = os.getenv 'DATAMUX' or 'build/datamux', arg[0]:match '^(.*)/' or '.'

local function quoted(w) return "'" .. w:gsub("'", "'\\''") .. "'" end

local function output(line)
  local pipe = io.popen(line .. ' 2>/dev/null')
  local text = pipe:read '*a'
  pipe:close()
  return text
end

local dir = os.tmpname()
os.remove(dir)
sys.mkdir(dir)

-- The model: what predict loads.
local runs = o.runs ~= '' and o.runs or dir .. '/runs'
local made = output(table.concat({ exe, 'recipes/sst2_n20.lua', 'profile=paper', 'model.layers=' .. o.layers,
  'model.width=' .. o.width, 'model.heads=' .. o.heads, 'demux.rank=' .. o.width / 4, 'warmup.steps=0', 'train.rows=1',
  'train.steps=1', 'train.alpha=0', 'data.limit=2000', 'eval.groupings=1', 'eval.bootstrap=0', 'name=headline',
  '-q', '--out', quoted(runs), '&& ls -td', quoted(runs) .. '/headline/*' }, ' '))
local model = made:match '\n(/[^\n]*/headline/[^\n]*)\n$'
if not model then error('headline: the model was not made:\n' .. made, 0) end

-- The texts, and how many tokens each has.
local dev = task.split({ task = 'sst2', eval = {} }, 'dev', { 'negative', 'positive' }).set
local texts = {}
for k = 1, o.texts do texts[k] = dev.texts[(k - 1) % dev.n + 1] end
sys.write(dir .. '/texts', table.concat(texts, '\n') .. '\n')
local lengths, total = {}, 0
for line in output(('%s tokenize %s %s'):format(exe, model, dir .. '/texts')):gmatch '[^\n]+' do
  local n = select(2, line:gsub('%d+', ''))
  lengths[#lengths + 1], total = n, total + n
end
if #lengths ~= o.texts then error(('headline: %d texts were cut, expected %d'):format(#lengths, o.texts), 0) end
sys.write(dir .. '/lengths', table.concat(lengths, '\n') .. '\n')

local C = core.C
local function mine()
  local t = C.dm_clock()
  output(('%s predict %s --int8 -q %s -O %s%s'):format(exe, model, dir .. '/texts', dir .. '/out',
    o.threads > 0 and ' -j ' .. o.threads or ''))
  t = C.dm_clock() - t
  local n = select(2, sys.read(dir .. '/out'):gsub('\n', ''))
  if n ~= o.texts then error(('headline: %d answers, expected %d'):format(n, o.texts), 0) end
  os.remove(dir .. '/out')
  return { program = 'datamux predict, N = 20, int8', rate = o.texts / t }
end

local function peer(form)
  local threads = o.threads > 0 and o.threads or C.dm_threads()
  local r, why = programs.run(('%s %s/peer.py --form %s --layers %d --width %d --heads %d --texts %d --batch %d '
    .. '--threads %d %s'):format(os.getenv 'PYTHON' or 'python3', here, form, o.layers, o.width, o.heads, o.peer_texts,
    o.batch, threads, dir .. '/lengths'))
  if not r then error(('headline: %s failed:\n%s'):format(form, why), 0) end
  return r
end

local rows = { { list = {} } }
for form in o.peers:gmatch '[^,]+' do rows[#rows + 1] = { form = form, list = {} } end
for _ = 1, o.rounds do
  for _, row in ipairs(rows) do
    local r = row.form and peer(row.form) or mine()
    row.program, row.padding = r.program, r.padding
    table.insert(row.list, r)
  end
end
print(('%d x %d, %d SST-2 sentences of %.1f tokens'):format(o.layers, o.width, o.texts, total / o.texts))
for _, row in ipairs(rows) do
  row.rate = programs.median(row.list, 'rate')
  print(('  %-32s %9.1f texts/s   ours is %6.1f x%s'):format(row.program, row.rate, rows[1].rate / row.rate,
    row.padding and ('   %.0f %% padding'):format(100 * row.padding) or ''))
end
programs.save(o.json, { sizes = o, rows = rows })
os.execute('rm -rf ' .. quoted(dir))
