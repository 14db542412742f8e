-- overhead.lua -- what Lua adds to a step: 300 ops forward and backward on tensors so small that kernels do nothing.
--   datamux bench/overhead.lua [ops=300 steps=2000]
-- Prints the median of a step in ms, of the same C calls alone on tensors made before, and their difference: what Lua
-- and the tensors of a step take. Goal: under 1 ms.
local dm = require 'datamux'
local core = require 'datamux.ffi'

local o = { ops = 300, steps = 2000 }
for _, word in ipairs(arg) do
  local k, v = word:match '^(%w+)=(%d+)$'
  if not o[k or ''] then error('overhead.lua: ' .. word .. ' is no ops=N or steps=N', 0) end
  o[k] = tonumber(v)
end
dm.scope.device 'cpu'
core.C.dm_threads_set(1)

local module = dm.nn.Module.init(dm.nn.Module.class 'Weights', {})
local w = module:param('w', { 4 }, { fill = 0.5 })
dm.nn.Module.build(module, 1)

local function step()
  dm.step(function()
    dm.tape.recording(function()
      local x = w
      for _ = 1, o.ops / 3 do x = dm.act(dm.scale(dm.add(x, w), 0.5), 'tanh') end
      dm.tape.backward(dm.mse(dm.reshape(x, { 4, 1 }), dm.Tensor.new({ 4, 1 }):fill(0)))
    end)
  end)
  module:settle()
end

-- The kernels of such a step, forward and backward, without Lua's part: no tape, no new tensors.
local a, b, c = dm.Tensor.lasting { 4 }, dm.Tensor.lasting { 4 }, dm.Tensor.lasting { 4 }
local C, tanh = core.C, core.act('overhead', 'tanh')
local function kernels()
  for _ = 1, o.ops / 3 do
    C.dm_add_fwd(c.c, a.c, b.c)
    C.dm_scale_fwd(c.c, a.c, 0.5)
    C.dm_act_fwd(c.c, a.c, tanh)
    C.dm_add_bwd(a.c, b.c, c.c, 3)
    C.dm_scale_bwd(a.c, c.c, 0.5, 1)
    C.dm_act_bwd(b.c, c.c, a.c, tanh, 1)
  end
end

local function median(fn)
  local times = {}
  for k = 1, o.steps do
    local t = C.dm_clock()
    fn()
    times[k] = 1e3 * (C.dm_clock() - t)
  end
  table.sort(times)
  return times[math.ceil(#times / 2)], times[math.ceil(0.9 * #times)]
end

local whole, most = median(step)
local below = median(kernels)
print(('%d ops, forward and backward, %d steps: median %.3f ms (90 %% below %.3f); kernels %.3f, Lua %.3f'):format(
  o.ops, o.steps, whole, most, below, whole - below))
