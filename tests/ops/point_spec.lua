-- point_spec.lua -- add, scale, act, dropout.
local h = require 'tests.helper'
local dm = require 'datamux'
local plain = require 'tests.plain'

local sizes, grad_sizes = { { 1, 1 }, { 5, 7 }, { 149, 768 } }, { { 1, 1 }, { 5, 7 }, { 9, 65 } }

local function map(a, f)
  local y = {}
  for i = 1, #a do y[i] = f(a[i], i) end
  return y
end

local function describe_case(name, o)
  o.sizes, o.grad_sizes = sizes, grad_sizes
  local case = h.op_case(o)
  describe(name, function()
    it('equals its plain definition', function() case:value() end)
    it('has the gradient of its plain definition', function() case:gradient() end)
  end)
end

describe_case('add', {
  make = function(R, C) return { a = h.rand(R, C), b = h.rand(R, C) } end,
  run = function(t) return dm.add(t.a, t.b) end,
  plain = function(a) return map(a.a, function(v, i) return v + a.b[i] end) end,
  grads = { 'a', 'b' },
})

describe_case('add of a tensor to itself', {
  make = function(R, C) return { a = h.rand(R, C) } end,
  run = function(t) return dm.add(t.a, t.a) end,
  plain = function(a) return map(a.a, function(v) return 2 * v end) end,
  grads = { 'a' },
})

describe_case('scale', {
  make = function(R, C) return { x = h.rand(R, C) } end,
  run = function(t) return dm.scale(t.x, -2.5) end,
  plain = function(a) return map(a.x, function(v) return -2.5 * v end) end,
  grads = { 'x' },
})

for _, act in ipairs { 'none', 'gelu', 'relu', 'tanh' } do
  describe_case('act ' .. act, {
    make = function(R, C) return { x = h.rand(R, C) } end,
    run = function(t) return dm.act(dm.scale(t.x, 5), act) end,
    plain = function(a) return map(a.x, function(v) return plain.act(5 * v, act) end) end,
    grads = { 'x' },
  })
end

describe_case('dropout', {
  make = function(R, C) return { x = h.rand(R, C) } end,
  run = function(t) return dm.dropout(t.x, 0.4, 11) end,
  plain = function(a) return map(a.x, function(v, i) return v * h.keep(i - 1, 0.4, 11) end) end,
  grads = { 'x' },
})

describe('dropout', function()
  it('drops about p of the elements and keeps the mean', function()
    local s = dm.step(function()
      local kept, sum = 0, 0
      for _, v in ipairs(dm.dropout(dm.zeros(100, 1000):fill(1), 0.25, 5):totable()) do
        kept, sum = kept + (v > 0 and 1 or 0), sum + v
      end
      return { kept / 1e5, sum / 1e5 }
    end)
    assert.is_near(0.75, s[1], 0.01)
    assert.is_near(1, s[2], 0.014)
  end)

  it('draws other bits for another site', function()
    dm.step(function()
      local x = dm.zeros(1000):fill(1)
      assert.are_not.same(dm.dropout(x, 0.5, 1):totable(), dm.dropout(x, 0.5, 2):totable())
    end)
  end)
end)

describe('pointwise ops', function()
  it('refuse what does not fit', function()
    h.refuses(function() dm.add(dm.zeros(2, 3), dm.zeros(3, 2)) end, 'add: b is %[3, 2%], expected %[2, 3%]')
    h.refuses(function() dm.dropout(dm.zeros(2), -0.1, 0) end, 'dropout: p is %-0.1')
    h.refuses(function() dm.dropout(dm.zeros(2), 1, 0) end, 'dropout: p is 1')
    h.refuses(function() dm.scale(3, 2) end, 'scale: x is 3, expected a tensor')
    h.refuses(function() dm.act(dm.zeros(2), 'elu') end, "act: act is 'elu'")
  end)

  it('refuse a tensor of a finished step', function()
    local x
    dm.step(function() x = dm.zeros(2) end)
    h.refuses(function() dm.scale(x, 2) end, "belongs to a finished step")
  end)
end)
