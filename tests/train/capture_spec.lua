-- capture_spec.lua -- training from recorded steps: the bits of the same steps run as they are written.
local ffi = require 'ffi'
local dm = require 'datamux'
local recipe = require 'datamux.recipe'
local evaluate = require 'datamux.evaluate'
local loader = require 'datamux.data.loader'
local train = require 'datamux.train'
local log = require 'datamux.log'

local gpu = dm.scope.records()

local base = {
  name = 'spec', task = 'synthetic', model = { layers = 1, width = 16, heads = 2, dropout = 0.1,
  vocab = { kind = 'words', size = 120 } }, mux = { n = 2 }, data = { length = 6, fixed = true },
  warmup = { steps = 10, rows = 2, lr = 1e-3, every = 100 }, train = { steps = 10, rows = 2, lr = 1e-3, every = 100 },
  eval = { groupings = 1 },
}

-- The weights' bits after ten steps of a stage, and the session.
local function after_ten(stage, overrides)
  local config = recipe.resolve(base, { overrides = overrides })
  local s = train.new(config, { log = log.new { mode = 'none' } })
  local loss
  for step = 1, 10 do loss = s:step(s.stages[stage], step).loss end
  return ffi.string(s.model.block.p:host(), s.model.block.p:bytes()), s, loss
end

local function with(list, one)
  local out = { one }
  for _, v in ipairs(list) do out[#out + 1] = v end
  return out
end

local function same(stage, overrides)
  local eager, _, loss = after_ten(stage, with(overrides, 'capture=false'))
  local recorded, s, other = after_ten(stage, with(overrides, 'capture=true'))
  local what = table.concat(overrides, ' ')
  assert.is_true(s.recorder.replayed >= 4, ('%s: %d replays'):format(what, s.recorder.replayed))
  assert.are.equal(loss, other, what)
  assert.is_true(eager == recorded, what .. ': the weights differ')
end

describe('a recorded step', function()
  it('is run as it is written where the device cannot record', function()
    if gpu then return pending 'this device records' end
    local _, s = after_ten(1, {})
    assert.is_falsy(s.recorder.on)
    assert.are.equal(0, s.recorder.recorded)
  end)

  it('trains to the bits of steps run as they are written', function()
    if not gpu then return pending 'the CPU does not record' end
    same(1, { 'demux.kind=index', 'demux.read=cls', 'demux.retrieval=separate', 'demux.tied=false' })
    same(2, {})
  end)

  it('takes inputs that were brought beside the step before, to the same bits', function()
    if not gpu then return pending 'the CPU does not record' end
    local brought, s, loss = after_ten(2, {})
    assert.is_nil(s.inputs.waiting)                              -- of the last step nothing follows
    local config = recipe.resolve(base, {})
    local late = train.new(config, { log = log.new { mode = 'none' } })
    local other
    for step = 1, 10 do
      other = late:step(late.stages[2], step).loss
      assert.are.equal(step < 10, late.inputs.waiting ~= nil)
      late.inputs.waiting = nil
    end
    assert.are.equal(loss, other)
    assert.is_true(brought == ffi.string(late.model.block.p:host(), late.model.block.p:bytes()), 'the weights differ')
  end)

  it('trains to the same bits with evaluations between the steps', function()
    local weights = after_ten(2, {})
    local s = train.new(recipe.resolve(base, {}), { log = log.new { mode = 'none' } })
    local stage = s.stages[2]
    s.data.dev = setmetatable({ n = 12 }, { __index = s.data.dev })
    for step = 1, 10 do
      s:step(stage, step)
      s:evaluate(stage, step, 0)                                 -- its batches take the places that steps had
    end
    assert.is_true(weights == ffi.string(s.model.block.p:host(), s.model.block.p:bytes()), 'the weights differ')
  end)

  it('is evaluated to the bits of batches that are made one by one', function()
    local config = recipe.resolve(base, { overrides = { 'data.fixed=false' } })
    local s = train.new(config, { log = log.new { mode = 'none' } })
    local dev, o = setmetatable({ n = 22 }, { __index = s.data.dev }), s:evaluation_options()
    local in_order = { shuffle = false, bucket = false, drop_last = false }
    local batches, at = loader.new(dev, setmetatable(in_order, { __index = o })), 0
    local got = evaluate.outputs(s.model, dev, setmetatable({ order = 'data' }, { __index = o }))
    for k = 1, batches:steps_per_epoch() do
      dm.step(function()
        local q = s.model:prepare(batches:batch(0, k - 1), { seed = 1, step = k, task = true })
        local v = s.model:forward(q).logits:host()
        for j = 0, math.min(22 * got.K - at, q.B * q.N * got.K) - 1 do assert.are.equal(v[j], got.values[at + j]) end
        at = at + q.B * q.N * got.K
      end)
    end
    assert.is_true(at >= 22 * got.K)
  end)

  it('starts again without the gradients of a step that failed after they were made', function()
    local function fresh() return train.new(recipe.resolve(base, {}), { log = log.new { mode = 'none' } }) end
    local function weights(s) return ffi.string(s.model.block.p:host(), s.model.block.p:bytes()) end
    local clean, hurt = fresh(), fresh()
    local measure = hurt.optimiser.measure
    function hurt.optimiser.measure() error('refused', 0) end
    assert.are.same({ false, 'refused' }, { pcall(hurt.step, hurt, hurt.stages[2], 1) })
    hurt.optimiser.measure, hurt.at.global = measure, 0
    hurt:step(hurt.stages[2], 1)
    clean:step(clean.stages[2], 1)
    assert.is_true(weights(clean) == weights(hurt))
  end)

  it('adds the gradients of several batches', function()
    if not gpu then return pending 'the CPU does not record' end
    same(2, { 'train.accumulate=2', 'train.steps=10', 'data.length=4' })
  end)

  it('is recorded once for each length and place', function()
    if not gpu then return pending 'the CPU does not record' end
    local _, s = after_ten(1, { 'data.fixed=false', 'data.multiple=2', 'demux.kind=index', 'demux.read=cls',
                                'data.length=4' })
    local lengths = 0
    for _ in pairs(s.recorder.entries) do lengths = lengths + 1 end
    assert.is_true(s.recorder.recorded <= lengths and s.recorder.replayed > 0,
      ('%d lengths, %d recordings, %d replays'):format(lengths, s.recorder.recorded, s.recorder.replayed))
  end)

  it('is made again when a longer step took other memory', function()
    if not gpu then return pending 'the CPU does not record' end
    local _, s = after_ten(1, {})
    local made = s.recorder.recorded
    dm.step(function() dm.zeros(1024, 1024) end)               -- the arena grows: its addresses change
    local expected = {}
    for step = 11, 13 do expected[step] = s:step(s.stages[1], step).loss end
    assert.are.equal(made + 1, s.recorder.recorded)
    local config = recipe.resolve(base, { overrides = { 'capture=false' } })
    local e = train.new(config, { log = log.new { mode = 'none' } })
    for step = 1, 13 do
      local loss = e:step(e.stages[1], step).loss
      if step > 10 then assert.are.equal(expected[step], loss) end
    end
  end)

  it('answers as a finished model does', function()
    if not gpu then return pending 'the CPU does not record' end
    local dir, run = require 'tests.small_run'()
    local model = require('datamux.saved').load(run)
    local texts = { 'a b c d', 'e f', 'g', 'h i j k l', 'm n' }
    local first = model:predict(texts)
    for _ = 1, 3 do assert.are.same(first, model:predict(texts)) end
    require('datamux.sys').remove(dir)
    assert.is_true(model.recorder.replayed > 0, model.recorder.replayed .. ' replays')
  end)

  it('refuses a value read on the host, with the way out', function()
    if not gpu then return pending 'the CPU does not record' end
    local recorder = require('datamux.capture').new(true)
    local function reads(q) return { y = q.x:item() } end
    local ok, why = true, nil
    for _ = 1, 3 do
      ok, why = pcall(dm.step, function() recorder:run('spec', reads, { x = dm.zeros(1) }) end)
      if not ok then break end
    end
    assert.is_false(ok)
    assert.is_truthy(tostring(why):find('not allowed inside a captured step.*capture=false'), tostring(why))
    assert.are.equal(0, dm.step(function() return dm.zeros(1):item() end))
  end)
end)
