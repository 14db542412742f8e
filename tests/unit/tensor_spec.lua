-- tensor_spec.lua -- class Tensor: making, viewing, copying, printing, refusals.
local dm = require 'datamux'
local core = require 'datamux.ffi'
local h = require 'tests.helper'

describe('a tensor', function()
  it('is made from flat and nested lists', function()
    assert.are.same({ 2, 3 }, dm.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }):shape())
    assert.are.same({ 1, 2, 3, 4 }, dm.tensor({ 1, 2, 3, 4 }, { 2, 2 }):totable())
    assert.are.equal('i32', dm.tensor({ 1, 2 }, nil, 'i32'):dtype())
  end)

  it('knows its sizes', function()
    local t = dm.zeros(2, 3, 4)
    assert.are.same({ 6, 4, 24, 4, 2 }, { t:rows(), t:cols(), t:numel(), t:size(-1), t:size(1) })
  end)

  it('shares its data with a view', function()
    local t = dm.zeros(2, 3)
    t:view({ 3 }, 3):fill(5)
    assert.are.same({ 0, 0, 0, 5, 5, 5 }, t:totable())
    h.refuses(function() t:view({ 4 }, 3) end, 'view: %[4%] from element 3 does not fit in %[2, 3%]')
  end)

  it('takes the values of another of its shape, and is set to zero', function()
    local t = dm.zeros(2, 3)
    assert.are.same({ 1, 2, 3, 4, 5, 6 }, t:assign(dm.tensor { { 1, 2, 3 }, { 4, 5, 6 } }):totable())
    h.refuses(function() t:assign(dm.zeros(3)) end, 'cast: ')
    t:view({ 3 }, 3):zero()
    assert.are.same({ 1, 2, 3, 0, 0, 0 }, t:totable())
  end)

  it('prints its shape, figures and corner', function()
    local text = tostring(dm.tensor { { 1, 2 }, { 3, 6 } })
    assert.is_truthy(text:find 'f32%[2, 2%] %w+[:%d]*  min 1  mean 3  max 6')
    assert.is_truthy(text:find '3.0000%s+6.0000')
    assert.is_truthy(tostring(dm.tensor { 0 / 0, 1 }):find 'not finite 1')
    assert.is_truthy(tostring(dm.zeros(0, 3)):find 'empty')
    assert.is_truthy(tostring(dm.Tensor.new({ 3 }, 'bf16'):fill(2)):find '^bf16%[3%]')
  end)

  it('refuses what it cannot be', function()
    h.refuses(function() dm.tensor({ 1, 2, 3 }, { 2 }) end, 'tensor: 3 values, expected 2')
    h.refuses(function() dm.tensor { { 1, 2 }, { 3 } } end, 'tensor: row 2 has 1 values, expected 2')
    h.refuses(function() dm.Tensor.new { 2, -1 } end, 'shape%[2%] is %-1')
    h.refuses(function() dm.Tensor.new({ 2 }, 'f16') end, "dtype is 'f16', expected f32, bf16 or i32")
    h.refuses(function() dm.Tensor.new {} end, 'shape has 0 dimensions')
    h.refuses(function() dm.zeros(2):item() end, 'item: tensor has 2 elements, expected 1')
  end)

  it('names the file and line of the caller', function()
    local _, message = pcall(function() dm.linear(dm.zeros(2, 3), dm.zeros(4, 5)) end)
    assert.is_truthy(tostring(message):find 'tensor_spec.lua:%d+: linear: x is')
  end)
end)

describe('random fills', function()
  it('are the same for a seed and site and differ otherwise', function()
    local a, b = dm.zeros(9):normal(0, 1, 5, 1):totable(), dm.zeros(9):normal(0, 1, 5, 1):totable()
    assert.are.same(a, b)
    assert.are_not.same(a, dm.zeros(9):normal(0, 1, 5, 2):totable())
    assert.are_not.same(a, dm.zeros(9):normal(0, 1, 6, 1):totable())
  end)

  it('have the moments they promise', function()
    local s = require('ffi').new 'double[5]'
    core.check(core.C.dm_tensor_stats(s, dm.zeros(100000):normal(2, 3, 1, 1).c))
    assert.is_near(2, s[2], 0.03)
    assert.is_near(3, s[3], 0.03)
    core.check(core.C.dm_tensor_stats(s, dm.zeros(100000):uniform(-1, 3, 1, 1).c))
    assert.is_near(1, s[2], 0.02)
    assert.is_true(s[0] >= -1 and s[1] < 3)
  end)
end)

describe('bf16 on the CPU', function()
  local taken = core.C.dm_device_takes(dm.scope.device(), core.C.DM_BF16) == 1

  local lacks = 'this processor has neither AVX512%-BF16 nor AMX%-BF16'

  it('is stored and cast, but refused by ops and as the precision of a run', function()
    if taken then return pending 'this device computes in bf16' end
    dm.step(function()
      local x = dm.tensor({ 1, 2.5 }, nil, 'bf16')
      assert.are.same({ 1, 2.5 }, x:totable())
      h.refuses(function() dm.scale(x, 2) end, 'scale: x is bf16, expected f32: cpu has no bf16: ' .. lacks)
    end)
    h.refuses(function() dm.scope.precision 'bf16' end, 'precision: bf16 on cpu, expected f32: ' .. lacks)
    h.refuses(function() dm.scope.precision 'f16' end, "precision: 'f16', expected f32 or bf16")
    assert.are.equal('f32', dm.scope.compute)
  end)

  it('is refused beside f32', function()
    dm.step(function()
      local x, y = dm.zeros(2), dm.Tensor.new({ 2 }, 'bf16')
      h.refuses(function() core.check(core.C.dm_scale_fwd(y.c, x.c, 1)) end,
        'scale: y is bf16, expected f32 %(the type of x%)')
    end)
  end)
end)
