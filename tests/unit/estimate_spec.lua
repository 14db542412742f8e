-- What a plan costs: against operations counted by hand.
local estimate = require 'datamux.estimate'

local function config(o)
  return { model = { layers = 2, width = 8, inner = 32 }, mux = { n = 3 },
           demux = { kind = o.kind, rank = o.rank or 0, read = o.read }, data = { length = 5 },
           warmup = { steps = 4, rows = 2 }, train = { rows = 2, epochs = 2, accumulate = 1 } }
end

describe('an estimate', function()
  it('counts the published network', function()
    local f = estimate.forward(config { kind = 'index', read = 'cls' }, 2, 5, { vocab = 100 })
    local T = 5 + 3 + 1
    assert.are.equal(2 * 2 * (T * (3 * 64 + 64 + 256 + 256) + 2 * T * T * 8), f.encoder)
    assert.are.equal(2 * ((5 + 3) * 64 + 5 * 8 * 100), f.retrieval)
    assert.are.equal(2 * ((1 + 3) * 64 + 3 * 64), f.task)
  end)

  it('counts unbinding every position, at full width and at a rank', function()
    local f = estimate.forward(config { kind = 'unbind', read = 'pool' }, 1, 5, { vocab = 10 })
    assert.are.equal((5 + 15) * 64 + 3 * 64, f.task)
    f = estimate.forward(config { kind = 'unbind', read = 'pool', rank = 2 }, 1, 5, { vocab = 10 })
    assert.are.equal((5 + 15) * 16 + 15 * 16 + 3 * 64, f.task)
  end)

  it('adds up a plan', function()
    local c = config { kind = 'unbind', read = 'pool' }
    local facts = { train = 61, length = 9.5, vocab = 10 }       -- 10 steps an epoch; texts are cut at 5
    assert.are.equal(4 * estimate.step(c, 2, 5, facts, false) + 20 * estimate.step(c, 2, 5, facts, true),
      estimate.plan(c, facts))
  end)

  it('speaks of durations as people do', function()
    assert.are.equal('40 s', estimate.words(40))
    assert.are.equal('12 min', estimate.words(720))
    assert.are.equal('3.5 h', estimate.words(12600))
    assert.are.equal('6 days', estimate.words(6 * 86400))
  end)
end)
