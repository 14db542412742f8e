-- main.lua -- texts labelled in a second, file to file, by `datamux predict` with N = 20 in int8 and bf16, beside a
-- plain Transformer of the same size in PyTorch (f32, bf16) and ONNX Runtime (f32, int8).
--   bench/headline/run [layers=12] [width=768] [heads=12] [rounds=3] [texts=8720] [peer_texts=256] [batch=32]
--                      [precision=int8,bf16] [peers=eager,onnx-int8] [threads=0] [runs=FOLDER] [json=FILE]
-- precision: of ours, some of f32, bf16 and int8; peers: some of eager, eager-bf16, onnx and onnx-int8.
-- texts: how many ours labels: the dev sentences of SST-2, in the order of the file, repeated. 8720 is all, ten times:
-- seconds of work, so that starting (half a second) counts as for whoever labels that many. peer_texts: how many of
-- them, from the first, the peers label, whose rate does not depend on it: 256 are 8 batches, half a minute for the
-- slowest. The mean lengths of both are printed, as a text's time grows with its tokens.
-- Ours: the whole command, from its start to the last line written, reading and cutting text included. Peers: the
-- passes alone, on batches of 32 texts padded to their longest, without start, files or tokenizer. The model is trained
-- for one step: speed does not depend on what it knows. Alternating rounds, medians.
local core = require 'datamux.ffi'
local ffi = require 'ffi'
local scope = require 'datamux.scope'
local sys = require 'datamux.sys'
local task = require 'datamux.data.task'
package.path = 'bench/?.lua;' .. package.path
local programs = require 'programs'
local quoted = sys.quoted

local o = programs.options(arg, { layers = 12, width = 768, heads = 12, rounds = 3, texts = 8720, peer_texts = 256,
  batch = 32, precision = 'int8,bf16', peers = 'eager,onnx-int8', threads = 0, runs = '', json = '' })
o.peer_texts = math.min(o.peer_texts, o.texts)
local exe, here = os.getenv 'DATAMUX' or 'build/datamux', arg[0]:match '^(.*)/' or '.'

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
local lengths = {}
for line in output(('%s tokenize %s %s'):format(exe, model, dir .. '/texts')):gmatch '[^\n]+' do
  lengths[#lengths + 1] = select(2, line:gsub('%d+', ''))
end
if #lengths ~= o.texts then error(('headline: %d texts were cut, expected %d'):format(#lengths, o.texts), 0) end
sys.write(dir .. '/lengths', table.concat(lengths, '\n') .. '\n')

-- Tokens in a text, the mean of the first n.
local function mean(n)
  local total = 0
  for k = 1, n do total = total + lengths[k] end
  return total / n
end

local C = core.C
local threads = o.threads > 0 and o.threads or C.dm_threads()

local function mine(precision)
  local t = C.dm_clock()
  output(('%s predict %s %s -q %s -O %s%s'):format(exe, model, precision == 'f32' and '' or '--' .. precision,
    dir .. '/texts', dir .. '/out', o.threads > 0 and ' -j ' .. o.threads or ''))
  t = C.dm_clock() - t
  local n = select(2, sys.read(dir .. '/out'):gsub('\n', ''))
  if n ~= o.texts then error(('headline: %d answers, expected %d'):format(n, o.texts), 0) end
  os.remove(dir .. '/out')
  return { program = 'datamux predict, N = 20, ' .. precision, rate = o.texts / t }
end

local function peer(form)
  local r, why = programs.run(('%s %s/peer.py --form %s --layers %d --width %d --heads %d --texts %d --batch %d '
    .. '--threads %d %s'):format(os.getenv 'PYTHON' or 'python3', here, form, o.layers, o.width, o.heads, o.peer_texts,
    o.batch, threads, dir .. '/lengths'))
  if not r then error(('headline: %s failed:\n%s'):format(form, why), 0) end
  return r
end

local rows, ours = {}, {}
for _, precision in ipairs(programs.list(o.precision)) do
  if precision == 'bf16' and C.dm_device_computes(scope.device(), C.DM_BF16) ~= 0 then
    print('bf16 is left out: ' .. ffi.string(C.dm_last_error()))
  else
    ours[#ours + 1] = { precision = precision, list = {} }
    rows[#rows + 1] = ours[#ours]
  end
end
for _, form in ipairs(programs.list(o.peers)) do rows[#rows + 1] = { form = form, list = {} } end
for _ = 1, o.rounds do
  for _, row in ipairs(rows) do
    local r = row.form and peer(row.form) or mine(row.precision)
    row.program, row.padding = r.program, r.padding
    table.insert(row.list, r)
  end
end

print(('%d x %d, %d SST-2 sentences of %.1f tokens, %d of %.1f for the peers, %s thread%s'):format(o.layers, o.width,
  o.texts, mean(o.texts), o.peer_texts, mean(o.peer_texts), threads, threads == 1 and '' or 's'))
for _, row in ipairs(rows) do
  row.rate = programs.median(row.list, 'rate')
  local line = { ('  %-32s %9.1f texts/s'):format(row.program, row.rate) }
  for _, our in ipairs(row.form and ours or {}) do
    line[#line + 1] = ('%s is %6.1f x'):format(our.precision, our.rate / row.rate)
  end
  line[#line + 1] = row.padding and ('%.0f %% padding'):format(100 * row.padding)
  print(table.concat(line, '   '))
end
programs.save(o.json, { sizes = o, rows = rows })
os.execute('rm -rf ' .. quoted(dir))
