-- norm.lua -- layer norm with residual and dropout.
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local tape = require 'datamux.tape'
local C, check, ptr, want = core.C, core.check, core.ptr, core.want

local M = {}

local layernorm = { name = 'layernorm' }
local none = {}

--- y = LN(x + drop(r)) * w + b over the last dimension.  x [.., C], w, b [C] -> [.., C].
--- o: { r [.., C], p = 0 (drop probability of r), site, eps = 1e-5 }.
function layernorm.fwd(x, w, b, o)
  want('layernorm', 'x', x)
  want('layernorm', 'w', w)
  want('layernorm', 'b', b)
  o = o or none
  local r, p, site = o.r, o.p or 0, o.site or 0
  local y, stat = x:like(), Tensor.new({ x:rows(), 2 }, 'f32')
  check(C.dm_layernorm_fwd(y.c, stat.c, x.c, ptr(r), w.c, b.c, p, site, o.eps or 1e-5))
  return tape.record(layernorm, y, { x = x, w = w, b = b, r = r, p = p, site = site, stat = stat },
    x.needs or w.needs or b.needs or (r and r.needs))
end

function layernorm.bwd(y, a)
  local acc, dx, dr, dw, db = tape.slots(a.x, a.r, a.w, a.b)
  check(C.dm_layernorm_bwd(dx, dr, dw, db, y.grad.c, a.x.c, ptr(a.r), a.w.c, a.stat.c, a.p, a.site, acc))
end

M.layernorm = layernorm.fwd

return M
