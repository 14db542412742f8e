-- point.lua -- add, scale, act, dropout.
local core = require 'datamux.ffi'
local tape = require 'datamux.tape'
local C, check, want = core.C, core.check, core.want

local M = {}

local add = { name = 'add' }

--- y = a + b, same shape.
function add.fwd(a, b)
  want('add', 'a', a)
  want('add', 'b', b)
  local y = a:like()
  check(C.dm_add_fwd(y.c, a.c, b.c))
  return tape.record(add, y, { a = a, b = b }, a.needs or b.needs)
end

function add.bwd(y, a)
  if a.a == a.b then            -- one slot, two contributions
    for _ = 1, 2 do
      local acc, da = tape.slots(a.a)
      check(C.dm_add_bwd(da, nil, y.grad.c, acc))
    end
    return
  end
  local acc, da, db = tape.slots(a.a, a.b)
  check(C.dm_add_bwd(da, db, y.grad.c, acc))
end

M.add = add.fwd

local scale = { name = 'scale' }

--- y = s x, s a number.
function scale.fwd(x, s)
  want('scale', 'x', x)
  local y = x:like()
  check(C.dm_scale_fwd(y.c, x.c, s))
  return tape.record(scale, y, { x = x, s = s }, x.needs)
end

function scale.bwd(y, a)
  local acc, dx = tape.slots(a.x)
  check(C.dm_scale_bwd(dx, y.grad.c, a.s, acc))
end

M.scale = scale.fwd

local act = { name = 'act' }

--- y = act(x); name: 'gelu' (exact, erf), 'relu', 'tanh' or 'none'.
function act.fwd(x, name)
  want('act', 'x', x)
  local number = core.act('act', name)
  local y = x:like()
  check(C.dm_act_fwd(y.c, x.c, number))
  return tape.record(act, y, { x = x, act = number }, x.needs)
end

function act.bwd(y, a)
  local acc, dx = tape.slots(a.x)
  check(C.dm_act_bwd(dx, y.grad.c, a.x.c, a.act, acc))
end

M.act = act.fwd

local dropout = { name = 'dropout' }

--- y = x with each element dropped with probability p, the others divided by 1 - p; site: the random stream.
function dropout.fwd(x, p, site)
  want('dropout', 'x', x)
  local y = x:like()
  check(C.dm_dropout_fwd(y.c, x.c, p, site))
  return tape.record(dropout, y, { x = x, p = p, site = site }, x.needs)
end

function dropout.bwd(y, a)
  local acc, dx = tape.slots(a.x)
  check(C.dm_dropout_bwd(dx, y.grad.c, a.p, a.site, acc))
end

M.dropout = dropout.fwd

return M
