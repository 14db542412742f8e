-- int8.lua -- products of a finished model in 8-bit integers, on the CPU; without gradients.
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local tape = require 'datamux.tape'
local C, check, ptr, want = core.C, core.check, core.ptr, core.want

local M = {}

--- Shape of the packed weights of d channels of c inputs (see dm_int8_pack).
function M.packed_shape(d, c) return { math.ceil(d / 16), math.ceil(c / 4), 16 } end

--- A weight [D, C] in 7 bits per channel, i32 as dm_int8_pack lays it, and its scales [D]; made by `new`: Tensor.new
--- (default), or Tensor.lasting for what outlives the step.
function M.pack(weight, new)
  want('int8_pack', 'weight', weight)
  new = new or Tensor.new
  local d, c = weight:size(1), weight:size(2)
  local packed, scale = new(M.packed_shape(d, c), 'i32'), new { d }
  check(C.dm_int8_pack(packed.c, scale.c, weight.c))
  return packed, scale
end

local function without_gradient(op)
  if tape.on then core.raise(op .. ': its weights are int8, which take no gradient; expected the tape off') end
end

--- y = act(x w^T + b), w as packed, each row of x in 8 bits.  x [.., C], packed, scale [D], b [D] or nil -> [.., D].
--- act: 'none' (default), 'gelu', 'relu' or 'tanh'; dtype of y: 'f32' (default) or 'bf16'. x may be of either.
function M.linear(x, packed, scale, b, act, dtype)
  without_gradient 'linear'
  want('int8_linear', 'x', x)
  local shape = x:shape()
  shape[#shape] = scale:numel()
  local y = Tensor.new(shape, dtype or 'f32')
  check(C.dm_int8_linear(y.c, x.c, packed.c, scale.c, ptr(b), core.act('linear', act)))
  return y
end

--- mux.unbind with `a` as packed: y[r] = act(A (key[ik[r]] * h[ih[r]]) + hb[ih[r]]), each key * h in 8 bits.
--- key [N, C], h [.., C], hb [.., D], packed, scale [D] -> [R, D].  o: { ik, ih i32 [R], act = 'none' }.
function M.unbind(key, h, hb, packed, scale, o)
  without_gradient 'unbind'
  want('int8_unbind', 'h', h)
  local y = Tensor.new { o.ik:numel(), scale:numel() }
  check(C.dm_int8_unbind(y.c, key.c, h.c, hb.c, packed.c, scale.c, o.ik.c, o.ih.c, core.act('unbind', o.act)))
  return y
end

return M
