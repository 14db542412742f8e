-- linear_spec.lua -- linear with its epilogues, matmul.
local h = require 'tests.helper'
local dm = require 'datamux'
local plain = require 'tests.plain'

for _, act in ipairs { 'none', 'gelu', 'relu', 'tanh' } do
  describe('linear with act ' .. act, function()
    local case = h.op_case {
      sizes = { { 1, 1, 1 }, { 5, 7, 3 }, { 149, 96, 65 }, { 33, 256, 512 } },
      grad_sizes = { { 1, 1, 1 }, { 5, 7, 3 }, { 70, 4, 5 }, { 66, 1, 24 }, { 9, 1, 264 } },
      make = function(R, C, D) return { x = h.rand(R, C), w = h.rand(D, C), b = h.rand(D) } end,
      run = function(t) return dm.linear(t.x, t.w, t.b, { act = act }) end,
      plain = function(a)
        local y = plain.matmul(a.x, a.w, false, true)
        for i = 1, #y do y[i] = plain.act(y[i] + a.b[(i - 1) % #a.b + 1], act) end
        return y
      end,
      grads = { 'x', 'w', 'b' },
      weights = { 'w', 'b' },
    }
    it('equals its plain definition', function() case:value() end)
    it('has the gradient of its plain definition', function() case:gradient() end)
  end)
end

describe('linear', function()
  it('works without a bias and on more than two dimensions', function()
    local x, w = h.rand(2, 3, 4), h.rand(5, 4)
    local got = dm.step(function()
      local y = dm.linear(h.tensor(x), h.tensor(w))
      assert.are.same({ 2, 3, 5 }, y:shape())
      return y:totable()
    end)
    x.shape = { 6, 4 }
    h.close(got, plain.matmul(x, w, false, true), 1e-6)
  end)

  it('takes no rows', function()
    assert.are.same({ 0, 5 }, dm.step(function() return dm.linear(dm.zeros(0, 4), dm.zeros(5, 4)):shape() end))
  end)

  it('refuses what does not fit', function()
    h.refuses(function() dm.linear(dm.zeros(2, 3), dm.zeros(4, 5)) end,
      'linear: x is %[2, 3%], w is %[4, 5%]: inner sizes differ')
    h.refuses(function() dm.linear(dm.zeros(2, 3), dm.zeros(4, 3), dm.zeros(3)) end,
      'linear: b is %[3%], expected %[4%]')
    h.refuses(function() dm.linear(dm.zeros(2, 3), dm.zeros(4, 3), nil, { act = 'swish' }) end, "act is 'swish'")
    h.refuses(function() dm.linear(nil, dm.zeros(4, 3)) end, 'linear: x is nil, expected a tensor')
    h.refuses(function() dm.linear(dm.Tensor.zeros({ 2, 3 }, 'i32'), dm.zeros(4, 3)) end,
      'linear: x is i32, expected f32')
  end)

  it('gives the same bits for one and two threads', function()
    h.same_bits(function()
      h.reseed(1)
      local t = { x = h.tensor(h.rand(200, 150)), w = h.tensor(h.rand(800, 150)), b = h.tensor(h.rand(800)) }
      for _, k in ipairs { 'x', 'w', 'b' } do t[k].needs = true end
      local y = dm.tape.recording(dm.linear, t.x, t.w, t.b, { act = 'gelu' })
      dm.tape.backward(y)
      local out = {}
      for _, v in ipairs { y, t.x.grad, t.w.grad, t.b.grad } do
        for _, number in ipairs(v:totable()) do out[#out + 1] = number end
      end
      return out
    end)
  end)
end)

describe('a product of many tiles', function()
  local M, N, K = 210, 500, 1100               -- several tiles, a sum longer than a buffer, rows 4 KiB apart in b
  for _, shape in ipairs { { M, N, K }, { 90, 1024, 300 }, { 700, 50, 1024 } } do
    local m, n, k = shape[1], shape[2], shape[3]
    for _, ta in ipairs { false, true } do
      for _, tb in ipairs { false, true } do
        it(('equals its sums: %d x %d x %d%s%s'):format(m, n, k, ta and ', a transposed' or '',
          tb and ', b transposed' or ''), function()
          local a, b = ta and h.rand(k, m) or h.rand(m, k), tb and h.rand(n, k) or h.rand(k, n)
          local y = dm.step(function() return dm.matmul(h.tensor(a), h.tensor(b), { ta = ta, tb = tb }):totable() end)
          for at = 1, m * n, 97 do
            local i, j, sum = math.floor((at - 1) / n), (at - 1) % n, 0
            for l = 0, k - 1 do
              sum = sum + (ta and a[l * m + i + 1] or a[i * k + l + 1]) * (tb and b[j * k + l + 1] or b[l * n + j + 1])
            end
            assert.is_near(sum, y[at], h.twin and 1e-9 or 1e-3)
          end
        end)
      end
    end
  end
end)

for _, ta in ipairs { false, true } do
  for _, tb in ipairs { false, true } do
    describe(('matmul, ta %s, tb %s'):format(tostring(ta), tostring(tb)), function()
      local case = h.op_case {
        sizes = { { 1, 1, 1 }, { 3, 5, 7 }, { 65, 40, 33 } },
        grad_sizes = { { 1, 1, 1 }, { 3, 5, 7 } },
        make = function(R, K, D)
          return { a = ta and h.rand(K, R) or h.rand(R, K), b = tb and h.rand(D, K) or h.rand(K, D) }
        end,
        run = function(t) return dm.matmul(t.a, t.b, { ta = ta, tb = tb }) end,
        plain = function(a) return plain.matmul(a.a, a.b, ta, tb) end,
        grads = { 'a', 'b' },
      }
      it('equals its plain definition', function() case:value() end)
      it('has the gradient of its plain definition', function() case:gradient() end)
    end)
  end
end

-- The k-th matrix of a stack.
local function matrix(a, k)
  local rows, cols = a.shape[2], a.shape[3]
  local out = h.array({}, { rows, cols })
  for i = 1, rows * cols do out[i] = a[rows * cols * k + i] end
  return out
end

local function stacked(a, b, tb)
  local y = {}
  for k = 0, a.shape[1] - 1 do
    for _, v in ipairs(plain.matmul(matrix(a, k), matrix(b, k), false, tb)) do y[#y + 1] = v end
  end
  return y
end

describe('matmul of stacks with a parameter', function()
  local case = h.op_case {
    sizes = { { 1, 1, 1, 1 }, { 3, 4, 5, 7 }, { 2, 33, 17, 40 } },
    grad_sizes = { { 1, 1, 1, 1 }, { 3, 4, 5, 7 } },
    make = function(B, R, K, D) return { a = h.rand(B, R, K), b = h.rand(B, D, K) } end,
    run = function(t) return dm.matmul(t.a, t.b, { tb = true }) end,
    plain = function(t) return stacked(t.a, t.b, true) end,
    grads = { 'a', 'b' },
    weights = { 'b' },
  }
  it('equals its plain definition', function() case:value() end)
  it('has the gradient of its plain definition', function() case:gradient() end)
end)

describe('matmul', function()
  it('multiplies each of a leading dimension', function()
    local a, b = h.rand(2, 3, 4), h.rand(2, 4, 5)
    local got = dm.step(function() return dm.matmul(h.tensor(a), h.tensor(b)):totable() end)
    h.close(got, stacked(a, b), 1e-6)
  end)

  it('refuses what does not fit', function()
    h.refuses(function() dm.matmul(dm.zeros(2, 3), dm.zeros(4, 5)) end, 'matmul: a is %[2, 3%], b is %[4, 5%]')
    h.refuses(function() dm.matmul(dm.zeros(2, 3), dm.zeros(1, 3, 5)) end, 'expected both 2%-D')
  end)
end)
