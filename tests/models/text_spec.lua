-- text_spec.lua -- the text models as wholes: ids and positions, who is asked for, read-outs, outputs, sizes.
local ffi = require 'ffi'
local h = require 'tests.helper'
local dm = require 'datamux'
local Optimiser = require 'datamux.optim'
local fit = require 'datamux.models.fit'
local mux = require 'datamux.nn.mux'

local V, PAD, IGNORE = 23, 0, require('datamux.models.outputs').IGNORE

local function options(o)
  local all = { vocab = { size = V, pad = PAD }, layers = 1, width = 12, heads = 2, inner = 24, dropout = 0,
                positions = 24, eps = 1e-5, init = 0.1, classes = 3, n = 3, mux = 'hadamard', norm = math.sqrt(12),
                overlap = 0, reduce = 'auto', skip = true, demux = 'unbind', key = 'mux', rank = 0, read = 'pool',
                retrieval = 'shared', tied = true, mask = 'or' }
  for k, v in pairs(o or {}) do all[k] = v end
  return all
end

local function tmux(o) return dm.models.TMux.new(options(o)) end

local i32 = ffi.typeof 'int32_t[?]'

-- A batch of B rows of N texts: token t of text r is 3 + (7 r + t) % 20; lengths go round.
local function batch(B, N, S)
  local b = { B = B, N = N, S = S, n = B * N, ids_host = i32(B * N * S), length = i32(B * N), label = i32(B * N),
              score = ffi.new('double[?]', B * N), tags = i32(B * N * S), index = i32(B * N) }
  for r = 0, B * N - 1 do
    b.length[r], b.label[r], b.score[r], b.index[r] = S - r % 3, r % 3, r / 4 - 1, r
    for s = 0, S - 1 do
      local real = s < b.length[r]
      b.ids_host[r * S + s] = real and 3 + (7 * r + s) % 20 or PAD
      b.tags[r * S + s] = real and s > 0 and (r + s) % 3 or -100
    end
  end
  return b
end

local function host(values, n)
  local out = {}
  for i = 1, n do out[i] = values[i - 1] end
  return out
end

local function prepared(m, b, o)
  o = o or {}
  return m:prepare(b, { seed = 3, step = 1, task = o.task ~= false, retrieval = o.retrieval, alive = o.alive })
end

describe('ids', function()
  it('have the published prefix for N = 3', function()
    local m = tmux { demux = 'index', read = 'cls' }
    local b = { B = 1, N = 3, S = 1, ids_host = i32(3, { 11, 12, 13 }) }
    local ids, T = m:with_prefix(b)
    assert.are.equal(5, T)
    local f, cls = V + 3, V + 4
    assert.are.same({ V, f, f, cls, 11, f, V + 1, f, cls, 12, f, f, V + 2, cls, 13 }, host(ids, 15))
  end)

  it('start with the added CLS alone where only the read-out wants it', function()
    local m = tmux { demux = 'rsa', read = 'cls' }
    local ids = m:with_prefix { B = 1, N = 3, S = 1, ids_host = i32(3, { 11, 12, 13 }) }
    assert.are.same({ V + 4, 11, V + 4, 12, V + 4, 13 }, host(ids, 6))
  end)

  it('of mlp have the CLS in place of the first token, or in front', function()
    local b = { B = 1, N = 3, S = 2, ids_host = i32(6, { 1, 11, 1, 12, 1, 13 }) }
    local ids, T = tmux { demux = 'mlp', read = 'first' }:with_prefix(b)
    assert.are.equal(2, T)
    assert.are.same({ V + 4, 11, V + 4, 12, V + 4, 13 }, host(ids, 6))
    assert.are.same({ 1, 11, 1, 12, 1, 13 }, host(b.ids_host, 6))
    ids, T = tmux { demux = 'mlp', read = 'cls' }:with_prefix(b)
    assert.are.equal(3, T)
    assert.are.same({ V + 4, 1, 11 }, host(ids, 3))
  end)

  it('are taken as they are without a prefix', function()
    local b = batch(1, 3, 2)
    assert.are.equal(b.ids_host, (tmux():with_prefix(b)))
  end)
end)

describe('position ids of the published form', function()
  it('count from 2 over prefix and text, and are 1 for pads', function()
    local m = dm.nn.Module.build(tmux { demux = 'index', read = 'cls', twice = true, skip = false, mask = 'none' }, 1)
    dm.step(function()
      local b = { B = 1, N = 3, S = 3, ids_host = i32(9, { 5, 6, PAD, 7, PAD, PAD, 8, 9, 10 }),
                  length = i32(3, { 2, 1, 3 }) }
      local q = prepared(m, b)
      assert.are.same({ 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 1, 1, 2, 3, 4, 5, 6, 7, 8 }, q.posid:totable())
      assert.are.same({ 2, 3, 4, 5, 6, 7, 8 }, q.twice.posid:totable())
    end)
  end)
end)

describe('retrieval', function()
  it('asks for each index with frequency 1/N, never for prefix or pads', function()
    local N, S, B = 4, 500, 2
    local m = dm.nn.Module.build(tmux { n = N, demux = 'index', read = 'cls', positions = S + N + 1 }, 1)
    local b, count = batch(B, N, S), { 0, 0, 0, 0 }
    dm.step(function()
      local q = prepared(m, b, { retrieval = 1, task = false })
      local who, where, target = q.retrieval.who:totable(), q.retrieval.where:totable(), q.retrieval.target:totable()
      assert.are.equal(B * S, #who)
      for k = 1, #who do
        local row, s, i = math.floor(where[k] / q.T), where[k] % q.T - m.prefix, who[k] % N
        assert.are.equal(row, math.floor(who[k] / N))
        assert.is_true(s >= 0 and s < b.length[row * N + i])
        assert.are.equal(b.ids_host[(row * N + i) * S + s], target[k])
        assert.is_true(target[k] ~= PAD and target[k] < V)
        count[i + 1] = count[i + 1] + 1
      end
    end)
    for i = 1, N do assert.is_near(B * S / N, count[i], 4 * math.sqrt(B * S * (1 / N) * (1 - 1 / N))) end
  end)

  it('does not ask for an overwritten first token, except of a tagging model', function()
    for output, from in pairs { classify = 1, tag = 0 } do
      local m = dm.nn.Module.build(tmux { demux = 'mlp', output = output,
        read = output == 'tag' and 'token' or 'first' }, 1)
      dm.step(function()
        local least = math.huge
        local q = prepared(m, batch(2, 3, 5), { retrieval = 3, task = false })
        local target = q.retrieval.target:totable()
        for k, w in ipairs(q.retrieval.where:totable()) do
          if target[k] ~= IGNORE then least = math.min(least, w % 5) end
        end
        assert.are.equal(from, least)
      end)
    end
  end)
end)

describe('a growing mixture', function()
  it('weighs live instances by the reduction of their number', function()
    for reduce, weight in pairs { mean = 3, sqrt = math.sqrt(3), sum = 1 } do
      local m = dm.nn.Module.build(tmux { reduce = reduce }, 1)
      dm.step(function()
        local w, total = prepared(m, batch(2, 3, 4), { alive = 1 }).weight:totable(), 0
        for _, v in ipairs(w) do total = total + v end
        assert.is_near(2 * weight, total, 1e-5)
      end)
    end
  end)

  it('counts the answers of the live instances alone', function()
    local b = batch(2, 3, 4)
    local function counted(output, alive)
      local m = dm.nn.Module.build(tmux { output = output, read = output == 'tag' and 'token' or 'pool' }, 1)
      return dm.step(function()
        local q = prepared(m, b, { alive = alive, retrieval = 3 })
        local mixed, texts = q.weight and q.weight:totable(), {}
        if output == 'regress' then
          local rows = q.task.score.rows and q.task.score.rows:totable() or { 0, 1, 2, 3, 4, 5 }
          for _, r in ipairs(rows) do texts[r] = true end
        else
          for k, label in ipairs(q.task.label:totable()) do
            if label >= 0 then texts[output == 'tag' and math.floor(q.task.at[k - 1] / 4) or k - 1] = true end
          end
        end
        local n = 0
        for r = 0, 5 do
          if texts[r] then
            n = n + 1
            assert.is_true(not mixed or mixed[r + 1] > 0)
          end
        end
        return n
      end)
    end
    for _, output in ipairs { 'classify', 'regress', 'tag' } do
      assert.are.equal(6, counted(output, 3))
      assert.are.equal(2, counted(output, 1))
    end
  end)
end)

describe('a read-out', function()
  local function places(o)
    local m = dm.nn.Module.build(tmux(o), 1)
    return dm.step(function()
      local q = prepared(m, batch(2, 3, 4))
      return { who = q.task.who:totable(), where = q.task.where:totable(), span = q.task.span and q.task.span:totable(),
               T = q.T }
    end)
  end

  it('that looks at the first positions has only these computed in the last layer, and gives the same', function()
    for _, o in ipairs { { read = 'cls' }, { read = 'cls', demux = 'index' }, { read = 'first', demux = 'index' },
                         { read = 'first' } } do
      local m = dm.nn.Module.build(tmux(o), 1)
      m:train(false)
      dm.step(function()
        local whole = m:forward(prepared(m, batch(2, 3, 4), { retrieval = 1 })).logits
        local q = prepared(m, batch(2, 3, 4))
        assert.is_true(q.leading ~= nil and q.leading:numel() == 2 * q.T)
        h.close(m:forward(q).logits:totable(), whole:totable(), 1e-5)
      end)
    end
  end)

  it('looks at the added CLS, the first token, the mean of the row, or every token', function()
    local cls = places { read = 'cls' }
    assert.are.same({ { 0, 1, 2, 0, 1, 2 }, { 0, 0, 0, 1, 1, 1 } }, { cls.who, cls.where })
    local index = places { read = 'cls', demux = 'index' }
    assert.are.same({ { 0, 1, 2, 3, 4, 5 }, { 3, 3, 3, 7, 7, 7 } }, { index.who, index.where })
    local first = places { read = 'first', demux = 'index' }
    assert.are.same({ 4, 4, 4, 9, 9, 9 }, first.where)
    assert.are.same({ 0, 0, 0, 1, 1, 1 }, places { read = 'first' }.where)
    local mean = places { read = 'mean' }
    assert.are.same({ { 0, 0, 0, 1, 1, 1 }, { 0, 4, 4, 8 } }, { mean.where, mean.span })
    local pool = places { read = 'pool' }
    for k = #pool.who, 19, -1 do                         -- a device that records steps has a list of all that may be
      assert.is_true(not h.cpu and k <= 24 and pool.who[k] == 0 and pool.where[k] == 0)
      pool.who[k], pool.where[k] = nil, nil
    end
    assert.are.same({ 0, 0, 0, 0, 1, 1, 1, 2, 2, 0, 0, 0, 0, 1, 1, 1, 2, 2 }, pool.who)
    assert.are.same({ 0, 1, 2, 3, 0, 1, 2, 0, 1, 4, 5, 6, 7, 4, 5, 6, 4, 5 }, pool.where)
    assert.are.same({ 0, 4, 4, 7, 7, 9, 9, 13, 13, 16, 16, 18 }, pool.span)
    local token = places { read = 'token', output = 'tag' }
    for k = 1, 18 do assert.are.same({ pool.who[k], pool.where[k] }, { token.who[k], token.where[k] }) end
    assert.is_nil(token.span)
  end)
end)

local function models(o)
  local plain = options(o)
  plain.n, plain.read = 1, o.output == 'tag' and 'token' or 'pool'
  return { { tmux(o), 3 }, { dm.models.Plain.new(plain), 1 } }
end

-- Logits of a tagging model for 18 tokens in room for 24: a device that records steps has them all.
local TAGGED = h.cpu and 18 or 24

describe('outputs', function()
  it('of a tagging model are one row for each real token, with its place in the batch', function()
    for _, e in ipairs(models { output = 'tag', read = 'token' }) do
      local m, N = dm.nn.Module.build(e[1], 1), e[2]
      local b = batch(6 / N, N, 4)
      dm.step(function()
        local q = prepared(m, b)
        local out = m:forward(q)
        assert.are.same({ TAGGED, 3 }, out.logits:shape())
        local k, label = 0, q.task.label:totable()
        for r = 0, 5 do
          for s = 0, b.length[r] - 1 do
            assert.are.equal(r * 4 + s, q.task.at[k])
            assert.are.equal(b.tags[r * 4 + s], label[k + 1])
            k = k + 1
          end
        end
        -- the loss is the mean over labels that count
        local v, sum, n = out.logits:totable(), 0, 0
        for row = 0, 17 do
          if label[row + 1] >= 0 then
            local z = 0
            for c = 1, 3 do z = z + math.exp(v[3 * row + c]) end
            sum, n = sum + math.log(z) - v[3 * row + label[row + 1] + 1], n + 1
          end
        end
        assert.is_near(sum / n, out.task:item(), 1e-5)
      end)
    end
  end)

  it('of a regression are one score for each text; filler is not counted', function()
    for _, e in ipairs(models { output = 'regress', classes = 1 }) do
      local m, N = dm.nn.Module.build(e[1], 1), e[2]
      local b = batch(6 / N, N, 4)
      b.index[4], b.score[4] = -1, 1e6
      dm.step(function()
        local out = m:forward(prepared(m, b))
        assert.are.same({ 6, 1 }, out.logits:shape())
        local v, sum = out.logits:totable(), 0
        for r = 0, 5 do
          if r ~= 4 then sum = sum + (v[r + 1] - b.score[r]) ^ 2 / 5 end
        end
        assert.is_near(sum, out.task:item(), 1e-5)
      end)
    end
  end)

  it('need no targets: a text alone is answered', function()
    for _, output in ipairs { 'classify', 'regress', 'tag' } do
      for _, e in ipairs(models { output = output, read = output == 'tag' and 'token' or 'pool',
                                  classes = output == 'regress' and 1 or 3 }) do
        local m, N = dm.nn.Module.build(e[1], 1), e[2]
        local b = batch(6 / N, N, 4)
        b.label, b.score, b.tags, b.index = nil, nil, nil, nil
        dm.step(function()
          local out = m:forward(prepared(m, b))
          assert.are.equal(output == 'tag' and TAGGED or 6, out.logits:rows())
          assert.are.equal(output ~= 'regress', out.task ~= nil)
        end)
      end
    end
  end)
end)

describe('one batch', function()
  for _, output in ipairs { 'classify', 'regress', 'tag' } do
    it('is learned by heart: ' .. output, function()
      for _, e in ipairs(models { output = output, read = output == 'tag' and 'token' or 'pool', init = 0.05,
                                  width = 24, inner = 48, norm = math.sqrt(24), layers = 1,
                                  classes = output == 'regress' and 1 or 3 }) do
        local m, N = dm.nn.Module.build(e[1], 1), e[2]
        local b, optimiser, loss = batch(6 / N, N, 4), Optimiser.new(m, { decay = 0, clip = 1 }), nil
        m:train(true)
        for step = 1, 60 do
          dm.scope.knobs { seed = 1, step = step, lr = 2e-2, update = step }
          dm.step(function()
            local l = dm.tape.recording(function() return m:forward(prepared(m, b)).task end)
            dm.tape.backward(l)
            loss = l:item()
          end)
          optimiser:step()
        end
        assert.is_true(loss < 0.05, ('%s, N = %d: loss is %g'):format(output, N, loss))
      end
    end)
  end
end)

describe('every combination', function()
  local reads = { { 'cls' }, { 'first' }, { 'mean' }, { 'pool' }, { 'pool', 'regress' }, { 'token', 'tag' } }

  -- One forward and backward pass; every trained value must get a finite gradient, not all zero.
  local function passes(o)
    local what = ('%s + %s, %s, %s%s'):format(o.mux, o.demux, o.read, o.output, o.twice and ', twice' or '')
    local m = dm.nn.Module.build(tmux(o), 1)
    m:train(true)
    dm.step(function()
      local q = prepared(m, batch(2, 3, 4), { retrieval = 2, alive = o.alive })
      local loss = dm.tape.recording(function()
        local out = m:forward(q)
        return dm.add(out.task, out.retrieval)
      end)
      dm.tape.backward(loss)
      for _, e in ipairs(m.block.list) do
        assert(e.tensor.grad, what .. ': ' .. e.name .. ' got no gradient')
        local square = 0
        for _, v in ipairs(e.tensor.grad:totable()) do square = square + v * v end
        assert(square == square and square < math.huge, what .. ': ' .. e.name .. ' has gradient ' .. square)
        assert(square > 0, what .. ': ' .. e.name .. ' has gradient 0')
      end
    end)
  end

  for _, kind in ipairs { 'hadamard', 'sign', 'identity', 'binary', 'ortho', 'lowrank' } do
    it('of ' .. kind .. ' with demultiplexer, read-out and output trains', function()
      local matrices = mux.matrices(kind, { n = 3, width = 12, overlap = 0 })
      -- keys meet the rest of the model as [N, C] or [N, C, C] alone: one kind of each form goes through all
      local all = kind == 'hadamard' or kind == 'ortho'
      for _, demux in ipairs(all and { 'index', 'rsa', 'unbind', 'mlp' } or { 'unbind' }) do
        for _, r in ipairs(reads) do
          local o = { mux = kind, demux = demux, read = r[1], output = r[2] or 'classify',
                      classes = r[2] == 'regress' and 1 or 3, key = matrices and 'own' or 'mux' }
          passes(o)
        end
      end
      -- the switches: mixed pads, no mask, embedding twice, few live instances, trained keys, rank, own retrieval
      passes { mux = kind, demux = 'rsa', read = 'pool', output = 'classify', rank = 5, skip = false, mask = 'none',
               retrieval = 'separate', tied = false, learn = kind ~= 'identity', dropout = 0.1 }
      passes { mux = kind, demux = 'index', read = 'cls', output = 'classify', twice = true, skip = false,
               mask = 'none', dropout = 0.1 }
      passes { mux = kind, demux = 'mlp', read = 'first', output = 'classify', twice = true, alive = 2,
               retrieval = 'separate' }
      passes { mux = kind, demux = 'unbind', key = 'own', read = 'mean', output = 'classify', rank = 4, alive = 2,
               twice = true, learn = kind ~= 'identity' }
    end)
  end
end)

describe('what does not fit', function()
  local function config(o)
    local c = { model = { kind = 'tmux', width = 24, heads = 2, positions = 64, embed_twice = false },
                mux = { n = 4, kind = 'hadamard', norm = 'sqrt', overlap = 0, learn = false },
                demux = { kind = 'unbind', key = 'mux', rank = 0, read = 'pool' }, data = { length = 16 } }
    for path, v in pairs(o) do
      local group, key = path:match '(.*)%.(.*)'
      c[group][key] = v
    end
    local why, instead = fit.refuse(c)
    assert.are.equal(why == nil, instead == nil)                       -- every refusal says what would do
    return why, instead
  end

  it('is said, with what would', function()
    assert.is_nil(config {})
    assert.are.equal("demux.key is 'mux' with mux.kind 'ortho', whose keys are matrices, expected 'own', or one of "
      .. 'hadamard, binary, sign, identity', (config { ['mux.kind'] = 'ortho' }))
    assert.is_nil((config { ['mux.kind'] = 'ortho', ['demux.key'] = 'own' }))
    assert.are.same({ 'demux.key=own', 'model.heads=4', 'data.length=59, or model.positions=65' }, {
      (select(2, config { ['mux.kind'] = 'ortho' })), (select(2, config { ['model.heads'] = 5 })),
      (select(2, config { ['demux.kind'] = 'index', ['data.length'] = 60 })) })
    assert.is_nil(config { ['mux.kind'] = 'lowrank', ['demux.kind'] = 'rsa' })
    assert.is_truthy(config { ['mux.kind'] = 'binary', ['mux.n'] = 40 }:find 'mux.n is 40, expected at most 24')
    assert.is_truthy(config { ['demux.kind'] = 'mlp', ['demux.rank'] = 4 }:find 'demux.rank is 4')
    assert.is_truthy(config { ['model.heads'] = 5 }:find 'model.heads is 5, expected a divisor of model.width = 24')
    assert.are.equal('data.length is 60: with the prefix 65 positions, expected at most model.positions = 64',
      (config { ['demux.kind'] = 'index', ['data.length'] = 60 }))
    assert.is_nil(config { ['demux.kind'] = 'mlp', ['demux.read'] = 'first', ['data.length'] = 64 })
    assert.are.same({ 'data.length is 1: with the prefix 72 positions, expected at most model.positions = 64',
      'mux.n=62, or model.positions=72' }, { config { ['demux.kind'] = 'index', ['mux.n'] = 70, ['data.length'] = 1 } })
    assert.are.same({ 'data.length is 16, expected at most model.positions = 10',
      'data.length=10, or model.positions=16' }, { config { ['model.positions'] = 10 } })
    assert.are.same({ 'data.length is 16: embedded twice 18 positions, expected at most model.positions = 5',
      'model.positions=18' }, { config { ['model.positions'] = 5, ['model.embed_twice'] = true } })
    assert.are.equal("mux.n is 4 with model.kind 'plain', expected 1", (config { ['model.kind'] = 'plain' }))
    assert.are.equal("demux.read is 'cls' with labels for each token, expected 'token'", (fit.read('cls', 'tag')))
    assert.are.equal("demux.read is 'token' with one answer for each text, expected cls, first, pool or mean",
      (fit.read('token', 'regress')))
    assert.is_nil(fit.read('pool', 'tag'))
  end)
end)

describe('the published sizes', function()
  -- Trained values of a model that is not built, in millions, by the start of their path.
  local function sizes(o)
    local m = dm.models.TMux.new {
      vocab = { size = 50265, pad = 1 }, layers = o.layers, width = o.width, heads = o.heads, inner = 4 * o.width,
      dropout = 0.1, positions = 514, eps = 1e-5, init = 0.02, classes = 2, twice = true, n = o.n or 20, norm = 20,
      reduce = 'mean', demux = o.demux or 'index', rank = 0, read = 'cls', retrieval = 'separate', tied = false,
      mask = 'none' }
    local total = { encoder = 0, embeddings = 0, retrieval = 0, task = 0 }
    for _, e in ipairs(m:tensors()) do
      if not e.tensor.spec.make then
        local part = e.name:match '^decoder' and 'retrieval' or e.name:match '^retrieval_head' and 'retrieval'
          or (e.name:match '^demultiplexer' or e.name:match '^classifier') and 'task' or e.name:match '^[^.]+'
        local n = 1
        for _, s in ipairs(e.tensor.spec.shape) do n = n * s end
        total[part] = total[part] + n / 1e6
      end
    end
    return total
  end

  it('are those published', function()
    local base = sizes { layers = 12, width = 768, heads = 12 }
    assert.is_near(85.05, base.encoder, 0.01)
    assert.is_near(39.0, base.embeddings, 0.05)
    assert.is_near(39.8, base.retrieval, 0.05)
    assert.is_near(1.77, base.task, 0.01)
    local narrow = sizes { layers = 12, width = 384, heads = 12 }
    assert.is_near(21.3, narrow.encoder, 0.05)
    assert.is_near(19.5, narrow.embeddings, 0.05)
    local shallow = sizes { layers = 4, width = 768, heads = 12 }
    assert.is_near(28.4, shallow.encoder, 0.05)
    assert.is_near(39.0, shallow.embeddings, 0.05)
    local fewer = sizes { layers = 12, width = 768, heads = 2 }
    assert.are.equal(base.encoder, fewer.encoder)
    local mlp = sizes { layers = 12, width = 768, heads = 12, demux = 'mlp', n = 10 }
    local twenty = sizes { layers = 12, width = 768, heads = 12, demux = 'mlp', n = 20 }
    assert.is_near(10 * (768 * 768 + 3 * 768) / 1e6, twenty.task - mlp.task, 1e-6)   -- grows with N
  end)

  -- On the hub datamux-mnli-40 has 663 MB, muxbert_large_gaussian_hadamard_index_pos_10 1.36 GB, with the third layer
  -- and norm of its demultiplexer, which nothing reads.
  it('make files of the published sizes', function()
    local function megabytes(o)
      local n = 0
      for _, e in ipairs(require('datamux.models.published').new(o):tensors()) do
        local count = 4 / 1e6
        for _, s in ipairs(e.tensor.spec.shape) do count = count * s end
        n = n + count
      end
      return n
    end
    local roberta = { arch = 'roberta', vocab = 50265, positions = 514, types = 1, width = 768, layers = 12, heads = 12,
      inner = 3072, pad = 1, eps = 1e-5, n = 40, demux = 'index', family = 'datamux', output = 'classify', classes = 3,
      retrieval = true, depth = 3, ids = { filler = 50000, cls = 49923, index = 50263 } }
    local bert = { arch = 'bert', vocab = 30522, positions = 512, types = 2, width = 1024, layers = 24, heads = 16,
      inner = 4096, pad = 0, eps = 1e-12, n = 10, demux = 'index_pos', family = 'muxplm', output = 'classify',
      classes = 2, retrieval = true, depth = 3, ids = { filler = 680, cls = 101, index = 678 } }
    assert.is_near(662.8, megabytes(roberta), 0.3)
    assert.is_near(1361.7, megabytes(bert) + 4e-6 * (1024 * 1024 + 3 * 1024), 0.2)
  end)

  it('of every depth, width and number of heads are built and step', function()
    for _, e in ipairs { { 2, 48, 12 }, { 4, 48, 12 }, { 6, 48, 12 }, { 8, 48, 12 }, { 1, 24, 12 }, { 1, 36, 12 },
                         { 1, 72, 12 }, { 1, 156, 12 }, { 1, 384, 12 }, { 1, 768, 2 }, { 1, 768, 12 } } do
      local m = dm.nn.Module.build(tmux { layers = e[1], width = e[2], heads = e[3], inner = 4 * e[2], init = 0.02 }, 1)
      local function step()
        local q = prepared(m, batch(1, 3, 4), { retrieval = 1 })
        local loss = dm.tape.recording(function()
          local out = m:forward(q)
          return dm.add(out.task, out.retrieval)
        end)
        dm.tape.backward(loss)
        assert.is_near(math.log(3) + math.log(V), loss:item(), 0.5)
      end
      if h.cpu or e[2] / e[3] <= 128 then dm.step(step)
      else h.refuses(function() dm.step(step) end, 'a head has 384 columns, expected at most 128') end
    end
  end)
end)
