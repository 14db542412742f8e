-- optim_spec.lua -- adamw, sgd, norm2, zero, cast.
local ffi = require 'ffi'
local h = require 'tests.helper'
local core = require 'datamux.ffi'
local dm = require 'datamux'
local C, check = core.C, core.check

local n, decayed = 77, 40

local function float(v)
  return tonumber(ffi.new('float[1]', v)[0])
end

describe('adamw', function()
  it('equals ten lines of Lua over several updates, with clipping and a decayed range', function()
    local lr, b1, b2, eps, decay, clip = float(0.01), float(0.9), float(0.99), float(1e-8), float(0.1), float(0.5)
    dm.step(function()
      local p0 = h.rand(n)
      local p, m, v = h.tensor(p0), dm.zeros(n), dm.zeros(n)
      local P, M, V = p0, {}, {}
      for i = 1, n do M[i], V[i] = 0, 0 end
      local norm = dm.zeros(1)
      for t = 1, 5 do
        local g = h.rand(n)
        local G = h.tensor(g)
        dm.scope.knobs { lr = lr, update = t }
        check(C.dm_norm2(norm.c, G.c))
        check(C.dm_adamw(p.c, m.c, v.c, nil, G.c, norm.c, decayed, b1, b2, eps, decay, clip))
        local square = 0
        for i = 1, n do square = square + g[i] ^ 2 end
        h.close({ norm:item() }, { math.sqrt(square) }, h.twin and 1e-12 or 1e-6)
        local f = math.min(1, clip / math.sqrt(square))
        for i = 1, n do
          local q = g[i] * f
          M[i], V[i] = b1 * M[i] + (1 - b1) * q, b2 * V[i] + (1 - b2) * q * q
          local step = M[i] / (1 - b1 ^ t) / (math.sqrt(V[i] / (1 - b2 ^ t)) + eps)
          P[i] = P[i] * (i <= decayed and 1 - lr * decay or 1) - lr * step
        end
      end
      h.close(p:totable(), P, h.twin and 1e-10 or 2e-6, 'p')
      h.close(m:totable(), M, 1e-6, 'm')
    end)
  end)

  it('writes a copy in bf16 in the same pass', function()
    dm.scope.knobs { lr = 0.01, update = 1 }
    dm.step(function()
      local p, g, copy, want = h.tensor(h.rand(n)), h.tensor(h.rand(n)), dm.Tensor.new({ n }, 'bf16'),
        dm.Tensor.new({ n }, 'bf16')
      check(C.dm_adamw(p.c, dm.zeros(n).c, dm.zeros(n).c, copy.c, g.c, nil, decayed, 0.9, 0.99, 1e-8, 0.1, 1))
      check(C.dm_cast(want.c, p.c))
      assert.are.same(want:totable(), copy:totable())
      check(C.dm_sgd(p.c, nil, copy.c, g.c, nil, decayed, 0, 0.1, 1))
      check(C.dm_cast(want.c, p.c))
      assert.are.same(want:totable(), copy:totable())
    end)
  end)

  it('refuses what does not fit', function()
    dm.scope.knobs { update = 1 }
    h.refuses(function()
      check(C.dm_adamw(dm.zeros(4).c, dm.zeros(4).c, dm.zeros(4).c, dm.zeros(4).c, dm.zeros(4).c, nil, 4, 0.9, 0.99,
        1e-8, 0, 1))
    end, 'adamw: copy is not bf16')
    local function update(o)
      return function()
        local p = dm.zeros(4)
        check(C.dm_adamw(p.c, dm.zeros(o.m or 4).c, dm.zeros(4).c, nil, dm.zeros(o.g or 4).c, nil, o.decayed or 4,
          o.beta1 or 0.9, 0.99, o.eps or 1e-8, 0, 1))
      end
    end
    h.refuses(update { g = 5 }, 'adamw: g is %[5%], expected %[4%]')
    h.refuses(update { m = 3 }, 'adamw: m is %[3%]')
    h.refuses(update { decayed = 5 }, 'adamw: decayed is 5, expected 0 .. 4')
    h.refuses(update { beta1 = 1 }, 'adamw: beta1 is 1')
    h.refuses(update { eps = 0 }, 'adamw: eps is 0')
  end)
end)

describe('sgd', function()
  it('follows momentum and decay', function()
    local lr, momentum, decay = float(0.1), float(0.9), float(0.01)
    dm.step(function()
      local P, M = h.rand(n), {}
      local p, m = h.tensor(P), dm.zeros(n)
      for i = 1, n do M[i] = 0 end
      for t = 1, 3 do
        local g = h.rand(n)
        dm.scope.knobs { lr = lr, update = t }
        check(C.dm_sgd(p.c, m.c, nil, h.tensor(g).c, nil, decayed, momentum, decay, 0))
        for i = 1, n do
          M[i] = momentum * M[i] + g[i] + (i <= decayed and decay or 0) * P[i]
          P[i] = P[i] - lr * M[i]
        end
      end
      h.close(p:totable(), P, h.twin and 1e-12 or 2e-6)
    end)
  end)

  it('refuses momentum without a buffer', function()
    h.refuses(function() check(C.dm_sgd(dm.zeros(4).c, nil, nil, dm.zeros(4).c, nil, 0, 0.9, 0, 0)) end,
      'sgd: momentum is 0.9 without m')
  end)
end)

describe('norm2', function()
  it('gives the same bits for one and two threads', function()
    h.same_bits(function()
      local out = dm.zeros(1)
      check(C.dm_norm2(out.c, dm.Tensor.new({ 300000 }):normal(0, 1, 5, 1).c))
      return out:totable()
    end)
  end)
end)

describe('zero and cast', function()
  it('zero clears any type', function()
    dm.step(function()
      local x = dm.tensor({ 3, 4 }, { 2 }, 'i32')
      check(C.dm_zero(x.c))
      assert.are.same({ 0, 0 }, x:totable())
    end)
  end)

  it('cast to bf16 rounds to nearest even and keeps NaN and infinity', function()
    dm.step(function()
      local x = dm.tensor { 1, 1.00390625, 1.01171875, -2.5, 0 / 0, math.huge, 3.4e38 }
      local y = dm.Tensor.new({ 7 }, 'bf16')
      check(C.dm_cast(y.c, x.c))
      local got = y:totable()
      assert.are.same({ 1, 1, 1.015625, -2.5 }, { got[1], got[2], got[3], got[4] })
      assert.is_true(got[5] ~= got[5])
      assert.are.equal(math.huge, got[6])
      assert.are.equal(math.huge, got[7])
    end)
  end)

  it('cast refuses integers', function()
    h.refuses(function() check(C.dm_cast(dm.zeros(2).c, dm.Tensor.zeros({ 2 }, 'i32').c)) end, 'cast: x is i32')
  end)
end)
