-- conv.lua -- convolution and pooling of images.
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local tape = require 'datamux.tape'
local C, check, ptr, want = core.C, core.check, core.ptr, core.want

local M = {}
local none = {}

local conv2d = { name = 'conv2d' }

--- y = conv(x, w) + b: cross-correlation with stride 1.  x [B, Ci, H, W], w [Co, Ci / groups, Kh, Kw], b [Co] or nil
--- -> [B, Co, H + 2 pad - Kh + 1, W + 2 pad - Kw + 1].  o: { pad = 0, groups = 1 }.
function conv2d.fwd(x, w, b, o)
  want('conv2d', 'x', x)
  want('conv2d', 'w', w)
  if b then want('conv2d', 'b', b) end
  o = o or none
  local pad, groups = o.pad or 0, o.groups or 1
  if x:ndim() ~= 4 or w:ndim() ~= 4 then
    core.raise(('conv2d: x has %d dimensions, w has %d, expected 4'):format(x:ndim(), w:ndim()))
  end
  local y = Tensor.new({ x:size(1), w:size(1), math.max(x:size(3) + 2 * pad - w:size(3) + 1, 0),
                         math.max(x:size(4) + 2 * pad - w:size(4) + 1, 0) }, x:dtype())
  check(C.dm_conv2d_fwd(y.c, x.c, w.c, ptr(b), pad, groups))
  return tape.record(conv2d, y, { x = x, w = w, b = b, pad = pad, groups = groups },
    x.needs or w.needs or (b and b.needs))
end

function conv2d.bwd(y, a)
  local acc, dx, dw, db = tape.slots(a.x, a.w, a.b)
  check(C.dm_conv2d_bwd(dx, dw, db, y.grad.c, a.x.c, a.w.c, a.pad, a.groups, acc))
end

M.conv2d = conv2d.fwd

local maxpool2d = { name = 'maxpool2d' }

--- Largest of each k x k window, windows side by side, rest dropped.  x [B, C, H, W] -> [B, C, H // k, W // k].
function maxpool2d.fwd(x, k)
  want('maxpool2d', 'x', x)
  k = k or 2
  if x:ndim() ~= 4 then core.raise(('maxpool2d: x has %d dimensions, expected 4'):format(x:ndim())) end
  local shape = { x:size(1), x:size(2), math.floor(x:size(3) / k), math.floor(x:size(4) / k) }
  local y, at = Tensor.new(shape, x:dtype()), Tensor.new(shape, 'i32')
  check(C.dm_maxpool2d_fwd(y.c, at.c, x.c, k))
  return tape.record(maxpool2d, y, { x = x, at = at }, x.needs)
end

function maxpool2d.bwd(y, a)
  local acc, dx = tape.slots(a.x)
  check(C.dm_maxpool2d_bwd(dx, y.grad.c, a.at.c, acc))
end

M.maxpool2d = maxpool2d.fwd

return M
