-- tmux_spec.lua -- the multiplexed Transformer against PyTorch (golden/make_tmux.py): forward, gradients, ten losses.
local ffi = require 'ffi'
local h = require 'tests.helper'
local dm = require 'datamux'
local safetensors = require 'datamux.safetensors'
local Optimiser = require 'datamux.optim'

local N, B, S, V = 2, 3, 6, 23
local ALPHA = 0.25

local function model(kind)
  return dm.nn.Module.build(dm.models.TMux.new {
    vocab = { size = V, pad = 0 }, layers = 2, width = 16, heads = 2, inner = 32, dropout = 0, positions = 16,
    eps = 1e-5, init = 0.02, classes = 2, n = N, norm = 4, reduce = 'sqrt', skip = true, demux = kind, key = 'mux',
    rank = 0, read = 'pool', retrieval = 'shared', tied = true, mask = 'or' }, 1)
end

local function load(m, golden)
  for _, list in ipairs { m.block.list, m.block.buffers } do
    for _, e in ipairs(list) do
      assert(golden.tensors[e.name], e.name .. ' is not in the golden file')
      assert(safetensors.copy(golden.tensors[e.name], e.tensor))
    end
  end
end

local function int32(golden, name)
  local v = h.values(golden.tensors[name])
  return ffi.new('int32_t[?]', #v, v), v
end

-- The golden batch, prepared; which instance is asked for at each position comes from the file.
local function prepare(m, golden)
  local ids, length = int32(golden, 'in.ids'), int32(golden, 'in.length')
  local label, _ = int32(golden, 'in.label')
  local batch = { B = B, N = N, S = S, n = B * N, ids_host = ids, length = length, label = label }
  local q = m:prepare(batch, { seed = 1, step = 1, task = true })
  local _, asked = int32(golden, 'in.who')
  local who, where, target = {}, {}, {}
  for b = 0, B - 1 do
    for s = 0, S - 1 do
      local i = asked[b * S + s + 1]
      if i >= 0 then
        who[#who + 1], where[#where + 1] = m:who(b, i, N), b * q.T + m.prefix + s
        target[#target + 1] = ids[(b * N + i) * S + s]
      end
    end
  end
  local function list(v) return dm.tensor(v, nil, 'i32') end
  q.retrieval = { n = #who, who = list(who), where = list(where), target = list(target) }
  return q
end

local function loss_of(m, q)
  local out = m:forward(q)
  return dm.add(dm.scale(out.task, 1 - ALPHA), dm.scale(out.retrieval, ALPHA)), out
end

for _, kind in ipairs { 'unbind', 'index' } do
  describe('T-MUX with the ' .. kind .. ' demultiplexer', function()
    local golden = safetensors.open('tests/golden/tmux_' .. kind .. '.safetensors')
    local function values(name) return h.values(golden.tensors[name]) end

    it('gives the states, logits and losses of PyTorch', function()
      local m = model(kind)
      load(m, golden)
      m:train(false)
      dm.step(function()
        local q = prepare(m, golden)
        h.close(m:states(q):totable(), values 'out.states', 2e-6, 'states')
        local loss, out = loss_of(m, q)
        h.close(out.logits:totable(), values 'out.logits', 2e-6, 'logits')
        h.close({ out.task:item(), out.retrieval:item(), loss:item() }, values 'out.losses', 2e-6, 'losses')
      end)
    end)

    it('gives every gradient of PyTorch', function()
      local m = model(kind)
      load(m, golden)
      m:train(true)
      dm.step(function()
        local loss = dm.tape.recording(loss_of, m, prepare(m, golden))
        dm.tape.backward(loss)
        for _, e in ipairs(m.block.list) do
          assert(e.tensor.grad, e.name .. ' got no gradient')
          h.close(e.tensor.grad:totable(), values('grad.' .. e.name), 2e-6, e.name)
        end
      end)
    end)

    it('follows ten losses of training', function()
      local m = model(kind)
      load(m, golden)
      m:train(true)
      local optimiser, losses = Optimiser.new(m, { decay = 0.01, clip = 1 }), {}
      for step = 1, 10 do
        dm.scope.knobs { lr = 1e-2, update = step, step = step }
        dm.step(function()
          local loss = dm.tape.recording(loss_of, m, prepare(m, golden))
          dm.tape.backward(loss)
          losses[step] = loss:item()
        end)
        optimiser:step()
      end
      h.close(losses, values 'out.training', 1e-4, 'loss')
    end)
  end)
end

describe('T-MUX', function()
  it('prepends the published prefix: own index on the diagonal, filler elsewhere, then the added CLS', function()
    local m = model 'index'
    local batch = { B = 1, N = 2, S = 2, ids_host = ffi.new('int32_t[4]', { 5, 6, 7, 0 }) }
    local ids, T = m:with_prefix(batch)
    assert.are.equal(5, T)
    local filler, cls, got = V + 2, V + 3, {}
    for i = 0, 9 do got[i + 1] = ids[i] end
    assert.are.same({ V, filler, cls, 5, 6, filler, V + 1, cls, 7, 0 }, got)
  end)

  it('asks for each instance with equal frequency, and never for a pad', function()
    local m = model 'unbind'
    local n, count = 2000, { 0, 0 }
    local ids, length = ffi.new('int32_t[?]', 2 * n), ffi.new('int32_t[2]', { n, n / 2 })
    for i = 0, 2 * n - 1 do ids[i] = i < n + n / 2 and 1 + i % 20 or 0 end
    local q = { B = 1, N = 2, S = n, T = n, batch = { length = length } }
    dm.step(function()
      m:want_retrieval(q, ids, { seed = 3, step = 1, retrieval = 1 })
      local who, target = q.retrieval.who:totable(), q.retrieval.target:totable()
      assert.are.equal(n, #who)
      for k = 1, n do
        assert.is_true(target[k] ~= 0)
        if k <= n / 2 then count[who[k] + 1] = count[who[k] + 1] + 1 end
        if k > n / 2 then assert.are.equal(0, who[k]) end
      end
    end)
    assert.is_near(n / 4, count[1], 70)
  end)

  it('mixes only as many instances as are alive', function()
    local m = model 'unbind'
    local batch = { B = 2, N = 2, S = 1, ids_host = ffi.new('int32_t[4]', { 1, 2, 3, 4 }),
                    length = ffi.new('int32_t[4]', { 1, 1, 1, 1 }), label = ffi.new 'int32_t[4]' }
    dm.step(function()
      local q = m:prepare(batch, { seed = 3, step = 1, alive = 1 })
      local w = q.weight:totable()
      for b = 0, 1 do
        assert.is_near(math.sqrt(2), w[2 * b + 1] + w[2 * b + 2], 1e-6)
        assert.are.equal(0, w[2 * b + 1] * w[2 * b + 2])
      end
    end)
  end)

  it('prepares what a backward pass needs while it trains alone, to the same answers', function()
    for _, kind in ipairs { 'unbind', 'index' } do
      local m = model(kind)
      local batch = { B = 2, N = 2, S = 1, ids_host = ffi.new('int32_t[4]', { 1, 2, 3, 4 }),
                      length = ffi.new('int32_t[4]', { 1, 1, 1, 1 }), label = ffi.new 'int32_t[4]' }
      local answers = {}
      for _, trains in ipairs { true, false } do
        dm.step(function()
          m:train(trains)
          local q = m:prepare(batch, { seed = 3, step = 1, task = true })
          m:train(false)
          answers[#answers + 1] = m:forward(q).logits:totable()
          assert.are.equal(trains, q.order ~= nil)
          assert.are.equal(trains and dm.scope.records(), q.task.who.order ~= nil)
        end)
      end
      assert.are.same(answers[1], answers[2])
    end
  end)

  it('refuses an id outside the vocabulary, whether it trains or answers', function()
    local m = model 'unbind'
    for _, id in ipairs { m.rows, -2 } do
      for _, trains in ipairs { true, false } do
        m:train(trains)
        local batch = { B = 1, N = 2, S = 1, ids_host = ffi.new('int32_t[2]', { 1, id }),
                        length = ffi.new('int32_t[2]', { 1, 1 }), label = ffi.new 'int32_t[2]' }
        local ok, e = pcall(dm.step, function()
          m:forward(m:prepare(batch, { seed = 3, step = 1, task = true }))
        end)
        assert.is_false(ok)
        assert.is_truthy(tostring(e):find(('ids[1] is %d, expected'):format(id), 1, true), tostring(e))
      end
    end
  end)

  it('has the parameters of the published sizes', function()
    local total = 0
    local m = dm.models.TMux.new {
      vocab = { size = 50265, pad = 1 }, layers = 12, width = 768, heads = 12, inner = 3072, dropout = 0.1,
      positions = 514, eps = 1e-5, init = 0.02, classes = 2, twice = true, n = 20, norm = 20, reduce = 'mean',
      demux = 'index', key = 'mux', rank = 0, read = 'cls', retrieval = 'separate', tied = false, mask = 'none' }
    local encoder = 0
    for _, e in ipairs(m:tensors()) do
      if not e.tensor.spec.make then
        local n = 1
        for _, s in ipairs(e.tensor.spec.shape) do n = n * s end
        total = total + n
        if e.name:find '^encoder' then encoder = encoder + n end
      end
    end
    assert.are.equal(85054464, encoder)                       -- 85.05 M
    assert.is_near(165.7e6, total, 0.1e6)
  end)

  it('names the module in its errors', function()
    local m = model 'unbind'
    local ok, message = pcall(dm.step, function() m:run('encoder', m.encoder, dm.zeros(1, 2, 8)) end)
    assert.is_false(ok)
    assert.is_truthy(tostring(message):find('encoder.layer.0.attention.qkv: linear: x is [1, 2, 8]', 1, true))
  end)
end)
