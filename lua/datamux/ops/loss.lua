-- loss.lua -- cross-entropy, the vocabulary's cross-entropy in chunks, mean squared error, counting.
local core = require 'datamux.ffi'
local scope = require 'datamux.scope'
local Tensor = require 'datamux.tensor'
local tape = require 'datamux.tape'
local C, check, ptr, want = core.C, core.check, core.ptr, core.want

local M = {}
local IGNORE = -100

local function ignored(o) return o and o.ignore or IGNORE end

local xent = { name = 'xent' }

--- Mean cross-entropy over the rows whose label is not o.ignore (default -100).  logits [R, K], label i32 [R] -> [1].
function xent.fwd(logits, label, o)
  want('xent', 'logits', logits)
  want('xent', 'label', label)
  local loss = Tensor.new({ 1 }, 'f32')
  local saved = logits.needs and tape.on and logits:like() or nil
  check(C.dm_xent_fwd(loss.c, ptr(saved), logits.c, label.c, ignored(o)))
  return tape.record(xent, loss, { logits = logits, saved = saved }, logits.needs)
end

function xent.bwd(y, a)
  local acc, dlogits = tape.slots(a.logits)
  check(C.dm_xent_bwd(dlogits, y.grad.c, a.saved.c, acc))
end

M.xent = xent.fwd

local linear_xent = { name = 'linear_xent' }

-- The logits that a device keeps for the backward pass: columns, type, and bytes up to which unasked. Elsewhere than on
-- the CPU as the network computes, in rows of whole packs of 8.
local function form(entries, dtype)
  if not scope.records() then return entries, 'f32', 2 ^ 28 end
  return math.ceil(entries / 8) * 8, dtype, 2 ^ 30
end

--- Bytes of the logits of `rows` rows that are kept for the backward pass unasked, all of them or 0: on the CPU in f32
--- up to 256 MiB, elsewhere in dtype ('f32' or 'bf16', of x) up to 1 GiB.
function M.kept(rows, entries, dtype)
  local columns, kind, most = form(entries, dtype)
  local bytes = rows * columns * (kind == 'f32' and 4 or 2)
  return bytes <= most and bytes or 0
end

--- xent(x w^T + b, label).  x [R, C], w [V, C], b [V] or nil, label i32 [R] -> loss [1], hits i32 [2] (rows whose
--- largest logit is the label, rows counted).  o: { ignore = -100, keep: the logits [R, V] are kept for the backward
--- pass (true), or never exist as a whole and are made twice (false); default: see kept }.
function linear_xent.fwd(x, w, b, label, o)
  want('linear_xent', 'x', x)
  want('linear_xent', 'w', w)
  want('linear_xent', 'label', label)
  local loss, hits = Tensor.new({ 1 }, 'f32'), Tensor.new({ 2 }, 'i32')
  local lse = Tensor.new({ x:size(1) }, 'f32')
  local ignore, needs, keep = ignored(o), x.needs or w.needs or (b and b.needs), o and o.keep
  local R, V, dtype = x:size(1), w:size(1), x:dtype()
  if keep == nil then keep = M.kept(R, V, dtype) > 0 end
  local columns, kind = form(V, dtype)
  local logits = keep and needs and tape.on and Tensor.new({ R, columns }, kind) or nil
  check(C.dm_linear_xent_fwd(loss.c, hits.c, lse.c, ptr(logits), x.c, w.c, ptr(b), label.c, ignore))
  tape.record(linear_xent, loss, { x = x, w = w, b = b, label = label, lse = lse, logits = logits, ignore = ignore },
    needs)
  return loss, hits
end

function linear_xent.bwd(y, a)
  local acc, dx, dw, db = tape.slots(a.x, a.w, a.b)
  check(C.dm_linear_xent_bwd(dx, dw, db, ptr(a.logits), y.grad.c, a.lse.c, a.x.c, a.w.c, ptr(a.b), a.label.c, a.ignore,
    acc))
end

M.linear_xent = linear_xent.fwd

local mse = { name = 'mse' }

--- Mean of (x - target)^2 over all elements -> [1]; target takes no gradient.
function mse.fwd(x, target)
  want('mse', 'x', x)
  want('mse', 'target', target)
  local loss = Tensor.new({ 1 }, 'f32')
  check(C.dm_mse_fwd(loss.c, x.c, target.c))
  return tape.record(mse, loss, { x = x, target = target }, x.needs)
end

function mse.bwd(y, a)
  local acc, dx = tape.slots(a.x)
  check(C.dm_mse_bwd(dx, y.grad.c, a.x.c, a.target.c, acc))
end

M.mse = mse.fwd

--- hits i32 [2]: rows whose largest logit is the label, rows counted.  logits [R, K], label i32 [R].
function M.count_correct(logits, label, o)
  want('count_correct', 'logits', logits)
  want('count_correct', 'label', label)
  local hits = Tensor.new({ 2 }, 'i32')
  check(C.dm_count_correct(hits.c, logits.c, label.c, ignored(o)))
  return hits
end

return M
