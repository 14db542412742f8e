-- embed.lua -- embedding, gather, scatter, and the mixed embedding in one pass.
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local tape = require 'datamux.tape'
local order = require 'datamux.ops.order'
local C, check, ptr, want = core.C, core.check, core.ptr, core.want

local M = {}
local none = {}

-- As want, for an argument that may be left out.
local function allow(op, arg, x)
  if x ~= nil then want(op, arg, x) end
end

local embed = { name = 'embed' }

--- y[r] = word[ids[r]] + pos[posid[r]].  ids i32 [..], word [V, C] -> [.., C].
--- o: { pos [P, C] and posid i32 [..] (both or none), order (of ids; made where absent) }.
function embed.fwd(ids, word, o)
  want('embed', 'ids', ids)
  want('embed', 'word', word)
  o = o or none
  allow('embed', 'pos', o.pos)
  allow('embed', 'posid', o.posid)
  allow('embed', 'order', o.order)
  local shape = ids:shape()
  shape[#shape + 1] = word:cols()
  local y = Tensor.new(shape, word:dtype())
  check(C.dm_embed_fwd(y.c, ids.c, ptr(o.posid), word.c, ptr(o.pos)))
  return tape.record(embed, y, { ids = ids, word = word, pos = o.pos, posid = o.posid, order = o.order },
    word.needs or (o.pos and o.pos.needs))
end

function embed.bwd(y, a)
  local rows = a.order or order.of(a.ids, a.word:size(1))
  local acc, dword, dpos = tape.slots(a.word, a.pos)
  check(C.dm_embed_bwd(dword, dpos, y.grad.c, a.ids.c, ptr(a.posid), rows.c, acc))
end

M.embed = embed.fwd

local gather = { name = 'gather' }

--- y[r] = x[rows[r]], 0 where rows[r] is -1.  x [.., C], rows i32 [R] -> [R, C].  by: order of rows (made if absent).
function gather.fwd(x, rows, by)
  want('gather', 'x', x)
  want('gather', 'rows', rows)
  allow('gather', 'order', by)
  local y = Tensor.new({ rows:numel(), x:cols() }, x:dtype())
  check(C.dm_gather_fwd(y.c, x.c, rows.c))
  return tape.record(gather, y, { x = x, rows = rows, order = by }, x.needs)
end

function gather.bwd(y, a)
  local by = a.order or order.of(a.rows, a.x:rows())
  local acc, dx = tape.slots(a.x)
  check(C.dm_gather_bwd(dx, y.grad.c, a.rows.c, by.c, acc))
end

M.gather = gather.fwd

local scatter = { name = 'scatter' }

--- y [n, C] = 0, then y[rows[r]] += x[r]; rows[r] = -1 is left out.  x [R, C], rows i32 [R].
function scatter.fwd(x, rows, n, by)
  want('scatter', 'x', x)
  want('scatter', 'rows', rows)
  allow('scatter', 'order', by)
  local y = Tensor.new({ n, x:cols() }, x:dtype())
  by = by or order.of(rows, n)
  check(C.dm_scatter_fwd(y.c, x.c, rows.c, by.c))
  return tape.record(scatter, y, { x = x, rows = rows }, x.needs)
end

function scatter.bwd(y, a)
  local acc, dx = tape.slots(a.x)
  check(C.dm_scatter_bwd(dx, y.grad.c, a.rows.c, acc))
end

M.scatter = scatter.fwd

local embed_mux = { name = 'embed_mux' }

--- y(b,s) = scale * sum_i weight(b,i) * key(i) * drop(LN(word + pos (+ type)) * g + c).  ids i32 [B, N, S],
--- word [V, C], pos [P, C] -> [B, S, C].  o: { g, c [C], key [N, C], type [C], weight [B, N], scale = 1,
--- posid i32 [B, N, S] (default: position s), order (of ids; made where absent), pad = -1 (id that is left out),
--- p = 0, site, eps = 1e-5 }.
function embed_mux.fwd(ids, word, pos, o)
  want('embed_mux', 'ids', ids)
  want('embed_mux', 'word', word)
  want('embed_mux', 'pos', pos)
  o = o or none
  want('embed_mux', 'g', o.g)
  want('embed_mux', 'c', o.c)
  want('embed_mux', 'key', o.key)
  allow('embed_mux', 'type', o.type)
  allow('embed_mux', 'weight', o.weight)
  allow('embed_mux', 'posid', o.posid)
  allow('embed_mux', 'order', o.order)
  local B, N, S = ids:size(1), ids:size(2), ids:size(3)
  local y, stat = Tensor.new({ B, S, word:cols() }, word:dtype()), Tensor.new({ B, N, S, 2 }, 'f32')
  local a = { ids = ids, word = word, pos = pos, g = o.g, c = o.c, key = o.key, type = o.type, weight = o.weight,
              scale = o.scale or 1, posid = o.posid, order = o.order, pad = o.pad or -1, p = o.p or 0,
              site = o.site or 0, stat = stat }
  check(C.dm_embed_mux_fwd(y.c, stat.c, ids.c, ptr(a.posid), word.c, pos.c, ptr(a.type), a.g.c, a.c.c, a.key.c,
    ptr(a.weight), a.scale, a.pad, a.p, a.site, o.eps or 1e-5))
  return tape.record(embed_mux, y, a, word.needs or pos.needs or a.g.needs or a.c.needs or a.key.needs
    or (a.type and a.type.needs))
end

function embed_mux.bwd(y, a)
  local by = a.order or order.of(a.ids, a.word:size(1))
  local acc, dword, dpos, dtype, dg, dc, dkey = tape.slots(a.word, a.pos, a.type, a.g, a.c, a.key)
  check(C.dm_embed_mux_bwd(dword, dpos, dtype, dg, dc, dkey, y.grad.c, a.stat.c, a.ids.c, ptr(a.posid), by.c,
    a.word.c, a.pos.c, ptr(a.type), a.g.c, a.c.c, a.key.c, ptr(a.weight), a.scale, a.pad, a.p, a.site, acc))
end

M.embed_mux = embed_mux.fwd

return M
