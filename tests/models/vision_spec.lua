-- vision_spec.lua -- image multiplexers against plain loops, the networks against PyTorch, short training.
local ffi = require 'ffi'
local h = require 'tests.helper'
local dm = require 'datamux'
local safetensors = require 'datamux.safetensors'
local Optimiser = require 'datamux.optim'

local imagemux, Mixer = dm.nn.imagemux, dm.nn.Mixer
local golden = safetensors.open 'tests/golden/images.safetensors'
local function values(name) return h.values(golden.tensors[name]) end

local function build(o)
  o.reduce = o.reduce or 'sum'
  return dm.nn.Module.build(Mixer.new(o), 3)
end

local function mixed(m, x) return dm.step(function() return m:forward(h.tensor(x)):totable() end) end

-- y += the 3 x 3 correlation of x [size][size], from `at` on, with the kernel k from `from` on; zeros around.
local function correlate(y, x, at, size, k, from)
  for r = 0, size - 1 do
    for q = 0, size - 1 do
      local s = 0
      for i = -1, 1 do
        for j = -1, 1 do
          local a, b = r + i, q + j
          if a >= 0 and a < size and b >= 0 and b < size then
            s = s + x[at + a * size + b + 1] * k[from + (i + 1) * 3 + j + 2]
          end
        end
      end
      y[r * size + q + 1] = y[r * size + q + 1] + s
    end
  end
end

local function zeros(n)
  local t = {}
  for i = 1, n do t[i] = 0 end
  return t
end

-- What a multiplexer of kernels gives: for each row of x [B, N, size, size] the sum over its instances.
local function by_kernels(x, kernels)
  local B, N, size = unpack(x.shape)
  local out = {}
  for b = 0, B - 1 do
    local y = zeros(size * size)
    for i = 0, N - 1 do correlate(y, x, (b * N + i) * size * size, size, kernels, 9 * i) end
    for _, v in ipairs(y) do out[#out + 1] = v end
  end
  return out
end

-- The same for matrices: phi(i, r, k) is the entry of instance i.
local function by_matrices(x, phi)
  local B, N, size = unpack(x.shape)
  local area, out = size * size, {}
  for b = 0, B - 1 do
    for r = 0, area - 1 do
      local s = 0
      for i = 0, N - 1 do
        for k = 0, area - 1 do s = s + phi(i, r, k) * x[(b * N + i) * area + k + 1] end
      end
      out[#out + 1] = s
    end
  end
  return out
end

describe('an image multiplexer', function()
  local size, N = 8, 3
  local x
  before_each(function()
    h.reseed(3)
    x = h.rand(2, N, size, size)
  end)

  local function make(kind, o)
    o = o or {}
    o.kind, o.n, o.height, o.width = kind, o.n or N, o.size or size, o.size or size
    return build(o)
  end

  local function ones(n)
    local k = {}
    for i = 1, 9 * n do k[i] = 1 end
    return k
  end

  it('of kernels is the sum of the instances\' convolutions', function()
    for _, kind in ipairs { 'gaussian', 'learned' } do
      local m = make(kind)
      h.close(mixed(m, x), by_kernels(x, m.kernel:totable()), 1e-5, kind)
    end
    h.close(mixed(make 'identity', x), by_kernels(x, ones(N)), 1e-5, 'identity')
    local steps = ones(N)
    for i = 1, 9 * N do steps[i] = math.ceil(i / 9) end
    h.close(mixed(make 'graded', x), by_kernels(x, steps), 1e-5, 'graded')
  end)

  it('of matrices is the sum of the instances\' products', function()
    local area = size * size
    for _, kind in ipairs { 'matrix', 'so', 'rotation', 'remap' } do
      local m = make(kind)
      local a = m.matrix:totable()
      h.close(mixed(m, x), by_matrices(x, function(i, r, k) return a[r * N * area + i * area + k + 1] end), 1e-5, kind)
    end
  end)

  it('hadamard multiplies each pixel by its key', function()
    local m = make 'hadamard'
    local key, area = m.key:totable(), size * size
    h.close(mixed(m, x), by_matrices(x, function(i, r, k) return r == k and key[i * area + k + 1] or 0 end), 1e-5)
  end)

  it('nonlinear is two convolutions with tanh for each instance, of 1, 4 or 8 channels', function()
    for _, channels in ipairs { 1, 4, 8 } do
      local m = make('nonlinear', { channels = channels })
      local inner, outer, area = m.inner:totable(), m.outer:totable(), size * size
      local want = {}
      for b = 0, 1 do
        local sum = {}
        for c = 1, channels do sum[c] = zeros(area) end
        for i = 0, N - 1 do
          local middle = { shape = { 1, 16, size, size } }
          for k = 0, 15 do
            local y = zeros(area)
            correlate(y, x, (b * N + i) * area, size, inner, 9 * (16 * i + k))
            for p = 1, area do middle[k * area + p] = math.tanh(y[p]) end
          end
          for c = 0, channels - 1 do
            local y = zeros(area)
            for k = 0, 15 do correlate(y, middle, k * area, size, outer, 9 * (16 * (channels * i + c) + k)) end
            for p = 1, area do sum[c + 1][p] = sum[c + 1][p] + math.tanh(y[p]) end
          end
        end
        for c = 1, channels do
          for p = 1, area do want[#want + 1] = sum[c][p] end
        end
      end
      assert.are.equal(channels, m.channels)
      h.close(mixed(m, x), want, 1e-5, channels .. ' channels')
    end
  end)

  it('starts with normals, or with normals that keep the variance', function()
    for kind, name in pairs { learned = 'kernel', matrix = 'matrix', gaussian = 'kernel', nonlinear = 'outer' } do
      local inputs = kind == 'matrix' and size * size or kind == 'nonlinear' and 144 or 9
      local a = make(kind, { channels = 8 })[name]:totable()
      local b = make(kind, { channels = 8, init = 'fan_in' })[name]:totable()
      for i = 1, #a do b[i] = b[i] * math.sqrt(inputs) end
      h.close(b, a, 1e-5, kind)
    end
  end)

  it('so is N different rotations of the pixel space', function()
    local m = make('so', { size = 4 })
    local a = m.matrix:totable()
    local function row(i, r)
      local v = {}
      for k = 1, 16 do v[k] = a[r * N * 16 + i * 16 + k] end
      return v
    end
    for i = 0, N - 1 do
      for r = 0, 15 do
        for s = 0, r do
          local dot, u, v = 0, row(i, r), row(i, s)
          for k = 1, 16 do dot = dot + u[k] * v[k] end
          assert.is_near(r == s and 1 or 0, dot, 1e-6)
        end
      end
      local d, rows = 1, {}                              -- the determinant, by elimination
      for r = 0, 15 do rows[r + 1] = row(i, r) end
      for p = 1, 16 do
        local best = p
        for r = p, 16 do if math.abs(rows[r][p]) > math.abs(rows[best][p]) then best = r end end
        if best ~= p then rows[p], rows[best], d = rows[best], rows[p], -d end
        d = d * rows[p][p]
        for r = p + 1, 16 do
          local f = rows[r][p] / rows[p][p]
          for k = p, 16 do rows[r][k] = rows[r][k] - f * rows[p][k] end
        end
      end
      assert.is_near(1, d, 1e-5)
    end
    assert.is_true(math.abs(a[1] - a[17]) > 1e-3)
  end)

  it('rotation is that of SciPy, with the notebook\'s factor where asked', function()
    local image = h.array(values 'rotation.in', { 1, 5, 20, 20 })
    h.close(mixed(make('rotation', { n = 5, size = 20 }), image), values 'rotation.out', 2e-6)
    h.close(mixed(make('rotation', { n = 5, size = 20, sign = true }), image), values 'rotation.signed', 2e-6)
  end)

  it('rotation by right angles moves the pixels and leaves them as they are', function()
    local m = make('rotation', { n = 4, size = 5 })
    local image = h.rand(1, 4, 5, 5)
    local want = zeros(25)
    for r = 0, 4 do
      for q = 0, 4 do
        local at = { r * 5 + q, q * 5 + 4 - r, (4 - r) * 5 + 4 - q, (4 - q) * 5 + r }
        for i = 0, 3 do want[r * 5 + q + 1] = want[r * 5 + q + 1] + image[25 * i + at[i + 1] + 1] end
      end
    end
    h.close(mixed(m, image), want, 1e-5)
  end)

  it('remap puts every fourth pixel into the instance\'s own cell', function()
    local m = make('remap', { n = 6 })
    local image = h.rand(1, 6, size, size)
    local want = zeros(size * size)
    for i = 0, 5 do
      for r = 0, 1 do
        for q = 0, 1 do
          want[(i % 4 * 2 + r) * size + math.floor(i / 4) * 2 + q + 1] = image[i * 64 + 4 * r * size + 4 * q + 1]
        end
      end
    end
    h.close(mixed(m, image), want, 1e-6)
  end)

  it('divides its sum where asked, and trains what it keeps', function()
    local sum, mean = mixed(make 'gaussian', x), mixed(make('gaussian', { reduce = 'mean' }), x)
    for i = 1, #sum do sum[i] = sum[i] / N end
    h.close(mean, sum, 1e-6)
    assert.are.equal(0, make('so').block.n)
    assert.is_true(make('so', { learn = true }).block.n >= N * size ^ 4)
    assert.are.equal(0, make('hadamard').block.n)
    assert.is_true(make('matrix').block.n > 0)
  end)

  it('can be one of your own', function()
    dm.register.imagemux('half', {                   -- that of docs/images.md
      declare = function(m, o) m:buffer('ones', { 1, o.n, 1, 1 }, function(t) t:fill(0.5) end) end,
      mix = function(m, t) return dm.conv2d(t, m.ones) end })
    local want = by_matrices(x, function(_, r, k) return r == k and 0.5 or 0 end)
    h.close(mixed(make 'half', x), want, 1e-6)
    h.refuses(function() imagemux.register('so', {}) end, "'so' is a mux.kind of the library")
    h.refuses(function() imagemux.register('other', { mix = print }) end, "declare of mux.kind 'other' is nil")
    h.refuses(function() imagemux.get 'nothing' end, "mux.kind is 'nothing', expected one of")
    local t = { task = 'mnist', model = { kind = 'mlp' }, mux = { kind = 'half' } }
    local r = require('datamux.recipe').resolve(t, {})
    assert.are.equal('half', r.mux.kind)
  end)

  it('of your own is refused with its name and line where it makes no mixture', function()
    for what, mix in pairs {
      ['returns nil, expected a tensor\n  where: .*vision_spec.lua:%d+'] = function() end,
      ['returns %[2, 3, 8, 8%], expected %[B, channels, H, W%] = %[2, 1, 8, 8%]'] = function(_, t) return t end,
    } do
      dm.register.imagemux('wrong', { declare = function() end, mix = mix })
      h.refuses(function() mixed(make 'wrong', x) end, "mix of mux.kind 'wrong' " .. what)
    end
    table.remove(imagemux.names)
  end)
end)

-- -- the networks ----------------------------------------------------------------------------------------

local function network(kind, o)
  local all = { n = 2, height = 20, width = 20, classes = 10, mux = 'nonlinear', channels = 2, reduce = 'sum',
                loss = 'square' }
  for k, v in pairs(o or {}) do all[k] = v end
  return dm.nn.Module.build(dm.models[kind].new(all), 1)
end

local function int_array(ctype, v) return ffi.new(ctype .. '[?]', #v, v) end

local function batch(B, N, pixels, label)
  return { B = B, N = N, n = B * N, pixels = int_array('uint8_t', pixels), label = int_array('int32_t', label) }
end

local function task(m, q) return m:forward(q).task end

describe('the CNN with a nonlinear multiplexer', function()
  local m, q
  before_each(function()
    m = network 'Cnn'
    for k, e in ipairs(m.block.list) do
      local v = ffi.new(require('datamux.ffi').real .. '[?]', e.n)
      for i = 1, e.n do v[i - 1] = 0.15 * math.sin(0.61 * k * i) end
      e.tensor:put(v)
    end
    q = batch(3, 2, values 'in.pixels', values 'in.label')
  end)

  it('gives the logits and every gradient of PyTorch', function()
    dm.step(function()
      local p = m:prepare(q)
      local loss, logits = dm.tape.recording(function()
        local out = m:forward(p)
        return out.task, out.logits
      end)
      h.close(logits:totable(), values 'out.logits', 2e-6, 'logits')
      assert.are.same({ 6, 10 }, logits:shape())
      dm.tape.backward(loss)
      assert.are.equal(14, #m.block.list)
      for _, e in ipairs(m.block.list) do
        assert(e.tensor.grad, e.name .. ' got no gradient')
        local all, want, some = e.tensor.grad:totable(), values('grad.' .. e.name), {}
        for i = 1, #all, math.ceil(#all / 600) do some[#some + 1] = all[i] end
        h.close(some, want, 2e-6, e.name)
      end
    end)
  end)

  it('follows ten losses of gradient descent', function()
    local optimiser, losses = Optimiser.new(m, { kind = 'sgd' }), {}
    for step = 1, 10 do
      dm.scope.knobs { lr = 0.1, update = step, step = step }
      dm.step(function()
        local loss = dm.tape.recording(task, m, m:prepare(q))
        dm.tape.backward(loss)
        losses[step] = loss:item()
      end)
      optimiser:step()
    end
    h.close(losses, values 'out.training', 1e-5, 'loss')
  end)
end)

describe('an image network', function()
  local function random_batch(B, N)
    h.reseed(9)
    return batch(B, N, h.ints(0, 255, B * N * 400), h.ints(0, 9, B * N))
  end

  it('has one answer for each image, in the order of the batch, for every multiplexer', function()
    for _, kind in ipairs { 'Cnn', 'Mlp' } do
      for _, mux in ipairs(imagemux.names) do
        if mux ~= 'half' then
          local N = mux == 'none' and 1 or 2
          local m = network(kind, { mux = mux, n = N, channels = 4 })
          dm.step(function()
            local out = m:forward(m:prepare(random_batch(3, N)))
            assert.are.same({ 3 * N, 10 }, out.logits:shape())
            assert.is_true(out.task:item() > 0)
          end)
        end
      end
    end
  end)

  it('without a multiplexer is the plain network: 6 channels first, no demultiplexer', function()
    local cnn, mlp = network('Cnn', { mux = 'none', n = 1 }), network('Mlp', { mux = 'none', n = 1 })
    assert.are.equal(6 * 9 + 6 + 16 * 6 * 16 + 16 + 120 * 144 + 120 + 84 * 120 + 84 + 850, cnn:count())
    assert.are.equal(100 * 400 + 100 + 84 * 100 + 84 + 850, mlp:count())
    assert.is_nil(cnn.demux)
  end)

  it('sums its loss over the indices', function()
    local m = network('Mlp', { mux = 'gaussian', n = 2 })
    dm.step(function()
      local b = random_batch(4, 2)
      local out = m:forward(m:prepare(b))
      local v, sum = out.logits:totable(), 0
      for r = 0, 7 do
        for k = 0, 9 do sum = sum + 0.5 * ((b.label[r] == k and 1 or -1) - v[r * 10 + k + 1]) ^ 2 / (4 * 10) end
      end
      assert.is_near(sum, out.task:item(), 1e-5)
    end)
    m = network('Mlp', { mux = 'gaussian', n = 2, loss = 'xent' })
    dm.step(function()
      local b = random_batch(4, 2)
      local out = m:forward(m:prepare(b))
      local v, sum = out.logits:totable(), 0
      for r = 0, 7 do
        local z = 0
        for k = 1, 10 do z = z + math.exp(v[r * 10 + k]) end
        sum = sum + (math.log(z) - v[r * 10 + b.label[r] + 1]) / 4
      end
      assert.is_near(sum, out.task:item(), 1e-5)
    end)
  end)

  it('starts within +-1/sqrt(fan-in), biases too', function()
    local m = network 'Cnn'
    for name, n in pairs { c1 = 18, c3 = 160, c5 = 144, f6 = 120 } do
      for _, part in ipairs { 'weight', 'bias' } do
        local most, sum = 0, m.features[name][part]:totable()
        for _, v in ipairs(sum) do most = math.max(most, math.abs(v)) end
        assert.is_true(most <= 1 / math.sqrt(n) and most > 0.5 / math.sqrt(n), name .. '.' .. part)
      end
    end
  end)

  it('learns one batch by heart at N = 2, with either loss and either optimiser', function()
    for _, o in ipairs { { 'Cnn', 'square', 'adamw', 3e-3 }, { 'Mlp', 'xent', 'adamw', 3e-3 },
                         { 'Mlp', 'square', 'sgd', 0.5 } } do
      local m = network(o[1], { mux = o[1] == 'Cnn' and 'nonlinear' or 'hadamard', loss = o[2] })
      local optimiser, b, logits = Optimiser.new(m, { kind = o[3] }), random_batch(4, 2), nil
      for step = 1, 300 do
        dm.scope.knobs { lr = o[4], update = step, step = step }
        dm.step(function()
          local loss, out = dm.tape.recording(function()
            local r = m:forward(m:prepare(b))
            return r.task, r.logits
          end)
          logits = out:totable()
          dm.tape.backward(loss)
        end)
        optimiser:step()
      end
      for r = 0, 7 do
        for k = 0, 9 do
          assert.is_true(k == b.label[r] or logits[r * 10 + k + 1] < logits[r * 10 + b.label[r] + 1],
            ('%s, %s, %s: row %d'):format(o[1], o[2], o[3], r))
        end
      end
    end
  end)
end)
