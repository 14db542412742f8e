-- norm_spec.lua -- layer norm with residual and dropout.
local h = require 'tests.helper'
local dm = require 'datamux'
local plain = require 'tests.plain'

local EPS = 1e-5
local SITE = 3

local function definition(a, p)
  local C, y = #a.w, {}
  for r = 0, #a.x / C - 1 do
    local v = plain.row(a.x, r, C)
    if a.r then
      for j = 1, C do v[j] = v[j] + a.r[r * C + j] * h.keep(r * C + j - 1, p, SITE) end
    end
    plain.append(y, plain.layernorm(v, a.w, a.b, EPS))
  end
  return y
end

local function case(with_residual, p)
  return h.op_case {
    sizes = { { 1, 1 }, { 5, 7 }, { 149, 768 }, { 3, 1025 }, { 2, 1032 } },
    -- the last: rows of several blocks on CUDA, which are no multiple of its warps, and more columns than one holds
    grad_sizes = { { 1, 2 }, { 5, 7 }, { 40, 66 }, { 83, 24 }, { 43, 7 }, { 2, 776 }, { 1, 1537 } },
    make = function(R, C)
      return { x = h.rand(R, C), r = with_residual and h.rand(R, C) or nil, w = h.rand(C), b = h.rand(C) }
    end,
    run = function(t) return dm.layernorm(t.x, t.w, t.b, { r = t.r, p = p, site = SITE, eps = EPS }) end,
    plain = function(a) return definition(a, p) end,
    grads = with_residual and { 'x', 'r', 'w', 'b' } or { 'x', 'w', 'b' },
    weights = { 'w', 'b' },
  }
end

for name, c in pairs { ['layernorm'] = case(false, 0), ['layernorm with residual'] = case(true, 0),
                       ['layernorm with residual and dropout'] = case(true, 0.3) } do
  describe(name, function()
    it('equals its plain definition', function() c:value() end)
    it('has the gradient of its plain definition', function() c:gradient() end)
  end)
end

describe('layernorm', function()
  it('gives the same bits for one and two threads', function()
    h.same_bits(function()
      h.reseed(2)
      local x, r = h.tensor(h.rand(200, 33)), h.tensor(h.rand(200, 33))
      local w, b = h.tensor(h.rand(33)), h.tensor(h.rand(33))
      w.needs, x.needs = true, true
      local y = dm.tape.recording(dm.layernorm, x, w, b, { r = r, p = 0.1, site = 1 })
      dm.tape.backward(y)
      local out = y:totable()
      plain.append(out, w.grad:totable())
      return out
    end)
  end)

  it('gives a gradient alone as it gives it with the others', function()
    local names = { 'x', 'r', 'w', 'b' }
    local function gradients(wanted)
      h.reseed(2)
      local t = { x = h.tensor(h.rand(11, 24)), r = h.tensor(h.rand(11, 24)), w = h.tensor(h.rand(24)),
                  b = h.tensor(h.rand(24)) }
      for _, name in ipairs(wanted) do t[name].needs = true end
      dm.tape.backward(dm.tape.recording(dm.layernorm, t.x, t.w, t.b, { r = t.r, p = 0.1, site = 1 }))
      local out = {}
      for _, name in ipairs(wanted) do out[name] = t[name].grad:totable() end
      return out
    end
    local all = gradients(names)
    for _, name in ipairs(names) do assert.same(all[name], gradients({ name })[name]) end
  end)

  it('refuses what does not fit', function()
    local x, w, b = { 5, 7 }, { 7 }, { 7 }
    local function ln(o, xs, ws, bs)
      return function()
        dm.layernorm(dm.zeros(unpack(xs or x)), dm.zeros(unpack(ws or w)), dm.zeros(unpack(bs or b)), o)
      end
    end
    h.refuses(ln({}, nil, { 8 }), 'layernorm: w is %[8%], expected %[7%] %(last dimension of x%)')
    h.refuses(ln({}, nil, nil, { 6 }), 'layernorm: b is %[6%]')
    h.refuses(ln({ p = 0.5 }), 'layernorm: p is 0.5 without r')
    h.refuses(ln({ eps = 0 }), 'layernorm: eps is 0')
    h.refuses(function() dm.layernorm(dm.zeros(5, 7), dm.zeros(7), dm.zeros(7), { r = dm.zeros(5, 6) }) end,
      'layernorm: r is %[5, 6%], expected %[5, 7%]')
    h.refuses(function() dm.layernorm(dm.zeros(5, 7), dm.zeros(7), dm.zeros(7), { r = dm.zeros(5, 7), p = 1 }) end,
      'layernorm: p is 1, expected 0 <= p < 1')
  end)
end)
