-- ours.lua -- T-MUX at the sizes given: the time of a training step, or of a forward pass, and its floor.
--   datamux bench/cpu/ours.lua [mode=train|infer] [network=index|unbind|plain] [layers=12 width=768 heads=12
--                               vocab=50265 n=20 length=64 rows=4 steps=6 warmup=3 group=1 threads=0 device=cpu
--                               precision=f32|bf16|int8 square=2048 capture=1 ahead=1]
-- index: as published, index prefix and CLS read-out. unbind: without prefix, each position unbound in a quarter of the
-- width, then averaged. plain, and whatever has n=1: the Transformer that reads one instance a row, averaged over its
-- positions. rows=8,16,32: the one at which most rows are answered a second, tried in this order while that grows by
-- 3 % and memory lasts.
-- precision: of the network; int8 (infer): what `datamux predict --int8` has in int8.
-- Timed as peer.py times: `warmup` steps that do not count, then groups of `group` steps (`steps` in all) with one wait
-- for the device at the end of each, and the median over the groups of a group's time by its steps. As training does,
-- a step reads its loss, and on a GPU the next step's inputs are made while it runs; PyTorch's lie on the device from
-- the start. A forward pass ends with its logits on the host, here and there. ahead=0: inputs are made in the step
-- itself, so that with group=1 it goes from ids on the host to logits on the host, beside nothing else.
-- Prints one JSON object. ms: median wall time; cpu_ms: median processor time over all threads, which other programs on
-- the machine disturb less; floor_ms, floor_cpu_ms: the operations of the matrix products at the rate of one large
-- product (square x square) of that precision, measured in the same run; first_ms (infer on a CPU): from opening the
-- file of weights to the first batch's answers; peak_mib: the largest resident memory of the process (on a GPU: the
-- largest that was allocated there), which in infer includes writing that file; tried: { rows, ms } of each; ops (with
-- DATAMUX_PROFILE=1): { name, calls, ms } of one step, the longest first.
local ffi = require 'ffi'
local dm = require 'datamux'
local ahead = require 'datamux.ahead'
local capture = require 'datamux.capture'
local core = require 'datamux.ffi'
local estimate = require 'datamux.estimate'
local infer = require 'datamux.infer'
local json = require 'datamux.json'
local ops = require 'datamux.ops.int8'
local safetensors = require 'datamux.safetensors'
local sys = require 'datamux.sys'
local Optimiser = require 'datamux.optim'
local differentiate = require('datamux.train').differentiate
local C = core.C

local o = { mode = 'train', network = 'index', layers = 12, width = 768, heads = 12, vocab = 50265, n = 20, length = 64,
            rows = 4, steps = 6, warmup = 3, group = 1, threads = 0, device = 'cpu', precision = 'f32', square = 2048,
            capture = 1, ahead = 1 }
local choices = { mode = ' train infer ', network = ' index unbind plain ', precision = ' f32 bf16 int8 ' }
local tries = { o.rows }
for _, word in ipairs(arg) do
  local k, v = word:match '^(%w+)=([%w:,]+)$'
  if o[k or ''] == nil or (type(o[k]) == 'number' and not tonumber(v) and k ~= 'rows')
    or (choices[k] and not choices[k]:find(' ' .. v .. ' ', 1, true)) then
    error('ours.lua: ' .. word .. ' is no key=value it knows', 0)
  end
  if k == 'rows' then
    tries = {}
    for rows in v:gmatch '%d+' do tries[#tries + 1] = tonumber(rows) end
  else
    o[k] = type(o[k]) == 'number' and tonumber(v) or v
  end
end
if o.network == 'plain' or o.n == 1 then o.network, o.n = 'plain', 1 end
local N, S, W, V = o.n, o.length, o.width, o.vocab
local int8 = o.precision == 'int8'
if int8 and o.mode == 'train' then error('ours.lua: precision=int8 is for mode=infer alone', 0) end
local device = dm.scope.device(o.device)
dm.scope.precision(int8 and 'f32' or o.precision)
if o.threads > 0 then C.dm_threads_set(o.threads) end

local separation = {
  index = { demux = 'index', key = 'mux', rank = 0, read = 'cls', retrieval = 'separate', tied = false, mask = 'none' },
  unbind = { demux = 'unbind', key = 'mux', rank = W / 4, read = 'pool', retrieval = 'shared', tied = true,
             mask = 'or' },
  plain = { demux = 'unbind', rank = 0, read = 'pool' },
}

local function new_model()
  local class = o.network == 'plain' and dm.models.Plain or dm.models.TMux
  return class.new(setmetatable({
    vocab = { size = V, pad = 0 }, layers = o.layers, width = W, heads = o.heads, inner = 4 * W, dropout = 0.1,
    positions = 514, eps = 1e-5, init = 0.02, classes = 2, n = N, norm = math.sqrt(W), reduce = 'mean', skip = false },
    { __index = separation[o.network] }))
end

local function median(t)
  table.sort(t)
  return (t[math.floor((#t + 1) / 2)] + t[math.ceil((#t + 1) / 2)]) / 2
end

local function new_batch(B)
  local total = B * N * S
  local ids, length, label = ffi.new('int32_t[?]', total), ffi.new('int32_t[?]', B * N), ffi.new('int32_t[?]', B * N)
  local perm = ffi.new('int32_t[?]', V)
  core.check(C.dm_shuffle(perm, V, 3, 1, 1))
  for i = 0, total - 1 do ids[i] = 4 + perm[i % V] % (V - 4) end
  for i = 0, B * N - 1 do length[i], label[i] = S, i % 2 end
  return { B = B, N = N, S = S, n = B * N, ids_host = ids, length = length, label = label, index = length }
end

-- Runs step(k) for k from .. to, then waits for the device; wall and processor seconds of a step.
local function group(step, from, to)
  local t, c, n = C.dm_clock(), os.clock(), to - from + 1
  for k = from, to do step(k) end
  core.check(C.dm_device_sync(device))
  return (C.dm_clock() - t) / n, (os.clock() - c) / n
end

-- After the warm-up, medians over groups of `size` steps, `steps` in all, of wall and processor seconds of a step.
local function measure(step, steps, size)
  local wall, cpu = {}, {}
  if o.warmup > 0 then group(step, 1, o.warmup) end
  for k = o.warmup + 1, o.warmup + steps - size + 1, size do
    wall[#wall + 1], cpu[#cpu + 1] = group(step, k, k + size - 1)
  end
  return median(wall), median(cpu)
end

-- What multiplies square matrices in the precision asked for. Random ones: a GPU multiplies constants faster.
local function product()
  local n = o.square
  local drawn = dm.Tensor.new({ n, n }, 'f32'):uniform(-1, 1, 1, 0)
  if int8 then
    local packed, scale = ops.pack(drawn)
    return function() ops.linear(drawn, packed, scale) end
  end
  local a = dm.Tensor.new { n, n }
  core.check(C.dm_cast(a.c, drawn.c))
  return function() dm.matmul(a, a) end
end

-- Operations per second, wall and processor, of one such product: medians of five.
local function rate()
  local n, multiply = o.square, product()
  local wall, cpu = measure(function() dm.step(multiply) end, 5, 1)
  return 2 * n ^ 3 / wall, 2 * n ^ 3 / cpu
end

-- A finished model from a file, as saved.load has it.
local function load(path)
  local model = infer.map(new_model(), safetensors.open(path))
  return int8 and infer.int8(model) or model
end

local batch, model
local out = { program = 'datamux ' .. ffi.string(C.dm_version()), mode = o.mode, precision = o.precision }
local recorder = capture.new(o.capture == 1)
local step

local inputs = ahead.new(function(k, b)
  return model:prepare(b, { seed = 1, step = k, task = true, retrieval = o.mode == 'train' and 1 or nil })
end)

-- The inputs of step k; leave: after it was asked for.
local function take(k)
  if o.ahead == 1 then return inputs:take(k, batch) end
  return inputs.make(k, batch)
end

local function leave(k)
  if o.ahead == 1 then inputs:leave(k + 1, batch) end
end

if o.mode == 'train' then
  model = dm.nn.Module.build(new_model(), 1)
  model:train(true)
  local optimiser = Optimiser.new(model, { clip = 1, decay = 0.01 })
  function step(k)
    dm.scope.knobs { seed = 1, step = k, update = k, lr = 1e-4 }
    dm.step(function()
      local y = recorder:run('train', differentiate, take(k), model, { alpha = 0.1, accumulate = 1 })
      leave(k)
      for _, t in ipairs(y.written) do t.grad = t.store end
      optimiser:measure()
      out.loss = y.loss:item()
    end)
    optimiser:step()
  end
else
  local function answer(q) return { logits = model:forward(q).logits } end
  function step(k)
    dm.step(function()
      local y = recorder:run('infer', answer, take(k))
      leave(k)
      out.logit = y.logits:real():host()[0]
    end)
  end
  if o.device ~= 'cpu' then
    model = dm.nn.Module.build(new_model(), 1):train(false)
  else
    local path = os.tmpname()
    safetensors.write(path, dm.nn.Module.build(new_model(), 1):named())
    collectgarbage()
    collectgarbage()
    batch = new_batch(tries[1])
    local t = C.dm_clock()
    model = load(path)
    step(0)
    out.first_ms = 1e3 * (C.dm_clock() - t)
    os.remove(path)
  end
end

-- What a step at this many rows costs; nil where memory does not last.
local function at(rows)
  batch = new_batch(rows)
  local ok, wall, cpu = pcall(measure, step, o.steps, o.group)
  if ok then return wall, cpu end
  if core.last_status ~= C.DM_ENOMEM or rows == tries[1] then error(wall, 0) end
end

local wall, cpu, B
out.tried = json.list {}
for _, rows in ipairs(tries) do
  local w, c = at(rows)
  if w then out.tried[#out.tried + 1] = { rows = rows, ms = 1e3 * w } end
  if not w or (B and rows / w < 1.03 * B / wall) then break end
  wall, cpu, B = w, c, rows
end

if os.getenv 'DATAMUX_PROFILE' then
  local profile = require 'datamux.profile'
  batch = new_batch(B)
  step(o.warmup + o.steps + 1)
  core.check(C.dm_device_sync(device))
  profile.reset()
  step(o.warmup + o.steps + 2)
  out.ops = json.list {}
  for _, r in ipairs(profile.rows()) do
    if r.calls > 0 then out.ops[#out.ops + 1] = { name = r.name, calls = r.calls, ms = 1e3 * r.wall } end
  end
end

-- What the products of a pass are: see datamux.estimate.
local how = separation[o.network]
local plan = { model = { width = W, layers = o.layers, inner = 4 * W }, mux = { n = N },
               demux = { kind = how.demux, rank = how.rank, read = how.read } }
local parts = estimate.forward(plan, B, S, { vocab = V })
if o.network == 'plain' then parts.task, parts.retrieval = B * W * W, 0 end
local work = 2 * (o.mode == 'train' and 3 * (parts.encoder + parts.task + parts.retrieval)
  or parts.encoder + parts.task)
out.peak_mib = (o.device == 'cpu' and sys.peak() or dm.memory().peak) / 1048576     -- before the floor's matrices
local wall_rate, cpu_rate = rate()
out.ms, out.cpu_ms = 1e3 * wall, 1e3 * cpu
out.floor_ms, out.floor_cpu_ms = 1e3 * work / wall_rate, 1e3 * work / cpu_rate
out.gflops, out.threads = wall_rate / 1e9, C.dm_threads()
out.rows, out.device = B, dm.scope.about()
print(json.encode(out))
