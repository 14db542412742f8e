-- embed_mux_spec.lua -- the mixed embedding in one pass.
local h = require 'tests.helper'
local dm = require 'datamux'
local plain = require 'tests.plain'

local float = require('ffi').new 'float[2]'
float[0], float[1] = 1e-5, 0.7              -- both are rounded to f32 on their way through the interface
local EPS, SITE, SCALE = tonumber(float[0]), 6, tonumber(float[1])

local function definition(a, o)
  local B, N, S = unpack(a.ids.shape)
  local C, y = a.word.shape[2], {}
  for i = 1, B * S * C do y[i] = 0 end
  for row = 0, B * N * S - 1 do
    local s, i, b = row % S, math.floor(row / S) % N, math.floor(row / S / N)
    local weight = a.weight and a.weight[b * N + i + 1] or 1
    if a.ids[row + 1] ~= o.pad then
      local at, v = a.posid and a.posid[row + 1] or s, {}
      for j = 1, C do
        v[j] = a.word[a.ids[row + 1] * C + j] + a.pos[at * C + j] + (a.type and a.type[j] or 0)
      end
      local e = plain.layernorm(v, a.g, a.c, EPS)
      for j = 1, C do
        local k = (b * S + s) * C + j
        y[k] = y[k] + SCALE * weight * a.key[i * C + j] * e[j] * h.keep(row * C + j - 1, o.p, SITE)
      end
    end
  end
  return y
end

local function case(o)
  local grads = { 'word', 'pos', 'g', 'c' }
  if o.type then grads[#grads + 1] = 'type' end
  if o.learn then grads[#grads + 1] = 'key' end
  return h.op_case {
    sizes = { { 1, 1, 1, 4 }, { 2, 3, 4, 6 }, { 3, 5, 17, 65 }, { 2, 20, 40, 16 } },
    grad_sizes = { { 1, 1, 1, 4 }, { 2, 3, 4, 6 }, { 3, 2, 2, 8 } },
    make = function(B, N, S, C)
      local a = { ids = h.ints(0, 8, B, N, S), word = h.rand(9, C), pos = h.rand(S + 1, C), g = h.rand(C),
                  c = h.rand(C), key = h.rand(N, C), type = o.type and h.rand(C) or nil,
                  posid = o.posid and h.ints(0, S, B, N, S) or nil, weight = o.weight and h.rand(B, N) or nil }
      if a.weight then a.weight[1] = 0 end
      return a
    end,
    run = function(t)
      return dm.embed_mux(t.ids, t.word, t.pos, { g = t.g, c = t.c, key = t.key, type = t.type, posid = t.posid,
        weight = t.weight, scale = SCALE, pad = o.pad, p = o.p, site = SITE, eps = EPS })
    end,
    plain = function(a) return definition(a, o) end,
    grads = grads,
    weights = grads,
    f32 = { 'weight' },
  }
end

local cases = {
  ['embed_mux'] = case { p = 0, pad = -1 },
  ['embed_mux with dropout and learned keys'] = case { p = 0.2, pad = -1, learn = true },
  ['embed_mux without pads, with weights'] = case { p = 0, pad = 2, weight = true },
  ['embed_mux with type and positions given'] = case { p = 0.1, pad = -1, type = true, posid = true },
}

for name, c in pairs(cases) do
  describe(name, function()
    it('equals its plain definition', function() c:value() end)
    it('has the gradient of its plain definition', function() c:gradient() end)
  end)
end

describe('embed_mux', function()
  local function equals_its_parts(B, N, S, C, given)
    local p, positions = 0.1, given and h.ints(0, S - 1, B, N, S) or {}
    for r = 0, given and -1 or B * N * S - 1 do positions[r + 1] = r % S end
    local function parts(t)
      local e = dm.embed(t.ids, t.word, { pos = t.pos, posid = dm.tensor(positions, { B, N, S }, 'i32') })
      local x = dm.dropout(dm.layernorm(e, t.g, t.c), p, SITE)
      return dm.mux(x, t.key, { weight = t.weight, scale = SCALE })
    end
    local function fused(t)
      return dm.embed_mux(t.ids, t.word, t.pos, { g = t.g, c = t.c, key = t.key, weight = t.weight, scale = SCALE,
        posid = given and dm.tensor(positions, { B, N, S }, 'i32') or nil, p = p, site = SITE })
    end
    local names = { 'word', 'pos', 'g', 'c', 'key' }
    local function results(fn)
      return dm.step(function()
        h.reseed(2)
        local t = { ids = h.tensor(h.ints(0, 8, B, N, S)), word = h.tensor(h.rand(9, C)), pos = h.tensor(h.rand(S, C)),
                    g = h.tensor(h.rand(C)), c = h.tensor(h.rand(C)), key = h.tensor(h.rand(N, C)),
                    weight = h.tensor(h.rand(B, N)) }
        for _, name in ipairs(names) do t[name].needs = true end
        local y = dm.tape.recording(fn, t)
        dm.tape.backward(y, h.tensor(h.rand(B, S, C)))
        local out = { y = y:totable() }
        for _, name in ipairs(names) do out[name] = t[name].grad:totable() end
        return out
      end)
    end
    local got, want = results(fused), results(parts)
    for name in pairs(want) do h.close(got[name], want[name], h.twin and 1e-12 or 1e-5, name) end
  end

  it('equals embed, layernorm, dropout and mux one after the other, with rows enough for several chunks', function()
    equals_its_parts(3, 7, 40, 9)
  end)

  it('equals its parts with many rows, many instances, wide rows and positions given', function()
    equals_its_parts(67, 3, 2, 16)
    equals_its_parts(1, 67, 2, 8)
    equals_its_parts(2, 3, 2, 1032)
    equals_its_parts(2, 2, 3, 1027)
    equals_its_parts(5, 3, 20, 24, true)
  end)

  it('gives the same bits for one and two threads', function()
    h.same_bits(function()
      h.reseed(5)
      local ids, word = h.tensor(h.ints(0, 3, 6, 8, 40)), h.tensor(h.rand(4, 10))
      local pos, key = h.tensor(h.rand(40, 10)), h.tensor(h.rand(8, 10))
      local g, c = h.tensor(h.rand(10)), h.tensor(h.rand(10))
      word.needs, pos.needs, g.needs, key.needs = true, true, true, true
      local y = dm.tape.recording(dm.embed_mux, ids, word, pos, { g = g, c = c, key = key, p = 0.1, site = 1 })
      dm.tape.backward(y, h.tensor(h.rand(6, 40, 10)))
      local out = y:totable()
      for _, t in ipairs { word, pos, g, key } do plain.append(out, t.grad:totable()) end
      return out
    end)
  end)

  it('gives the other gradients the same bits where that of the words is not wanted', function()
    local function gradients(wanted)
      return dm.step(function()
        h.reseed(8)
        local ids, word = h.tensor(h.ints(0, 3, 3, 7, 40)), h.tensor(h.rand(4, 6))
        local pos, key = h.tensor(h.rand(40, 6)), h.tensor(h.rand(7, 6))
        local g, c, type = h.tensor(h.rand(6)), h.tensor(h.rand(6)), h.tensor(h.rand(6))
        pos.needs, key.needs, g.needs, c.needs, type.needs, word.needs = true, true, true, true, true, wanted
        local y = dm.tape.recording(dm.embed_mux, ids, word, pos, { g = g, c = c, key = key, type = type, p = 0.1 })
        dm.tape.backward(y, h.tensor(h.rand(3, 40, 6)))
        local out = {}
        for _, t in ipairs { pos, key, g, c, type } do plain.append(out, t.grad:totable()) end
        return out
      end)
    end
    assert.are.same(gradients(true), gradients(false))
  end)

  it('leaves pads and instances of weight 0 without any gradient', function()
    dm.step(function()
      h.reseed(9)
      local ids, word = dm.tensor({ 0, 1, 2, 3 }, { 1, 2, 2 }, 'i32'), h.tensor(h.rand(4, 5))
      local pos, key = h.tensor(h.rand(2, 5)), h.tensor(h.rand(2, 5))
      word.needs, key.needs = true, true
      local y = dm.tape.recording(dm.embed_mux, ids, word, pos, { g = h.tensor(h.rand(5)), c = h.tensor(h.rand(5)),
        key = key, pad = 1, weight = dm.tensor({ 1, 0 }, { 1, 2 }) })
      dm.tape.backward(y, h.tensor(h.rand(1, 2, 5)))
      local dword, dkey = word.grad:totable(), key.grad:totable()
      for j = 1, 5 do
        assert.is_true(dword[j] ~= 0 and dkey[j] ~= 0)
        assert.are.same({ 0, 0, 0, 0 }, { dword[5 + j], dword[10 + j], dword[15 + j], dkey[5 + j] })
      end
    end)
  end)

  it('refuses what does not fit', function()
    h.refuses(function() dm.embed_mux(dm.Tensor.zeros({ 1, 2, 3 }, 'i32'), dm.zeros(4, 6), dm.zeros(3, 6)) end,
      'embed_mux: g is nil, expected a tensor')
    local function mixed(o)
      return function()
        dm.embed_mux(o.ids or dm.Tensor.zeros({ 1, 2, 3 }, 'i32'), dm.zeros(4, 6), o.pos or dm.zeros(3, 6),
          { g = dm.zeros(6), c = dm.zeros(6), key = o.key or dm.zeros(2, 6), weight = o.weight, p = o.p })
      end
    end
    h.refuses(mixed { ids = dm.Tensor.zeros({ 2, 3 }, 'i32') }, 'embed_mux: ')
    h.refuses_ids(mixed { ids = dm.Tensor.zeros({ 1, 2, 3 }, 'i32'):fill(4) },
      'embed_mux: ids%[0%] is 4, expected 0 .. 3')
    h.refuses(mixed { key = dm.zeros(3, 6) }, 'embed_mux: key is %[3, 6%], expected %[2, 6%]')
    h.refuses(mixed { pos = dm.zeros(2, 6) }, 'embed_mux: ids is %[1, 2, 3%], expected at most 2 positions')
    h.refuses(mixed { weight = dm.zeros(2, 1) }, 'embed_mux: weight is %[2, 1%], expected %[1, 2%]')
    h.refuses(mixed { p = 2 }, 'embed_mux: p is 2')
  end)
end)
