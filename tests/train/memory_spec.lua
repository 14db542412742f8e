-- memory_spec.lua -- what a step takes, foretold; a batch that cannot fit is refused before the first step.
local dm = require 'datamux'
local errors = require 'datamux.errors'
local estimate = require 'datamux.estimate'
local recipe = require 'datamux.recipe'
local train = require 'datamux.train'
local log = require 'datamux.log'

local scope = dm.scope

local base = {
  name = 'spec', task = 'synthetic', model = { layers = 4, width = 64, heads = 4, vocab = { size = 500 } },
  mux = { n = 4 }, data = { length = 24, fixed = true }, warmup = { steps = 2, rows = 6 },
  train = { steps = 2, rows = 6 }, eval = { groupings = 1 },
}

local function session(overrides, room)
  local config = recipe.resolve(base, { overrides = overrides })
  return train.new(config, { log = log.new { mode = 'none' }, room = room }), config
end

-- Bytes of a step's arena when its backward pass is through, and their estimate.
local function measured(overrides, number)
  local s, config = session(overrides)
  local stage, used = s.stages[number], nil
  local run = s.recorder.run
  s.recorder.run = function(...)
    local out = run(...)
    used = scope.used()
    return out
  end
  s:step(stage, 1)
  local retrieval = s.data.retrieval and (not stage.task or stage.alpha > 0)
  return used, estimate.bytes(config, 6, 24, { vocab = s.data.tok.vocab_size, output = s.data.output }, stage.task,
    retrieval, stage.targets)
end

describe('the bytes of a step', function()
  it('are foretold to a tenth where every position counts', function()
    for _, o in ipairs {
      {}, { 'demux.kind=index', 'demux.read=cls', 'demux.retrieval=separate', 'demux.tied=false' }, { 'demux.rank=8' },
      { 'demux.kind=rsa', 'demux.read=mean' }, { 'mux.kind=ortho', 'demux.key=own' },
      { 'model.embed_twice=true', 'demux.mask=none', 'mux.pads=mix' }, { 'demux.kind=mlp', 'demux.read=first' },
    } do
      local used, foretold = measured(o, 1)
      assert.is_true(foretold >= used and foretold < 1.12 * used, ('%s: %.0f bytes, foretold %.0f'):format(
        table.concat(o, ' '), used, foretold))
    end
  end)

  it('are an upper bound where texts are shorter than the longest', function()
    for _, o in ipairs { {}, { 'demux.rank=8' }, { 'demux.kind=index', 'demux.read=cls' } } do
      local used, foretold = measured(o, 2)
      assert.is_true(foretold >= used and foretold < 1.35 * used, ('%s: %.0f bytes, foretold %.0f'):format(
        table.concat(o, ' '), used, foretold))
    end
  end)
end)

describe('a batch that does not fit', function()
  -- What is said under a limit, or nil where the plan fits.
  local function said(room, ...)
    local ok, e = pcall(session, { ... }, room)
    if ok then return nil end
    assert.is_true(errors.is(e), tostring(e))
    assert.are.same({ 'E501', 5 }, { e.id, e.code })
    return e.message
  end

  it('is refused before the first step, with the rows that would fit', function()
    local text = said(20e6, 'train.rows=64')
    assert.is_truthy(text:find 'train.rows is 64: a step of 64 x 4 texts of 24 tokens takes about %d+ MB, 4 MB of it')
    local whose = 'expected at most the 20 MB that ' .. scope.about():match '^%S+' .. ' has left'
    assert.is_truthy(text:find(whose, 1, true))
    local fits = tonumber(text:match 'fix: train.rows=(%d+)')
    assert.is_true(fits > 1 and fits < 64)
    assert.is_nil(said(20e6, 'train.rows=' .. fits))
    assert.is_truthy(said(20e6, 'train.rows=' .. fits + 1):find('train.rows=' .. fits, 1, true))
    assert.is_truthy(said(20e6, 'warmup.rows=64'):find 'warmup.rows is 64')
  end)

  it('is told of recomputing where that makes it fit', function()
    local bytes = 4e6
    while not said(bytes, 'train.recompute=false') do bytes = bytes / 1.1 end
    while said(bytes, 'train.recompute=true') do bytes = bytes * 1.02 end
    assert.is_truthy(said(bytes, 'train.recompute=false'):find 'or train.recompute=true')
  end)

  it('is told when nothing would do', function()
    assert.is_truthy(said(1e6):find 'not even one row fits')
  end)

  it('is not looked for where memory is not known, and the device says what it has', function()
    assert.is_nil(said(0))
    assert.is_true(scope.room() > 1e8, scope.room() .. ' bytes')
  end)
end)
