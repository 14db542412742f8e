-- session_spec.lua -- short real training: overfitting, the same bits for any threads, resume, a steady memory.
local ffi = require 'ffi'
local dm = require 'datamux'
local core = require 'datamux.ffi'
local recipe = require 'datamux.recipe'
local train = require 'datamux.train'
local log = require 'datamux.log'

local C = core.C

local base = {
  name = 'spec', task = 'synthetic', model = { layers = 1, width = 32, heads = 2, dropout = 0.1,
  vocab = { kind = 'words', size = 500 } }, mux = { n = 4 }, data = { length = 16 },
  warmup = { steps = 8, rows = 4, lr = 1e-3, every = 100 }, train = { steps = 8, rows = 4, lr = 1e-3, every = 100 },
  eval = { groupings = 1 },
}

local function session(overrides)
  local config = recipe.resolve(base, { overrides = overrides })
  return train.new(config, { log = log.new { mode = 'none' } })
end

local function weights(s) return s.model.block.p:totable() end

describe('checkpoints', function()
  it('take at most 2 % of the time, and come at least every ten minutes, where no interval is said', function()
    assert.are.equal(1, train.interval(nil, nil))
    assert.are.equal(1, train.interval(nil, 0.004))
    assert.are.equal(100, train.interval(nil, 2))
    assert.are.equal(600, train.interval(nil, 60))
    assert.are.equal(7, train.interval(7, 60))
  end)

  it('are written while a stage runs, without being asked for', function()
    local dir = os.tmpname()
    os.remove(dir)
    local config = recipe.resolve(base, { overrides = { 'warmup.steps=1000000' } })
    local s = train.new(config, { log = log.new { mode = 'none' }, run = dir })
    local save, reasons = s.save, {}
    function s.save(self, reason)
      save(self, reason)
      reasons[#reasons + 1], self.stop_asked = reason, true       -- after the step, which saves once more
    end
    assert.are.equal('stopped', s:run_stage(s.stages[1]))
    require('datamux.sys').remove(dir)
    assert.are.same({ 'time', 'stop' }, reasons)
  end)
end)

describe('training', function()
  it('drives the loss of one batch to zero', function()
    local s = session { 'model.dropout=0', 'warmup.steps=0', 'train.steps=150', 'train.lr=2e-3', 'train.alpha=0',
                        'train.schedule=constant', 'train.rows=2' }
    local stage, last = s.stages[1], nil
    local one = stage.loader:batch(0, 0)
    stage.loader = { steps_per_epoch = function() return 1 end, batch = function() return one end }
    for step = 1, 150 do last = s:step(stage, step).loss end
    assert.is_true(last < 0.01, 'loss is ' .. last)
  end)

  it('starts at the entropy of the labels and of the vocabulary', function()
    local s = session {}
    assert.is_near(math.log(s.data.tok.vocab_size), s:step(s.stages[1], 1).retrieval, 0.2)
    assert.is_near(math.log(2), s:step(s.stages[2], 1).task, 0.1)
  end)

  it('scores retrieval where it was trained', function()
    for _, o in ipairs { {}, { 'warmup.steps=0' }, { 'train.alpha=0' } } do
      local r = session(o):results()
      assert.is_true(r.retrieval >= 0 and r.retrieval <= 1 and r.retrieval_asked > 0)
    end
    assert.is_nil(session({ 'warmup.steps=0', 'train.alpha=0' }):results().retrieval)
    assert.is_nil(session({ 'model.kind=plain', 'mux.n=1', 'warmup.steps=0' }):results().retrieval)
  end)

  it('gives the same bits twice, and agrees for one and two threads', function()
    local before = C.dm_threads()
    local function run(threads)
      C.dm_threads_set(threads)
      local s, losses = session {}, {}
      for step = 1, 8 do losses[step] = s:step(s.stages[1], step).loss end
      return losses, s.model.block.p:host(), s.model.block.p:bytes()
    end
    local two, bits, bytes = run(2)
    local again, same = run(2)
    local one = run(1)
    C.dm_threads_set(before)
    assert.are.same(two, again)
    assert.is_true(ffi.string(bits, bytes) == ffi.string(same, bytes), 'the weights of two runs differ')
    for step = 1, 8 do assert.is_near(one[step], two[step], 1e-4) end
  end)

  it('allocates nothing in a second epoch', function()
    local s = session { 'train.steps=0', 'warmup.steps=40', 'data.fixed=true', 'data.bucket=false' }
    for step = 1, 20 do s:step(s.stages[1], step) end
    local before = dm.memory()
    for step = 21, 40 do s:step(s.stages[1], step) end
    assert.are.equal(before.allocs, dm.memory().allocs)
    assert.are.equal(before.peak, dm.memory().peak)
  end)

  it('knows the norm of its gradients where it clips, and its epoch in the task', function()
    local s, square = session { 'train.accumulate=2' }, 0
    local stage = s.stages[2]
    s.optimiser.o.clip = 1
    local one = session { 'train.accumulate=2' }
    one.optimiser.o.clip, one.optimiser.step = 1, function() end          -- leaves the gradients where they are
    one:step(one.stages[2], 1)
    for _, g in ipairs(one.model.block.g:totable()) do square = square + g * g end
    local r = s:step(stage, 1)
    assert.is_near(math.sqrt(square), r.grad_norm, 1e-4 * r.grad_norm)
    assert.is_near(2 / stage.loader:steps_per_epoch(), r.epoch, 1e-12)
    s.optimiser.o.clip = 0
    r = s:step(s.stages[1], 1)
    assert.are.same({}, { r.grad_norm, r.epoch })
  end)

  it('stops before an update by gradients that are no numbers', function()
    local s = session {}
    local before = weights(s)
    function s.optimiser.gradient_norm() return 0 / 0 end
    local ok, e = pcall(s.step, s, s.stages[1], 1)
    assert.are.same({ false, 'E601' }, { ok, e.id })
    assert.is_truthy(tostring(e):find('norm of the gradients became', 1, true), tostring(e))
    assert.are.same(before, weights(s))
  end)

  it('accumulates gradients of several batches into one update', function()
    local s = session { 'train.accumulate=3', 'warmup.steps=0' }
    local r = s:step(s.stages[1], 1)
    assert.are.equal(48, r.examples)
    assert.are.equal(3, s.at.global)
  end)

  it('trains every demultiplexer, read-out and option', function()
    for _, o in ipairs {
      { 'demux.kind=index', 'demux.read=cls' }, { 'demux.kind=index', 'demux.read=pool', 'demux.rank=8' },
      { 'demux.kind=rsa', 'demux.read=mean' }, { 'demux.key=own', 'demux.read=cls' },
      { 'demux.rank=8' }, { 'demux.retrieval=separate', 'demux.tied=false' }, { 'mux.learn=true' },
      { 'model.embed_twice=true', 'mux.pads=mix', 'demux.mask=none', 'data.fixed=true', 'mux.norm=20',
        'mux.reduce=mean' },
      { 'mux.kind=binary', 'mux.overlap=0.5', 'demux.read=first' }, { 'mux.kind=sign', 'mux.learn=true' },
      { 'mux.kind=ortho', 'demux.key=own', 'warmup.grow=0.7' }, { 'mux.kind=identity', 'demux.kind=rsa' },
      { 'mux.kind=lowrank', 'demux.kind=mlp', 'demux.read=first', 'demux.retrieval=separate' },
      { 'demux.kind=mlp', 'model.embed_twice=true', 'mux.pads=mix', 'warmup.grow=0.7' },
      { 'warmup.grow=0.7', 'warmup.targets=2', 'train.grow=0.5' }, { 'model.kind=plain', 'mux.n=1' },
    } do
      local s = session(o)
      local results = s:run()
      assert.are.equal(800, results.scored)
      assert.are.equal(800, results.total)
    end
  end)

  it('survives a refusal of each allocation of a step, with nothing half-done', function()
    local clean, hurt = session { 'model.dropout=0' }, session { 'model.dropout=0' }
    local stage, before, n = hurt.stages[2], weights(hurt), 0
    repeat
      n = n + 1
      hurt.at.global = 0
      C.dm_arena_fail_every(n)
      local ok, why = pcall(hurt.step, hurt, stage, 1)
      C.dm_arena_fail_every(0)
      if not ok then
        assert.is_truthy(tostring(why):find 'refused', tostring(why))
        if n % 25 == 1 then assert.are.same(before, weights(hurt)) end
      end
    until ok
    assert.is_true(n > 50, n .. ' allocations')
    clean:step(clean.stages[2], 1)
    assert.are.same(weights(clean), weights(hurt))
  end)

  it('stops with a sentence when the loss is no number', function()
    local s = session { 'warmup.lr=1e30', 'warmup.clip=0', 'warmup.warmup=0' }
    local ok, e = pcall(s.run, s)
    assert.is_false(ok)
    assert.are.equal(6, e.code)
    assert.is_truthy(e.message:find 'loss became')
  end)
end)
