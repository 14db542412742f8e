-- ours.lua -- T-MUX at the sizes given: the time of a training step, or of a forward pass, and its floor.
--   datamux bench/cpu/ours.lua [mode=train|infer] [network=index|unbind|plain] [layers=12 width=768 heads=12
--                               vocab=50265 n=20 length=64 rows=4 steps=6 warmup=2 threads=0 int8=0]
-- index: as published, index prefix and CLS read-out. unbind: without prefix, each position unbound in a quarter of the
-- width, then averaged. plain: the Transformer that reads one instance a row, n = 1, averaged over its positions.
-- Prints one JSON object. ms: median wall time; cpu_ms: median processor time over all threads, which other programs on
-- the machine disturb less; floor_ms, floor_cpu_ms: the operations of the matrix products at the rate of one large
-- product, measured in the same run; first_ms (infer): from opening the weights' file to the first batch's answers.
local ffi = require 'ffi'
local dm = require 'datamux'
local core = require 'datamux.ffi'
local estimate = require 'datamux.estimate'
local infer = require 'datamux.infer'
local json = require 'datamux.json'
local safetensors = require 'datamux.safetensors'
local Optimiser = require 'datamux.optim'
local C = core.C

local o = { mode = 'train', network = 'index', layers = 12, width = 768, heads = 12, vocab = 50265, n = 20, length = 64,
            rows = 4,
            steps = 6, warmup = 2, threads = 0, int8 = 0 }
for _, word in ipairs(arg) do
  local k, v = word:match '^(%w+)=(%w+)$'
  local choice = k == 'mode' and ' train infer ' or k == 'network' and ' index unbind plain '
  if o[k or ''] == nil or (choice and not choice:find(' ' .. v .. ' ')) or (not choice and not tonumber(v)) then
    error('ours.lua: ' .. word .. ' is no key=number it knows', 0)
  end
  o[k] = tonumber(v) or v
end
if o.network == 'plain' then o.n = 1 end
local N, S, B, W, V = o.n, o.length, o.rows, o.width, o.vocab
dm.scope.device 'cpu'
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
  return t[math.ceil(#t / 2)]
end

local function new_batch()
  local total = B * N * S
  local ids, length, label = ffi.new('int32_t[?]', total), ffi.new('int32_t[?]', B * N), ffi.new('int32_t[?]', B * N)
  local perm = ffi.new('int32_t[?]', V)
  core.check(C.dm_shuffle(perm, V, 3, 1, 1))
  for i = 0, total - 1 do ids[i] = 4 + perm[i % V] % (V - 4) end
  for i = 0, B * N - 1 do length[i], label[i] = S, i % 2 end
  return { B = B, N = N, S = S, n = B * N, ids_host = ids, length = length, label = label, index = length }
end

-- Runs step(k) warmup + steps times; medians of wall and processor seconds of the latter.
local function measure(step)
  local wall, cpu = {}, {}
  for k = 1, o.warmup + o.steps do
    local t, c = C.dm_clock(), os.clock()
    step(k)
    if k > o.warmup then wall[#wall + 1], cpu[#cpu + 1] = C.dm_clock() - t, os.clock() - c end
  end
  return median(wall), median(cpu)
end

-- Operations per second, wall and processor, of one product of 2048 x 2048 matrices: medians of five.
local function rate()
  local a, b, old = dm.randn(2048, 2048), dm.randn(2048, 2048), o.steps
  o.steps = 5
  local wall, cpu = measure(function() dm.step(function() dm.matmul(a, b) end) end)
  o.steps = old
  return 2 * 2048 ^ 3 / wall, 2 * 2048 ^ 3 / cpu
end

local batch = new_batch()
local out = { program = 'datamux ' .. ffi.string(C.dm_version()) .. (o.int8 == 1 and ' int8' or ''), mode = o.mode }
local wall, cpu

if o.mode == 'train' then
  local model = dm.nn.Module.build(new_model(), 1)
  model:train(true)
  local optimiser = Optimiser.new(model, { clip = 1, decay = 0.01 })
  wall, cpu = measure(function(k)
    dm.scope.knobs { seed = 1, step = k, update = k, lr = 1e-4 }
    dm.step(function()
      local q = model:prepare(batch, { seed = 1, step = k, task = true, retrieval = 1 })
      local l = dm.tape.recording(function()
        local y = model:forward(q)
        if not y.retrieval then return y.task end
        return dm.add(dm.scale(y.task, 0.9), dm.scale(y.retrieval, 0.1))
      end)
      dm.tape.backward(l)
      out.loss = l:item()
    end)
    optimiser:step()
  end)
else
  local path = os.tmpname()
  safetensors.write(path, dm.nn.Module.build(new_model(), 1):named())
  collectgarbage()
  collectgarbage()
  local model
  local function answer(k)
    dm.step(function()
      out.logit = model:forward(model:prepare(batch, { seed = 1, step = k, task = true })).logits:host()[0]
    end)
  end
  local t = C.dm_clock()
  model = infer.map(new_model(), safetensors.open(path))
  answer(0)
  out.first_ms = 1e3 * (C.dm_clock() - t)
  if o.int8 == 1 then infer.int8(model) end
  wall, cpu = measure(answer)
  os.remove(path)
end

-- What the products of a pass are: see datamux.estimate.
local how = separation[o.network]
local plan = { model = { width = W, layers = o.layers, inner = 4 * W }, mux = { n = N },
               demux = { kind = how.demux, rank = how.rank, read = how.read } }
local parts = estimate.forward(plan, B, S, { vocab = V })
if o.network == 'plain' then parts.task, parts.retrieval = 0, 0 end
local forward = 2 * (parts.encoder + parts.task)
local work = o.mode == 'train' and 3 * (forward + 2 * parts.retrieval) or forward
local wall_rate, cpu_rate = rate()
out.ms, out.cpu_ms = 1e3 * wall, 1e3 * cpu
out.floor_ms, out.floor_cpu_ms = 1e3 * work / wall_rate, 1e3 * work / cpu_rate
out.gflops, out.threads, out.peak_mib = wall_rate / 1e9, C.dm_threads(), dm.memory().peak / 1048576
print(json.encode(out))
