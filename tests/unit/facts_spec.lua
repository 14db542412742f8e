-- facts_spec.lua -- what a set says of its labels, its tags or its scores.
local ffi = require 'ffi'
local facts = require 'datamux.data.facts'

describe('the facts of a set', function()
  it('are the counts of its labels', function()
    local set = { n = 4, labels = ffi.new('int32_t[4]', { 1, 0, 1, 1 }), label_names = { 'no', 'yes', 'perhaps' } }
    local f = facts.of(set)
    assert.are.same({ { no = 1, yes = 3 }, 4 }, { f.labels, f.labelled })
    assert.are.equal('no 25.0 %, yes 75.0 %', facts.text(f, set.label_names))
    assert.are.equal('no 1 (25.0 %), yes 3 (75.0 %)', facts.text(f, set.label_names, true))
  end)

  it('are the tags of its words', function()
    local set = { n = 2, gold = { { 0, 1 }, { 0 } }, label_names = { 'O', 'B-PER', 'I-PER' } }
    assert.are.equal('O 2 (66.7 %), B-PER 1 (33.3 %)', facts.text(facts.of(set), set.label_names, true))
  end)

  it('are the range of its scores, and nothing where it has no labels', function()
    local set = { n = 2, scores = ffi.new('double[2]', { 4.5, 0 }), label_names = { 'score' } }
    assert.are.equal('scores 0 to 4.5', facts.text(facts.of(set), set.label_names))
    assert.are.equal('', facts.text(facts.of { n = 2, label_names = { 'a' } }, { 'a' }))
  end)
end)
