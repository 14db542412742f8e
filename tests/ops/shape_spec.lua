-- shape_spec.lua -- reshape: values stay, gradients come back in the shape of the input.
local h = require 'tests.helper'
local dm = require 'datamux'

describe('reshape', function()
  local case = h.op_case {
    sizes = { { 1, 1 }, { 6, 5 } },
    make = function(R, C) return { x = h.rand(R, C) } end,
    run = function(t) return dm.scale(dm.reshape(t.x, { t.x:numel(), 1 }), 3) end,
    plain = function(a)
      local y = {}
      for i = 1, #a.x do y[i] = 3 * a.x[i] end
      return y
    end,
    grads = { 'x' },
  }
  it('keeps the values', function() case:value() end)
  it('has the gradient of its plain definition', function() case:gradient() end)

  it('adds to what other uses of x contribute', function()
    dm.step(function()
      local x = dm.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
      x.needs = true
      local y = dm.tape.recording(function()
        local twice = dm.scale(x, 2)
        return dm.add(dm.reshape(twice, { 3, 2 }), dm.reshape(dm.scale(twice, 10), { 3, 2 }))
      end)
      assert.are.same({ 22, 44, 66, 88, 110, 132 }, y:totable())
      dm.tape.backward(y)
      assert.are.same({ 22, 22, 22, 22, 22, 22 }, x.grad:totable())
    end)
  end)

  it('refuses another number of elements', function()
    h.refuses(function() dm.reshape(dm.zeros(2, 3), { 4 }) end, 'reshape: x is %[2, 3%], shape is %[4%]')
  end)
end)
