-- mux_spec.lua -- the multiplexers: their keys, the mixture against naive loops, gradients, refusals, a recipe's own.
local h = require 'tests.helper'
local dm = require 'datamux'
local mux = require 'datamux.nn.mux'
local Module = require 'datamux.nn.module'

local kinds = { 'hadamard', 'sign', 'identity', 'binary', 'ortho', 'lowrank', 'hrr' }
local EPS = 2 ^ -17                   -- exact in f32, as is 1 / sqrt(4)

-- The keys of a strategy as the module gets them: a built module with the single tensor `key`.
local function keys(kind, n, c, o)
  o = o or {}
  local m = Module.init(Module.class 'Keys', {})
  mux.declare(m, 'key', kind, { n = n, width = c, norm = o.norm or math.sqrt(c), overlap = o.overlap or 0,
                                learn = o.learn })
  return Module.build(m, o.seed or 1)
end

-- k x, for keys [C] or a matrix [C, C] that start at `at` (from 0) of a flat list.
local function bound(k, matrix, i, x, c)
  local y = {}
  for r = 1, c do
    y[r] = 0
    if matrix then
      for q = 1, c do y[r] = y[r] + k[(i * c + r - 1) * c + q] * x[q] end
    else
      y[r] = k[i * c + r] * x[r]
    end
  end
  return y
end

local function mixture_case(kind, skip)
  local PAD = 0
  return h.op_case {
    sizes = { { 1, 1, 1, 4 }, { 2, 4, 3, 7 }, { 2, 4, 5, 12 } },
    grad_sizes = { { 2, 4, 3, 7 } },
    make = function(B, N, S, C)
      local value = keys(kind, N, C).key
      local a = { B = B, N = N, S = S, C = C, word = h.rand(9, C), pos = h.rand(S, C), g = h.rand(C), c = h.rand(C),
                  key = h.array(value:totable(), value:shape()), ids = h.ints(0, 8, B, N, S), weight = h.rand(B, N) }
      return a
    end,
    run = function(t)
      local o = { vocab = 9, positions = t.S, width = t.C, dropout = 0, eps = EPS, init = 0.02, pad = PAD, n = t.N,
                  mux = kind, norm = 1, reduce = 'sqrt', skip = skip }
      local m = dm.nn.MuxEmbedding.new(o)
      m.word, m.position, m.norm.weight, m.norm.bias, m.key = t.word, t.pos, t.g, t.c, t.key
      local posid, tokens, ids = {}, {}, t.ids:totable()
      for r = 0, #ids - 1 do
        posid[r + 1], tokens[r + 1] = r % t.S, ids[r + 1] == PAD and -1 or r
      end
      return m:forward { ids = t.ids, weight = t.weight, posid = dm.tensor(posid, t.ids:shape(), 'i32'),
                         tokens = m.matrices and skip and dm.tensor(tokens, nil, 'i32') or nil }
    end,
    plain = function(a)
      local y, C, S, N = {}, a.C, a.S, a.N
      for k = 1, a.B * S * C do y[k] = 0 end
      for b = 0, a.B - 1 do
        for i = 0, N - 1 do
          for s = 0, S - 1 do
            local id = a.ids[(b * N + i) * S + s + 1]
            if not (skip and id == PAD) then
              local x, mean, var = {}, 0, 0
              for k = 1, C do x[k] = a.word[id * C + k] + a.pos[s * C + k] end
              for k = 1, C do mean = mean + x[k] / C end
              for k = 1, C do var = var + (x[k] - mean) ^ 2 / C end
              for k = 1, C do x[k] = (x[k] - mean) / math.sqrt(var + EPS) * a.g[k] + a.c[k] end
              local v = bound(a.key, #a.key.shape == 3, i, x, C)
              for k = 1, C do
                local at = (b * S + s) * C + k
                y[at] = y[at] + a.weight[b * N + i + 1] * v[k] / math.sqrt(N)
              end
            end
          end
        end
      end
      return y
    end,
    grads = { 'word', 'pos', 'g', 'c', 'key' },
    no_bf16 = 'a composition of ops: every one rounds',
  }
end

for _, kind in ipairs(kinds) do
  describe('the ' .. kind .. ' multiplexer', function()
    local skipping, mixing = mixture_case(kind, true), mixture_case(kind, false)
    it('mixes as naive loops do, pads left out or mixed in', function()
      skipping:value()
      mixing:value()
    end)
    it('has the gradients of the loops, the keys among them', function()
      skipping:gradient()
      mixing:gradient()
    end)

    it('makes the same keys from the same seed', function()
      assert.are.same(keys(kind, 3, 8).key:totable(), keys(kind, 3, 8).key:totable())
      local other = keys(kind, 3, 8, { seed = 2 }).key:totable()
      if kind == 'hadamard' or kind == 'sign' or kind == 'ortho' or kind == 'lowrank'
          or kind == 'hrr' then
        assert.are_not.same(keys(kind, 3, 8).key:totable(), other)
      end
    end)

    it('keeps the variance of one instance by its own reduction', function()
      local B, N, S, C = 4, 5, 6, 60
      dm.step(function()
        local x = dm.Tensor.new({ B, N, S, C }):normal(0, 1, 3, 1)
        local scale = mux.scale(mux.reduction(kind, 'auto', false), N)
        local y = dm.mux(x, keys(kind, N, C).key, { scale = scale }):totable()
        local square = 0
        for _, v in ipairs(y) do square = square + v * v / #y end
        assert.is_near(1, square, 0.15)
      end)
    end)

    it('is frozen and saved, or trained', function()
      local frozen = keys(kind, 2, 8)
      assert.are.same({ 0, 1 }, { #frozen.block.list, #frozen.block.buffers })
      if kind ~= 'identity' then
        local trained = keys(kind, 2, 8, { learn = true })
        assert.are.same({ 1, 0 }, { #trained.block.list, #trained.block.buffers })
        assert.is_true(trained.key.needs)
      end
    end)
  end)
end

describe('keys', function()
  it('of hadamard have the norm asked for', function()
    local k = keys('hadamard', 3, 16, { norm = 20 }).key:totable()
    for i = 0, 2 do
      local s = 0
      for j = 1, 16 do s = s + k[i * 16 + j] ^ 2 end
      assert.is_near(20, math.sqrt(s), 1e-4)
    end
  end)

  it('of sign are one or minus one, about as often', function()
    local plus = 0
    for _, v in ipairs(keys('sign', 4, 256).key:totable()) do
      assert.are.equal(1, math.abs(v))
      plus = plus + (v > 0 and 1 or 0)
    end
    assert.is_near(512, plus, 64)
  end)

  it('of binary are blocks; the last takes the rest; overlap moves inner borders', function()
    local function rows(overlap, n, c)
      local k, out = keys('binary', n, c, { overlap = overlap }).key:totable(), {}
      for i = 1, n do out[i] = table.concat(k, '', (i - 1) * c + 1, i * c) end
      return out
    end
    assert.are.same({ '1110000000', '0001110000', '0000001111' }, rows(0, 3, 10))
    assert.are.same({ '1111000000', '0011111000', '0000011111' }, rows(1, 3, 10))
    assert.are.same({ '11111000', '00011111' }, rows(0.5, 2, 8))
    assert.are.same({ '1110000000', '0001110000', '0000001111' }, rows(0.6, 3, 10))   -- 0.9 of a channel: none
  end)

  -- K_i^T K_j of a flat [N, C, C].
  local function product(k, c, i, j)
    local out = {}
    for a = 1, c do
      for b = 1, c do
        local s = 0
        for r = 0, c - 1 do s = s + k[(i * c + r) * c + a] * k[(j * c + r) * c + b] end
        out[(a - 1) * c + b] = s
      end
    end
    return out
  end

  it('of ortho are orthogonal, each its own', function()
    local c = 12
    local k = keys('ortho', 3, c).key:totable()
    local unit = {}
    for a = 1, c do for b = 1, c do unit[(a - 1) * c + b] = a == b and 1 or 0 end end
    for i = 0, 2 do h.close(product(k, c, i, i), unit, 1e-6) end
    local cross, far = product(k, c, 0, 1), 0
    for e = 1, c * c do far = math.max(far, math.abs(cross[e] - unit[e])) end
    assert.is_true(far > 0.5)
  end)

  -- HRR (Plate 1995): binding is circular correlation, here by discrete Fourier transforms, read with an offset.
  it('of hrr correlate circularly, as transforms do', function()
    local n, c = 2, 12
    local k, x = keys('hrr', n, c).key:totable(), {}
    for j = 1, c do x[j] = math.sin(3 * j) end
    local function dft(v, sign, im)
      local re, out = {}, {}
      for f = 0, c - 1 do
        local a, b = 0, 0
        for t = 0, c - 1 do
          local angle = sign * 2 * math.pi * f * t / c
          local p, q = v[t + 1], im and im[t + 1] or 0
          a, b = a + p * math.cos(angle) - q * math.sin(angle), b + p * math.sin(angle) + q * math.cos(angle)
        end
        re[f + 1], out[f + 1] = a, b
      end
      return re, out
    end
    for i = 0, n - 1 do
      local w, norm = {}, 0                                        -- row C/2 - 1 has the key from its start
      for j = 0, c - 1 do
        w[j + 1] = k[(i * c + c / 2 - 1) * c + j + 1]
        norm = norm + w[j + 1] ^ 2
      end
      assert.is_near(1, norm, 1e-5)
      local wr, wi = dft(w, -1)
      local xr, xi = dft(x, -1)
      local pr, pi = {}, {}
      for f = 1, c do pr[f], pi[f] = wr[f] * xr[f] + wi[f] * xi[f], wr[f] * xi[f] - wi[f] * xr[f] end
      local correlation, got, want = dft(pr, 1, pi), bound(k, true, i, x, c), {}
      for r = 0, c - 1 do want[r + 1] = correlation[(r + 1 - c / 2) % c + 1] / c end
      h.close(got, want, 1e-6)
    end
  end)

  it('of hrr are not trained: their matrices would not stay circulant', function()
    local why, fix = mux.refuse('hrr', { n = 2, width = 8, norm = 'sqrt', overlap = 0, learn = true })
    assert.are.same({ "mux.learn is true with mux.kind 'hrr', whose matrices would not stay circulant, expected false",
      'mux.learn=false' }, { why, fix })
  end)

  it('of lowrank project on subspaces at right angles to each other', function()
    local n, c = 3, 13
    local k = keys('lowrank', n, c).key:totable()
    for i = 0, n - 1 do
      local p, trace = product(k, c, i, i), 0
      for a = 1, c do trace = trace + p[(a - 1) * c + a] end
      assert.is_near(4, trace, 1e-5)                                   -- floor(13 / 3): the rank
      local square = {}
      for a = 0, c - 1 do
        for b = 1, c do
          local s = 0
          for r = 1, c do s = s + p[a * c + r] * p[(r - 1) * c + b] end
          square[a * c + b] = s
        end
      end
      h.close(square, p, 1e-5)                                         -- K^T K is a projection
      local zero = {}
      for e = 1, c * c do zero[e] = 0 end
      -- what two instances leave behind has no direction in common: (K_i x) . (K_j y) = 0 for all x, y
      h.close(product(k, c, i, (i + 1) % n), zero, 1e-6)
    end
  end)
end)

describe('a multiplexer', function()
  local function refused(pattern, name, o)
    local why = mux.refuse(name, { n = o.n or 4, width = o.width or 8, norm = o.norm or 'sqrt',
                                   overlap = o.overlap or 0, learn = o.learn })
    assert.is_truthy(why and why:find(pattern), tostring(why))
  end

  it('says what does not fit', function()
    refused('mux.n is 40, expected at most 24: binary masks need a channel each', 'binary', { n = 40, width = 24 })
    refused('mux.n is 9, expected at most 8: low%-rank keys need a dimension each', 'lowrank', { n = 9 })
    refused("mux.norm is 20 with mux.kind 'sign'", 'sign', { norm = 20 })
    refused("mux.overlap is 0.5 with mux.kind 'hadamard'", 'hadamard', { overlap = 0.5 })
    refused("mux.learn is true with mux.kind 'identity'", 'identity', { learn = true })
    for _, kind in ipairs(kinds) do
      assert.is_nil(mux.refuse(kind, { n = 4, width = 8, norm = 'sqrt', overlap = 0 }))
    end
  end)

  it('takes the published reduction where the mixture is embedded again', function()
    assert.are.same({ 'mean', 'mean', 'sqrt', 'sqrt', 'sum' }, {
      mux.reduction('hadamard', 'auto', true), mux.reduction('binary', nil, true), mux.reduction('ortho', nil, true),
      mux.reduction('lowrank', nil, true), mux.reduction('hadamard', 'sum', true) })
  end)

  it('may be a recipe\'s own', function()
    local before = #mux.names
    dm.register.mux('halves', {
      reduce = 'sum',
      keys = function(o)
        return { o.n, o.width }, function(v)
          for k = 0, o.n * o.width - 1 do v[k] = math.floor(k / o.width) % 2 == k % 2 and 1 or 0 end
        end
      end,
    })
    assert.are.equal(before + 1, #mux.names)
    assert.are.equal('halves', mux.names[before + 1])
    assert.are.same({ 1, 0, 1, 0, 0, 1, 0, 1 }, keys('halves', 2, 4).key:totable())
    table.remove(mux.names)
  end)

  it('is refused where its name or its spec will not do', function()
    h.refuses(function() dm.register.mux('hadamard', {}) end, "register: 'hadamard' is a mux.kind of the library")
    h.refuses(function() dm.register.mux('two words', {}) end, "name of the mux.kind is two words, expected letters")
    h.refuses(function() dm.register.mux('mine', { reduce = 'sum' }) end,
      "register: keys of mux.kind 'mine' is nil, expected a function")
    h.refuses(function() mux.get 'hadamrad' end, "mux.kind is 'hadamrad', expected one of hadamard, binary")
    for reduce, published in pairs { sqr = 'sum', sum = 'sqr' } do
      h.refuses(function()
        dm.register.mux('wide', { reduce = reduce, published = published, keys = function() end })
      end, "%l+ of mux.kind 'wide' is 'sqr', expected sqrt, mean or sum")
    end
    table.remove(mux.names)
  end)

  it('of a recipe\'s own is refused with its name and field where it makes no keys', function()
    local function fill(f) return function(o) return { o.n, o.width }, f end end
    local faults = {
      { function() return { 2, 5 }, function() end end, 'returns the shape %[2, 5%], expected %[N, C%] or' },
      { function(o) return { o.n, o.width } end, 'returns table and nil, expected a shape and a function' },
      { function(o) return o.none.n end, 'raises: .*mux_spec.lua:%d+: ' },
      { fill(function(v) v[1e9] = 1 end), 'mux_spec.lua:%d+: place 1000000000 of an array of 8, expected 0 to 7' },
      { fill(function(v) v[-1] = 1 end), 'place %-1 of' },
      { fill(function(v) v[0] = nil end), 'place 0 is nil, expected a number' },
      { fill(function(v, normals) v[0] = normals(3)[3] end), 'place 3 of an array of 3' },
    }
    for _, f in ipairs(faults) do
      dm.register.mux('wrong', { reduce = 'sum', keys = f[1] })
      h.refuses(function() keys('wrong', 2, 4) end, "keys of mux.kind 'wrong' .*" .. f[2])
    end
    table.remove(mux.names)
  end)
end)
