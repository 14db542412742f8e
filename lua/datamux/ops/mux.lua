-- mux.lua -- multiplexing, the two demultiplexers for listed pairs, and the mean over spans of rows.
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local tape = require 'datamux.tape'
local order = require 'datamux.ops.order'
local C, check, ptr, want = core.C, core.check, core.ptr, core.want

local M = {}
local none = {}

local mux = { name = 'mux' }

--- y(b,s) = scale * sum_i weight(b,i) * phi_i(x(b,i,s)).  x [B, N, S, C] -> [B, S, C].  key [N, C]: Hadamard;
--- [N, C, C]: matrices.  o: { weight [B, N], scale = 1 }.
function mux.fwd(x, key, o)
  want('mux', 'x', x)
  want('mux', 'key', key)
  o = o or none
  local y = Tensor.new({ x:size(1), x:size(3), x:cols() }, x:dtype())
  local scale = o.scale or 1
  check(C.dm_mux_fwd(y.c, x.c, key.c, ptr(o.weight), scale))
  return tape.record(mux, y, { x = x, key = key, weight = o.weight, scale = scale }, x.needs or key.needs)
end

function mux.bwd(y, a)
  local acc, dx, dkey = tape.slots(a.x, a.key)
  check(C.dm_mux_bwd(dx, dkey, y.grad.c, a.x.c, a.key.c, ptr(a.weight), a.scale, acc))
end

M.mux = mux.fwd

local demux = { name = 'demux' }

--- y[r] = act(u[iu[r]] + v[iv[r]]).  u [RU, D], v [.., D], iu, iv i32 [R] -> [R, D].
--- o: { act = 'none', ou, ov (orders of iu, iv; made where absent) }.
function demux.fwd(u, v, iu, iv, o)
  want('demux', 'u', u)
  want('demux', 'v', v)
  want('demux', 'iu', iu)
  want('demux', 'iv', iv)
  o = o or none
  local act = core.act('demux', o.act)
  local y = Tensor.new({ iu:numel(), u:cols() }, u:dtype())
  local needs = u.needs or v.needs
  local pre = act ~= 0 and needs and tape.on and y:like() or nil
  check(C.dm_demux_fwd(y.c, ptr(pre), u.c, v.c, iu.c, iv.c, act))
  return tape.record(demux, y, { u = u, v = v, iu = iu, iv = iv, pre = pre, act = act, ou = o.ou, ov = o.ov }, needs)
end

function demux.bwd(y, a)
  local ou = a.ou or order.of(a.iu, a.u:rows())
  local ov = a.ov or order.of(a.iv, a.v:rows())
  local acc, du, dv = tape.slots(a.u, a.v)
  check(C.dm_demux_bwd(du, dv, y.grad.c, ptr(a.pre), a.iu.c, a.iv.c, ou.c, ov.c, a.act, acc))
end

M.demux = demux.fwd

local unbind = { name = 'unbind' }

--- y[r] = act(A (key[ik[r]] * h[ih[r]]) + hb[ih[r]]).  key [N, C], h [.., C], hb [.., D], a [D, C] -> [R, D].
--- o: { ik, ih i32 [R], act = 'none', ok, oh (orders of ik, ih; made where absent) }.
function unbind.fwd(key, h, hb, a, o)
  want('unbind', 'key', key)
  want('unbind', 'h', h)
  want('unbind', 'hb', hb)
  want('unbind', 'a', a)
  want('unbind', 'ik', o.ik)
  want('unbind', 'ih', o.ih)
  local act = core.act('unbind', o.act)
  local y = Tensor.new({ o.ik:numel(), a:size(1) }, h:dtype())
  local needs = key.needs or h.needs or hb.needs or a.needs
  local pre = act ~= 0 and needs and tape.on and y:like() or nil
  check(C.dm_unbind_fwd(y.c, ptr(pre), key.c, h.c, hb.c, a.c, o.ik.c, o.ih.c, act))
  return tape.record(unbind, y, { key = key, h = h, hb = hb, a = a, ik = o.ik, ih = o.ih, ok = o.ok, oh = o.oh,
                                  pre = pre, act = act }, needs)
end

function unbind.bwd(y, a)
  local ok = a.key.needs and (a.ok or order.of(a.ik, a.key:rows())) or nil
  local oh = a.oh or order.of(a.ih, a.h:rows())
  local acc, dkey, dh, dhb, da = tape.slots(a.key, a.h, a.hb, a.a)
  check(C.dm_unbind_bwd(dkey, dh, dhb, da, y.grad.c, ptr(a.pre), a.key.c, a.h.c, a.a.c, a.ik.c, a.ih.c, ptr(ok),
    oh.c, a.act, acc))
end

M.unbind = unbind.fwd

local meanpool = { name = 'meanpool' }

--- y[g] = mean of rows span[g][0] .. span[g][1] (exclusive) of x; 0 for an empty span.  x [.., C], span i32 [G, 2]
--- ascending without overlap -> [G, C].
function meanpool.fwd(x, span)
  want('meanpool', 'x', x)
  want('meanpool', 'span', span)
  local y = Tensor.new({ span:size(1), x:cols() }, x:dtype())
  check(C.dm_meanpool_fwd(y.c, x.c, span.c))
  return tape.record(meanpool, y, { x = x, span = span }, x.needs)
end

function meanpool.bwd(y, a)
  local acc, dx = tape.slots(a.x)
  check(C.dm_meanpool_bwd(dx, y.grad.c, a.span.c, acc))
end

M.meanpool = meanpool.fwd

return M
