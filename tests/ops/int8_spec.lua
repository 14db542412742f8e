-- int8_spec.lua -- linear and unbind in int8: within what rounding allows of f32, exact where nothing is rounded.
local h = require 'tests.helper'
local dm = require 'datamux'
local core = require 'datamux.ffi'
local ops = require 'datamux.ops.int8'
local scope = require 'datamux.scope'
local Tensor = require 'datamux.tensor'

local function int8(x, w, b, act)
  local q, scale = ops.pack(w)
  return ops.linear(x, q, scale, b, act)
end

-- Largest |v| of row r (from 0) of n columns, and the sum of |v|.
local function row_figures(v, r, n)
  local top, sum = 0, 0
  for j = r * n + 1, r * n + n do
    local a = math.abs(v[j])
    top, sum = math.max(top, a), sum + a
  end
  return top, sum
end

describe('linear in int8', function()
  if not h.cpu then
    it('is for the CPU', function() pending 'this device has no products in int8' end)
    return
  end

  for _, size in ipairs { { 1, 1, 1 }, { 5, 7, 3 }, { 140, 30, 400 }, { 9, 1025, 20 }, { 510, 12, 65 } } do
    it(('is off by no more than its rounding: %d rows, %d -> %d'):format(unpack(size)), function()
      local R, K, D = unpack(size)
      local x, w, b = h.rand(R, K), h.rand(D, K), h.rand(D)
      local got, want = dm.step(function()
        local tx, tw, tb = h.tensor(x), h.tensor(w), h.tensor(b)
        return int8(tx, tw, tb):totable(), dm.linear(tx, tw, tb):totable()
      end)
      for r = 0, R - 1 do
        local top_x, sum_x = row_figures(x, r, K)
        for d = 0, D - 1 do
          local top_w, sum_w = row_figures(w, d, K)
          local half_x, half_w = top_x / 127 / 2, top_w / 63 / 2
          local bound = sum_x * half_w + sum_w * half_x + K * half_x * half_w
          local at = r * D + d + 1
          assert.is_true(math.abs(got[at] - want[at]) <= bound + 1e-5,
            ('y[%d] is %g, expected %g within %g'):format(at, got[at], want[at], bound))
        end
      end
    end)
  end

  it('reads and gives bf16 as it does f32, but for the rounding', function()
    if core.C.dm_device_takes(scope.device(), core.C.DM_BF16) == 0 then pending 'bf16 is not computed in here' end
    dm.step(function()
      local q, scale = ops.pack(h.tensor(h.rand(70, 37)))
      local b = h.tensor(h.rand(70))
      local x, wide = Tensor.new({ 13, 37 }, 'bf16'), Tensor.new({ 13, 37 }, 'f32')
      core.check(core.C.dm_cast(x.c, h.tensor(h.rand(13, 37)).c))
      core.check(core.C.dm_cast(wide.c, x.c))
      local want = ops.linear(wide, q, scale, b, 'gelu')
      assert.are.same(want:totable(), ops.linear(x, q, scale, b, 'gelu'):totable())
      local rounded, narrow = Tensor.new({ 13, 70 }, 'bf16'), ops.linear(wide, q, scale, b, 'gelu', 'bf16')
      core.check(core.C.dm_cast(rounded.c, want.c))
      assert.are.equal('bf16', narrow:dtype())
      assert.are.same(rounded:totable(), narrow:totable())
    end)
  end)

  it('does not overflow where all products have the largest magnitude, of either sign', function()
    for _, sign in ipairs { 1, -1 } do
      dm.step(function()
        local x, w = dm.zeros(3, 512):fill(2), dm.zeros(50, 512):fill(3 * sign)
        for _, v in ipairs(int8(x, w):totable()) do assert.is_near(512 * 6 * sign, v, 1e-2) end
        for _, v in ipairs(int8(dm.zeros(3, 512):fill(-2), w):totable()) do assert.is_near(-512 * 6 * sign, v, 1e-2) end
      end)
    end
  end)

  it('takes zeros, and applies the activation', function()
    dm.step(function()
      for _, v in ipairs(int8(dm.zeros(2, 6), dm.zeros(3, 6), dm.zeros(3):fill(-1), 'relu'):totable()) do
        assert.are.equal(0, v)
      end
    end)
  end)

  it('gives no number for a row that holds none', function()
    dm.step(function()
      local x = dm.tensor({ { 1, 2, 0 / 0, 4, 1 }, { 1, 1 / 0, 1, 1, 1 } })
      for _, v in ipairs(int8(x, dm.zeros(3, 5):fill(1)):totable()) do assert.is_true(v ~= v, tostring(v)) end
    end)
  end)

  it('gives no number where a weight is none, also behind an activation', function()
    dm.step(function()
      local w = h.tensor(h.array({ 1, 0 / 0, 1, 1, 1, 1 }, { 2, 3 }))
      local y = int8(dm.zeros(1, 3):fill(1), w, nil, 'relu'):totable()
      assert.is_true(y[1] ~= y[1])
      assert.is_near(3, y[2], 1e-5)
    end)
  end)

  it('gives the same bits for one and two threads', function()
    h.same_bits(function()
      h.reseed(3)
      return int8(h.tensor(h.rand(300, 64)), h.tensor(h.rand(800, 64))):totable()
    end)
  end)

  it('refuses what does not fit', function()
    dm.step(function()
      local q, scale = ops.pack(dm.zeros(4, 8))
      h.refuses(function() ops.linear(dm.zeros(2, 12), q, scale) end,
        'int8_linear: q is %[1, 2, 16%], expected %[1, 3, 16%]')
      h.refuses(function() ops.pack(dm.zeros(1, 133145)) end, 'int8_pack: 133145 inputs, expected at most 133144')
    end)
  end)
end)

describe('unbind in int8', function()
  if not h.cpu then
    it('is for the CPU', function() pending 'this device has no products in int8' end)
    return
  end

  local function rows(list) return h.tensor(h.array(list, { #list }, 'i32')) end

  -- N keys and P states of C values, D channels, R pairs that take both in turns.
  local function case(N, P, C, D, R)
    local t = { key = h.tensor(h.rand(N, C)), h = h.tensor(h.rand(P, C)), hb = h.tensor(h.rand(P, D)),
                a = h.tensor(h.rand(D, C)), at = { act = 'gelu' } }
    local ik, ih = {}, {}
    for r = 1, R do ik[r], ih[r] = r % N, 7 * r % P end
    t.at.ik, t.at.ih = rows(ik), rows(ih)
    return t
  end

  local function int8_of(t)
    local q, scale = ops.pack(t.a)
    return ops.unbind(t.key, t.h, t.hb, q, scale, t.at)
  end

  -- The product is linear's, whose rounding is bounded above: here the pairs are written out, and go through it.
  for _, size in ipairs { { 1, 1, 1, 1, 1 }, { 3, 5, 7, 3, 14 }, { 20, 11, 64, 40, 500 }, { 4, 9, 770, 96, 130 } } do
    it(('is linear of keys times states: %d, %d, %d to %d, %d pairs'):format(unpack(size)), function()
      h.reseed(5)
      dm.step(function()
        local t = case(unpack(size))
        local C, D, R = size[3], size[4], size[5]
        local key, state, hb = t.key:totable(), t.h:totable(), t.hb:totable()
        local ik, ih, x, of = t.at.ik:totable(), t.at.ih:totable(), {}, {}
        for r = 0, R - 1 do
          for j = 1, C do x[r * C + j] = key[ik[r + 1] * C + j] * state[ih[r + 1] * C + j] end
          for j = 1, D do of[r * D + j] = hb[ih[r + 1] * D + j] end
        end
        local function shaped(v, n) return h.tensor(h.array(v, { R, n })) end
        local want = dm.act(dm.add(int8(shaped(x, C), t.a), shaped(of, D)), 'gelu')
        h.close(int8_of(t):totable(), want:totable(), 1e-5)
      end)
    end)
  end

  it('gives no number where a state holds none', function()
    dm.step(function()
      local t = case(2, 2, 5, 3, 2)
      t.h:fill(0 / 0)
      for _, v in ipairs(int8_of(t):totable()) do assert.is_true(v ~= v, tostring(v)) end
    end)
  end)

  it('gives the same bits for one and two threads', function()
    h.same_bits(function()
      h.reseed(3)
      return int8_of(case(20, 40, 64, 64, 700)):totable()
    end)
  end)

  it('refuses what does not fit', function()
    dm.step(function()
      local t = case(2, 3, 8, 4, 5)
      t.a = dm.zeros(4, 12)
      h.refuses(function() int8_of(t) end, 'int8_unbind: q is %[1, 3, 16%], expected %[1, 2, 16%]')
      t = case(2, 3, 8, 4, 5)
      t.at.ih = rows { 0, 1, 2, 3, 0 }
      h.refuses(function() int8_of(t) end, 'int8_unbind: ih')
    end)
  end)
end)
