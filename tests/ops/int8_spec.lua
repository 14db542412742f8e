-- int8_spec.lua -- linear in int8: within what rounding allows of the product in f32, exact where nothing is rounded.
local h = require 'tests.helper'
local dm = require 'datamux'
local core = require 'datamux.ffi'
local C, check = core.C, core.check

local function packed(w) return dm.infer.pack(w, dm.Tensor.new) end

local function int8(x, w, b, act)
  local q, scale = packed(w)
  local y = dm.Tensor.new { x:size(1), w:size(1) }
  check(C.dm_int8_linear(y.c, x.c, q.c, scale.c, core.ptr(b), core.act('linear', act)))
  return y
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

  it('gives the same bits for one and two threads', function()
    h.same_bits(function()
      h.reseed(3)
      return int8(h.tensor(h.rand(300, 64)), h.tensor(h.rand(800, 64))):totable()
    end)
  end)

  it('refuses what does not fit', function()
    dm.step(function()
      local q, scale = packed(dm.zeros(4, 8))
      local y, x = dm.Tensor.new { 2, 4 }, dm.zeros(2, 12)
      h.refuses(function() check(C.dm_int8_linear(y.c, x.c, q.c, scale.c, nil, 0)) end,
        'int8_linear: q is %[1, 2, 16%], expected %[1, 3, 16%]')
    end)
  end)
end)
