-- coupling_spec.lua -- the reversible chain: against its definition, inverted for any N, gradients.
local h = require 'tests.helper'
local dm = require 'datamux'

local function new(n, width)
  return dm.nn.Module.build(dm.nn.Coupling.new { n = n, width = width, init = 0.3 }, 1):train(false)
end

local function streams(n, rows, width)
  local xs = {}
  for i = 1, n do xs[i] = dm.Tensor.new({ rows, width }):normal(0, 1, 5, i) end
  return xs
end

-- The chain of three streams of two channels as one op case: the sum of y_0, 2 y_1 and 3 y_2.
local N, C, D = 3, 2, 4
local chain = h.op_case {
  sizes = { { 1 }, { 3 } },
  make = function(rows)
    local a = {}
    for i = 1, N do
      a['x' .. i], a['w' .. i], a['b' .. i] = h.rand(rows, C), h.rand(D, C), h.rand(D)
      a['v' .. i], a['c' .. i] = h.rand(C, D), h.rand(C)
    end
    return a
  end,
  run = function(t)
    local m = dm.nn.Coupling.new { n = N, width = C, inner = D }
    for i = 1, N do
      local f, g = m['in' .. i - 1], m['out' .. i - 1]
      f.weight, f.bias, g.weight, g.bias = t['w' .. i], t['b' .. i], t['v' .. i], t['c' .. i]
    end
    local y = m:forward { t.x1, t.x2, t.x3 }
    return dm.add(y[1], dm.add(dm.scale(y[2], 2), dm.scale(y[3], 3)))
  end,
  plain = function(a)
    local rows, out = #a.x1 / C, {}
    local function f(k, x)
      local y = {}
      for r = 0, rows - 1 do
        for c = 1, C do
          local s = a['c' .. k][c]
          for d = 1, D do
            local z = a['b' .. k][d]
            for q = 1, C do z = z + a['w' .. k][(d - 1) * C + q] * x[r * C + q] end
            s = s + a['v' .. k][(c - 1) * D + d] * math.max(z, 0)
          end
          y[r * C + c] = math.max(s, 0)
        end
      end
      return y
    end
    local known = a.x2
    for k = 1, N do
      local y, moved = {}, f(k, known)
      for e = 1, rows * C do
        y[e] = a['x' .. N + 1 - k][e] + moved[e]
        out[e] = (out[e] or 0) + k * y[e]
      end
      known = y
    end
    return out
  end,
  grads = { 'x1', 'x2', 'x3', 'w1', 'b2', 'v3', 'c1' },
  no_bf16 = 'a composition of ops: every one rounds',
}

describe('coupling', function()
  it('is inverted for every N, to the rounding of its sums', function()
    for _, n in ipairs { 2, 3, 4, 8, 16 } do
      dm.step(function()
        local m, xs = new(n, 6), streams(n, 5, 6)
        local ys = m:forward(xs)
        local back, moved = m:inverse(ys), 0
        for i = 1, n do
          h.close(back[i]:totable(), xs[i]:totable(), 1e-5)
          local a, b = ys[n + 1 - i]:totable(), xs[i]:totable()
          for k = 1, #a do moved = math.max(moved, math.abs(a[k] - b[k])) end
        end
        assert.is_true(moved > 0.1)                                   -- it does mix
      end)
    end
  end)

  it('of two streams is y0 = x1 + f0(x0), y1 = x0 + f1(y0)', function()
    dm.step(function()
      local m, xs = new(2, 4), streams(2, 3, 4)
      local ys = m:forward(xs)
      local y0 = dm.add(xs[2], m:step(0, xs[1]))
      h.close(ys[1]:totable(), y0:totable(), 1e-6)
      h.close(ys[2]:totable(), dm.add(xs[1], m:step(1, y0)):totable(), 1e-6)
    end)
  end)

  it('is what loops give, with their gradients', function()
    chain:value()
    chain:gradient()
  end)

  it('refuses fewer than two streams, and another number than it has', function()
    h.refuses(function() dm.nn.Coupling.new { n = 1, width = 4 } end, 'n is 1, expected at least 2 streams')
    h.refuses(function() new(3, 4):forward(streams(2, 1, 4)) end, '2 streams, expected n = 3')
  end)
end)
