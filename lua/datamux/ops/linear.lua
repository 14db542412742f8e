-- linear.lua -- linear with its epilogue, and matmul.
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local tape = require 'datamux.tape'
local C, check, ptr, want = core.C, core.check, core.ptr, core.want

local M = {}

-- x's shape with the last dimension replaced by d.
local function widened(x, d)
  local shape = x:shape()
  shape[#shape] = d
  return Tensor.new(shape, x:dtype())
end

local linear = { name = 'linear' }

--- y = act(x w^T + b).  x [.., C], w [D, C], b [D] or nil -> [.., D].  o: { act = 'none' | 'gelu' | 'relu' | 'tanh' }.
function linear.fwd(x, w, b, o)
  want('linear', 'x', x)
  want('linear', 'w', w)
  local act = core.act('linear', o and o.act)
  local y = widened(x, w:size(1))
  local needs = x.needs or w.needs or (b and b.needs)
  local pre = act ~= 0 and needs and tape.on and y:like() or nil
  check(C.dm_linear_fwd(y.c, ptr(pre), x.c, w.c, ptr(b), act))
  return tape.record(linear, y, { x = x, w = w, b = b, pre = pre, act = act }, needs)
end

function linear.bwd(y, a)
  local acc, dx, dw, db = tape.slots(a.x, a.w, a.b)
  check(C.dm_linear_bwd(dx, dw, db, y.grad.c, ptr(a.pre), a.x.c, a.w.c, a.act, acc))
end

M.linear = linear.fwd

local matmul = { name = 'matmul' }

--- y = op(a) op(b), 2-D or 3-D with one leading size.  o: { ta, tb } transpose the last two dimensions.
function matmul.fwd(a, b, o)
  want('matmul', 'a', a)
  want('matmul', 'b', b)
  local ta, tb = o and o.ta and 1 or 0, o and o.tb and 1 or 0
  local shape = a:shape()
  shape[#shape - 1] = a:size(ta == 1 and -1 or -2)
  shape[#shape] = b:size(tb == 1 and -2 or -1)
  local y = Tensor.new(shape, a:dtype())
  check(C.dm_matmul_fwd(y.c, a.c, b.c, ta, tb))
  return tape.record(matmul, y, { a = a, b = b, ta = ta, tb = tb }, a.needs or b.needs)
end

function matmul.bwd(y, a)
  local acc, da, db = tape.slots(a.a, a.b)
  check(C.dm_matmul_bwd(da, db, y.grad.c, a.a.c, a.b.c, a.ta, a.tb, acc))
end

M.matmul = matmul.fwd

return M
