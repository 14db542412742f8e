-- shape.lua -- reshape: the same values under another shape, on the tape.
local core = require 'datamux.ffi'
local tape = require 'datamux.tape'
local C, check, want = core.C, core.check, core.want

local M = {}

local reshape = { name = 'reshape' }

--- y = the values of x under `shape` (a list of sizes with the same product); no copy.
function reshape.fwd(x, shape)
  want('reshape', 'x', x)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  if n ~= x:numel() then
    core.raise(('reshape: x is [%s], shape is [%s], expected one with %d elements'):format(
      table.concat(x:shape(), ', '), table.concat(shape, ', '), x:numel()))
  end
  local y = x:view(shape)
  return tape.record(reshape, y, { x = x }, x.needs)
end

-- The first contribution to an activation's gradient is y's own, seen in x's shape; others are added.
function reshape.bwd(y, a)
  local x = a.x
  local dy = y.grad:view(x:shape())
  if not x.grad and not x.store then
    x.grad = dy
    return
  end
  local acc, dx = tape.slots(x)
  check(C.dm_scale_bwd(dx, dy.c, 1, acc))
end

M.reshape = reshape.fwd

return M
