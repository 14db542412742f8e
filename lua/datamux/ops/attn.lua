-- attn.lua -- multi-head self-attention from packed q, k, v.
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local tape = require 'datamux.tape'
local C, check, ptr, want = core.C, core.check, core.ptr, core.want

local M = {}

local attention = { name = 'attention' }
local none = {}

--- softmax(q k^T / sqrt(D)) v for each head.  qkv [B, S, 3C] -> [B, S, C].
--- o: { mask i32 [B, S] (0 = key not attended), p = 0 (dropout of the probabilities), site }.
function attention.fwd(qkv, heads, o)
  want('attention', 'qkv', qkv)
  o = o or none
  local p, site = o.p or 0, o.site or 0
  local B, S = qkv:size(1), qkv:size(2)
  local channels = math.floor(qkv:cols() / 3)
  if type(heads) ~= 'number' or heads < 1 or heads % 1 ~= 0 then
    core.raise(('attention: heads is %s, expected a divisor of C = %d'):format(tostring(heads), channels))
  end
  if o.mask ~= nil then want('attention', 'mask', o.mask) end
  local y = Tensor.new({ B, S, channels }, qkv:dtype())
  local stat = qkv.needs and tape.on and Tensor.new({ B, heads, S }, 'f32')
  check(C.dm_attention_fwd(y.c, ptr(stat), qkv.c, ptr(o.mask), heads, p, site))
  return tape.record(attention, y, { qkv = qkv, stat = stat, mask = o.mask, heads = heads, p = p, site = site },
    qkv.needs)
end

function attention.bwd(y, a)
  local acc, dqkv = tape.slots(a.qkv)
  check(C.dm_attention_bwd(dqkv, y.grad.c, y.c, a.qkv.c, a.stat.c, ptr(a.mask), a.heads, a.p, a.site, acc))
end

M.attention = attention.fwd

return M
