-- step.lua -- our training step of T-MUX as published, at the sizes given: median time, and its floor.
--   datamux bench/step.lua [layers=12 width=768 heads=12 vocab=50265 n=20 length=64 rows=4 steps=6 warmup=2]
-- Prints one JSON object: ms (median), floor_ms (operations of its matrix products over the rate of one large product,
-- measured in the same run), gflops of that product, peak_mib.
local ffi = require 'ffi'
local dm = require 'datamux'
local core = require 'datamux.ffi'
local estimate = require 'datamux.estimate'
local json = require 'datamux.json'
local Optimiser = require 'datamux.optim'
local C = core.C

local o = { layers = 12, width = 768, heads = 12, vocab = 50265, n = 20, length = 64, rows = 4, steps = 6, warmup = 2 }
for _, word in ipairs(arg) do
  local k, v = word:match '^(%w+)=(%d+)$'
  if not o[k] then error('step.lua: ' .. word .. ' is no key=number it knows') end
  o[k] = tonumber(v)
end
local N, S, B, W, V = o.n, o.length, o.rows, o.width, o.vocab

local model = dm.nn.Module.build(dm.models.TMux.new {
  vocab = { size = V, pad = 0 }, layers = o.layers, width = W, heads = o.heads, inner = 4 * W, dropout = 0.1,
  positions = 514, eps = 1e-5, init = 0.02, classes = 2, n = N, norm = math.sqrt(W), reduce = 'mean', skip = false,
  demux = 'index', key = 'mux', rank = 0, read = 'cls', retrieval = 'separate', tied = false, mask = 'none' }, 1)
model:train(true)
local optimiser = Optimiser.new(model, { clip = 1, decay = 0.01 })

local function median(t)
  table.sort(t)
  return t[math.ceil(#t / 2)]
end

-- What the step's matrix products are: see datamux.estimate.
local plan = { model = { width = W, layers = o.layers, inner = 4 * W }, mux = { n = N },
               demux = { kind = 'index', rank = 0, read = 'cls' } }

local total = B * N * S
local ids, length, label = ffi.new('int32_t[?]', total), ffi.new('int32_t[?]', B * N), ffi.new('int32_t[?]', B * N)
local perm = ffi.new('int32_t[?]', V)
core.check(C.dm_shuffle(perm, V, 3, 1, 1))
for i = 0, total - 1 do ids[i] = 4 + perm[i % V] % (V - 4) end
for i = 0, B * N - 1 do length[i], label[i] = S, i % 2 end
local batch = { B = B, N = N, S = S, n = B * N, ids_host = ids, length = length, label = label }

local loss
local function step(k)
  dm.scope.knobs { seed = 1, step = k, update = k, lr = 1e-4 }
  dm.step(function()
    local q = model:prepare(batch, { seed = 1, step = k, task = true, retrieval = 1 })
    local l = dm.tape.recording(function()
      local out = model:forward(q)
      return dm.add(dm.scale(out.task, 0.9), dm.scale(out.retrieval, 0.1))
    end)
    dm.tape.backward(l)
    loss = l:item()
  end)
  optimiser:step()
end

local times = {}
for k = 1, o.warmup + o.steps do
  local t = C.dm_clock()
  step(k)
  if k > o.warmup then times[#times + 1] = C.dm_clock() - t end
end
local gflops = estimate.rate(2048) / 1e9
print(json.encode { program = 'datamux ' .. ffi.string(C.dm_version()), ms = 1e3 * median(times), loss = loss,
  floor_ms = estimate.step(plan, B, S, { vocab = V }, true) / gflops / 1e6, gflops = gflops, peak_mib = dm.memory().peak / 1048576 })
