-- tape.lua -- reverse-mode differentiation: which ops ran, in order, and a walk back over them.
-- Define-by-run; nodes are reused from step to step, so a step makes almost no garbage.
local core = require 'datamux.ffi'
local scope = require 'datamux.scope'
local Tensor = require 'datamux.tensor'
local C, check = core.C, core.check

local M = { on = false, n = 0, nodes = {} }

--- Notes that y came from op applied to args, when a gradient is wanted (`needs`) and the tape is on; returns y.
function M.record(op, y, args, needs)
  if not (needs and M.on) then return y end
  local k = M.n + 1
  local node = M.nodes[k]
  if not node then
    node = {}
    M.nodes[k] = node
  end
  node.op, node.y, node.args = op, y, args
  y.needs = true
  M.n = k
  return y
end

--- The gradient of x: the descriptor to write to, and 0 (write) or 1 (add); nil, 0 where none is wanted.
local function slot(x)
  if not x or not x.needs then return nil, 0 end
  local g = x.grad
  if g then return g.c, 1 end
  g = x.store or x:like()
  x.grad = g
  return g.c, 0
end

--- In a bwd: acc, then the gradient descriptors of up to six inputs, in the order of the C function.
function M.slots(x1, x2, x3, x4, x5, x6)
  local d1, a1 = slot(x1)
  local d2, a2 = slot(x2)
  local d3, a3 = slot(x3)
  local d4, a4 = slot(x4)
  local d5, a5 = slot(x5)
  local d6, a6 = slot(x6)
  return a1 + 2 * a2 + 4 * a3 + 8 * a4 + 16 * a5 + 32 * a6, d1, d2, d3, d4, d5, d6
end

-- Forgets what was recorded after the first n.
local function cut(n)
  for k = n + 1, M.n do
    local node = M.nodes[k]
    node.op, node.y, node.args = nil, nil, nil
  end
  M.n = n
end

--- Forgets what was recorded.
function M.clear() cut(0) end

-- A walk back that failed leaves half-written gradients: those of all parameters on the tape are dropped.
local function drop_gradients(t, depth)
  for _, v in pairs(t) do
    if type(v) == 'table' then
      if v.store then v.grad = nil elseif depth > 0 and not v.c then drop_gradients(v, depth - 1) end
    end
  end
end

-- Walks back over what was recorded after the first `from`.
local function walk(from)
  for k = M.n, from + 1, -1 do
    local node = M.nodes[k]
    if node.y.grad then node.op.bwd(node.y, node.args) end
  end
end

--- Gradients of `loss` with respect to everything that needs one. `seed` is d/d loss, default 1 everywhere.
--- Raises when nothing was recorded. After an error the gradients of this update are gone, as if it had not begun.
function M.backward(loss, seed)
  if not loss.needs then
    core.raise 'backward: nothing was recorded for this tensor, expected a loss made with the tape on'
  end
  M.on = false
  local ok, why = pcall(function()
    loss.grad = seed or loss:like():fill(1)
    walk(0)
  end)
  M.on = false
  if not ok then
    for k = 1, M.n do drop_gradients(M.nodes[k].args, 2) end
  end
  M.clear()
  if not ok then error(why, 0) end
end

--- Runs fn(...) with the tape on, and off again afterwards, also after an error; returns its first three results.
function M.recording(fn, ...)
  M.on = true
  local ok, a, b, c = pcall(fn, ...)
  M.on = false
  if not ok then
    M.clear()
    error(a, 0)
  end
  return a, b, c
end

-- -- computing again -------------------------------------------------------------------------------------

local again = { name = 'again' }

--- y = layer:compute(x, a, b), of which the tape keeps x alone: the backward pass computes it once more, and all
--- that it takes is given back after it. The same bits, as dropout depends on (seed, site, step) only. shape: of y;
--- layer: a Module; a, b: whatever compute takes, without gradient. Needs a running step. With the tape off it is just
--- computed.
function M.again(layer, shape, x, a, b)
  if not M.on then return layer:compute(x, a, b) end
  local y = Tensor.new(shape, x:dtype())
  M.on = false
  local ok, why = pcall(scope.step, function()
    check(C.dm_scale_fwd(y.c, layer:compute(x, a, b).c, 1))
  end)
  M.on = true
  if not ok then error(why, 0) end
  return M.record(again, y, { layer = layer, own = layer:own(), x = x, a = a, b = b }, true)
end

function again.bwd(y, args)
  local x, layer, from = args.x, args.layer, M.n
  local inside = x:view(x:shape())               -- stands for x: its gradient must outlive what is computed again
  if x.needs then
    inside.needs, inside.grad = true, x.grad
    inside.store = x.grad or x.store or x:like()
  end
  scope.step(function()
    M.on = true
    local z = layer:compute(inside, args.a, args.b)
    M.on = false
    z.grad = y.grad
    walk(from)
  end)
  cut(from)
  x.grad = inside.grad
end

return M
