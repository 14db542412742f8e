-- attn_spec.lua -- attention: packed qkv, key mask, dropout on the probabilities.
local h = require 'tests.helper'
local dm = require 'datamux'

local SITE = 9

local function definition(a, heads, p)
  local B, S, C = a.qkv.shape[1], a.qkv.shape[2], a.qkv.shape[3] / 3
  local D, y = C / heads, {}
  local function at(b, s, part, k, j) return a.qkv[((b * S + s) * 3 + part) * C + k * D + j + 1] end
  for b = 0, B - 1 do
    for s = 0, S - 1 do
      for k = 0, heads - 1 do
        local e, top, sum = {}, -math.huge, 0
        for t = 0, S - 1 do
          e[t] = 0
          for j = 0, D - 1 do e[t] = e[t] + at(b, s, 0, k, j) * at(b, t, 1, k, j) / math.sqrt(D) end
          if a.mask and a.mask[b * S + t + 1] == 0 then e[t] = -math.huge end
          top = math.max(top, e[t])
        end
        for t = 0, S - 1 do
          e[t] = top == -math.huge and 0 or math.exp(e[t] - top)
          sum = sum + e[t]
        end
        for t = 0, S - 1 do
          e[t] = (sum > 0 and e[t] / sum or 0) * h.keep(((b * heads + k) * S + s) * S + t, p, SITE)
        end
        for j = 0, D - 1 do
          local v = 0
          for t = 0, S - 1 do v = v + e[t] * at(b, t, 2, k, j) end
          y[((b * S + s) * heads + k) * D + j + 1] = v
        end
      end
    end
  end
  return y
end

local function mask(B, S, empty)
  local m = h.ints(0, 1, B, S)
  for b = 0, B - 1 do m[b * S + 1] = 1 end
  if empty then
    for s = 1, S do m[s] = 0 end
  end
  return m
end

local function case(heads, masked, p, empty)
  return h.op_case {
    sizes = { { 1, 1, 2 }, { 2, 5, 3 }, { 3, 37, 16 }, { 1, 85, 64 }, { 1, 35, 100 }, { 1, 50, 8 }, { 1, 2, 128 } },
    grad_sizes = { { 1, 1, 2 }, { 2, 5, 3 }, { 1, 6, 33 }, { 1, 50, 2 }, { 1, 3, 65 } },
    make = function(B, S, D)
      return { qkv = h.rand(B, S, 3 * heads * D), mask = masked and mask(B, S, empty) or nil }
    end,
    run = function(t) return dm.attention(t.qkv, heads, { mask = t.mask, p = p, site = SITE }) end,
    plain = function(a) return definition(a, heads, p) end,
    grads = { 'qkv' },
  }
end

for name, c in pairs { ['attention'] = case(2, false, 0), ['attention with a key mask'] = case(3, true, 0),
                       ['attention with mask and dropout'] = case(2, true, 0.3),
                       ['attention with a row that has no key'] = case(2, true, 0, true) } do
  describe(name, function()
    it('equals its plain definition', function() c:value() end)
    it('has the gradient of its plain definition', function() c:gradient() end)
  end)
end

-- Runs of keys that nobody attends to, longer than what a device takes at a time: in the middle, and at the end.
describe('attention with long runs of keys that are not attended to', function()
  local c = case(1, true, 0.3)
  c.sizes, c.grad_sizes = { { 2, 69, 8 }, { 1, 100, 40 } }, { { 2, 69, 8 }, { 1, 33, 40 } }
  c.make = function(B, S, D)
    local m = h.ints(0, 0, B, S)
    for s = 1, S do
      m[s] = (s <= 20 or s > 65) and 1 or 0
      if B > 1 then m[S + s] = s <= 30 and 1 or 0 end
    end
    return { qkv = h.rand(B, S, 3 * D), mask = m }
  end
  it('equals its plain definition', function() c:value() end)
  it('has the gradient of its plain definition', function() c:gradient() end)
end)

describe('attention', function()
  it('agrees for one and two threads', function()
    h.same_bits(function()
      h.reseed(4)
      local qkv = h.tensor(h.rand(3, 19, 3 * 32))
      qkv.needs = true
      local y = dm.tape.recording(dm.attention, qkv, 4, { p = 0.1, site = 2 })
      dm.tape.backward(y)
      return qkv.grad:totable()
    end)
  end)

  it('stays finite for scores of a thousand', function()
    local v = dm.step(function() return dm.attention(dm.randn(1, 8, 48):fill(60), 2):totable() end)
    for i = 1, #v do assert.is_near(60, v[i], 1e-3) end
  end)

  it('has a finite gradient where scores are minus a thousand, but not of a key that is not attended to', function()
    dm.step(function()
      local S, C, attended, values = 40, 16, {}, {}
      for s = 1, S do
        attended[s] = s == 3 and 0 or 1
        for j = 1, 3 * C do values[#values + 1] = (j <= C or j > 2 * C or s == 3) and 20 or -20 end
      end
      local qkv = dm.tensor(values, { 1, S, 3 * C })
      qkv.needs = true
      local y = dm.tape.recording(dm.attention, qkv, 2, { mask = dm.tensor(attended, { 1, S }, 'i32') })
      dm.tape.backward(y, dm.randn(1, S, C))
      local d = qkv.grad:totable()
      for i = 1, #d do assert.is_true(math.abs(d[i]) < 1e3) end
    end)
  end)

  it('gives keys that are not attended exactly no gradient', function()
    dm.step(function()
      h.reseed(6)
      local S, C = 40, 8
      local qkv, attended = h.tensor(h.rand(1, S, 3 * C)), {}
      for s = 1, S do attended[s] = s % 3 == 0 and 0 or 1 end
      qkv.needs = true
      local y = dm.tape.recording(dm.attention, qkv, 2, { mask = dm.tensor(attended, { 1, S }, 'i32') })
      dm.tape.backward(y, h.tensor(h.rand(1, S, C)))
      local d = qkv.grad:totable()
      for s = 1, S do
        for j = C + 1, 3 * C do
          assert.are.equal(attended[s] == 0, d[(s - 1) * 3 * C + j] == 0)
        end
      end
    end)
  end)

  it('shows a value that is not a number, rather than taking its query for one without keys', function()
    dm.step(function()
      local qkv = dm.zeros(1, 3, 6)
      local values = qkv:totable()
      values[1] = 0 / 0                        -- of the first query
      local y = dm.attention(dm.tensor(values, { 1, 3, 6 }), 1):totable()
      assert.is_true(y[1] ~= y[1] and y[2] ~= y[2])
      assert.are.same({ 0, 0, 0, 0 }, { unpack(y, 3) })
    end)
  end)

  it('takes a batch without rows and a row without positions', function()
    dm.step(function()
      for _, shape in ipairs { { 0, 3, 12 }, { 2, 0, 12 } } do
        local qkv = dm.Tensor.zeros(shape)
        qkv.needs = true
        local y = dm.tape.recording(dm.attention, qkv, 2)
        dm.tape.backward(y)
        assert.are.same({ shape[1], shape[2], 4 }, y:shape())
      end
    end)
  end)

  it('refuses what does not fit', function()
    h.refuses(function() dm.attention(dm.zeros(2, 4, 24)) end,
      'attention: heads is nil, expected a divisor of C = 8')
    h.refuses(function() dm.attention(dm.zeros(2, 4, 24), 1.5) end, 'attention: heads is 1.5')
    h.refuses(function() dm.attention(dm.zeros(2, 4, 24), 2, { mask = { 1, 0 } }) end,
      'attention: mask is a table, expected a tensor')
    h.refuses(function() dm.attention(dm.zeros(2, 4, 24), 2, { p = 1 }) end, 'attention: p is 1, expected 0 <= p < 1')
    h.refuses(function() dm.attention(dm.zeros(2, 4, 24), 3) end, 'attention: heads is 3, expected a divisor of C = 8')
    h.refuses(function() dm.attention(dm.zeros(4, 24), 2) end, 'attention: qkv is %[4, 24%]')
    h.refuses(function() dm.attention(dm.zeros(2, 4, 24), 2, { mask = dm.Tensor.zeros({ 2, 5 }, 'i32') }) end,
      'attention: mask is %[2, 5%], expected %[2, 4%]')
    h.refuses(function() dm.attention(dm.zeros(2, 4, 24), 2, { mask = dm.zeros(2, 4) }) end,
      'attention: mask is f32, expected i32')
  end)
end)
