-- metrics_spec.lua -- scores against golden values of scikit-learn, SciPy and seqeval (tests/golden/make_metrics.py).
local cjson = require 'cjson'
local metrics = require 'datamux.metrics'
local sys = require 'datamux.sys'

local golden = cjson.decode(sys.read 'tests/golden/metrics.json')

local TINY = 1e-12                 -- sums in another order

local function list(v) return { v.precision, v.recall, v.f1, v.support } end

local function near(expected, got)
  for i, e in ipairs(expected) do assert.is_near(e, got[i], TINY) end
end

local function sentences(lines)
  local out = {}
  for i, line in ipairs(lines) do
    out[i] = {}
    for tag in line:gmatch '%S+' do out[i][#out[i] + 1] = tag end
  end
  return out
end

describe('classification', function()
  it('is scored as by scikit-learn', function()
    for _, c in ipairs(golden.classify) do
      local counts = metrics.confusion(c.gold, c.got, c.classes)
      assert.are.same(c.confusion, counts)
      assert.is_near(c.accuracy, metrics.accuracy(c.gold, c.got), TINY)
      assert.is_near(c.macro_f1, metrics.macro_f1(counts), TINY)
      assert.is_near(c.matthews, metrics.matthews(counts), TINY)
      if c.f1 then assert.is_near(c.f1, metrics.f1(counts), TINY) end
      local per_class = metrics.per_class(counts)
      for k, expected in ipairs(c.per_class) do near(expected, list(per_class[k])) end
    end
  end)

  it('has a calibration error', function()
    -- Bins of width 0.5: confidences 0.2, 0.4 (half right: |0.6 - 1|), 0.9, 1.0 (all right: |1.9 - 2|).
    assert.is_near(0.5 / 4, metrics.ece({ 0.2, 0.4, 0.9, 1 }, { true, false, true, true }, 2), TINY)
    assert.is_near(0, metrics.ece({ 1, 1 }, { true, true }), TINY)
    assert.is_near(1, metrics.ece({ 1, 1 }, { false, false }), TINY)
  end)
end)

describe('regression', function()
  it('is scored as by SciPy', function()
    for _, c in ipairs(golden.regress) do
      assert.is_near(c.pearson, metrics.pearson(c.gold, c.got), TINY)
      assert.is_near(c.spearman, metrics.spearman(c.gold, c.got), TINY)
      assert.is_near(c.mse, metrics.mse(c.gold, c.got), TINY)
    end
    assert.are.same({ 3.5, 1, 3.5, 2, 5 }, metrics.ranks { 2, 0, 2, 1, 3 })
    local undefined = metrics.pearson({ 1, 1 }, { 1, 2 })
    assert.is_true(undefined ~= undefined)
  end)
end)

describe('entities', function()
  it('are found and scored as by seqeval, in every scheme, malformed ones too', function()
    for _, c in ipairs(golden.entities) do
      local gold, got = sentences(c.gold), sentences(c.got)
      for i, tags in ipairs(got) do assert.are.same(c.spans[i], metrics.spans(tags), c.name .. ': ' .. c.got[i]) end
      local r = metrics.entities(gold, got)
      near(c.overall, list(r))
      local n = 0
      for kind, expected in pairs(c.types) do
        near(expected, list(r.types[kind]))
        n = n + 1
      end
      for _ in pairs(r.types) do n = n - 1 end
      assert.are.equal(0, n)
      local right, answered, there = 0, 0, 0
      for i = 1, #gold do
        local a, b, d = metrics.entity_counts(gold[i], got[i])
        right, answered, there = right + a, answered + b, there + d
      end
      assert.is_near(c.overall[3], answered + there > 0 and 2 * right / (answered + there) or 0, TINY)
    end
  end)

  it('are told from plain tags', function()
    assert.is_true(metrics.is_entity_scheme { 'O', 'B-PER', 'E-X-y' })
    assert.is_false(metrics.is_entity_scheme { 'NN', 'B-PER' })
    assert.is_false(metrics.is_entity_scheme { 'O' })
  end)
end)

describe('the bootstrap', function()
  local function mean_of(values)
    return function(index)
      local sum = 0
      for i = 0, #values - 1 do sum = sum + values[index[i] + 1] end
      return sum / #values
    end
  end

  it('covers the interval that theory gives, and repeats for a seed', function()
    local values = {}
    for i = 1, 1000 do values[i] = i % 5 == 0 and 0 or 1 end
    local low, high = metrics.bootstrap(1000, mean_of(values), { samples = 2000 })
    local half = 1.96 * math.sqrt(0.8 * 0.2 / 1000)
    assert.is_near(0.8 - half, low, 0.004)             -- 0.1 of the interval: the noise of 2,000 samples
    assert.is_near(0.8 + half, high, 0.004)
    assert.are.same({ low, high }, { metrics.bootstrap(1000, mean_of(values), { samples = 2000 }) })
    assert.are_not.same({ low, high }, { metrics.bootstrap(1000, mean_of(values), { samples = 2000, seed = 1 }) })
  end)

  it('draws every example, none beyond', function()
    local seen = {}
    metrics.bootstrap(7, function(index)
      for i = 0, 6 do seen[index[i]] = true end
      return 0
    end, { samples = 100 })
    for i = 0, 6 do
      assert.is_true(seen[i])
      seen[i] = nil
    end
    assert.is_nil(next(seen))
  end)
end)

describe('scores', function()
  it('are refused for lists that do not fit', function()
    local function refused(message, fn) assert.has_error(fn, message) end
    refused('accuracy: 1 answers, expected 2 as in gold', function() metrics.accuracy({ 1, 2 }, { 1 }) end)
    refused('pearson: the lists are empty, expected at least one answer', function() metrics.pearson({}, {}) end)
    refused('entities: 1 tags, expected 2 as in gold', function() metrics.entities({ { 'O', 'O' } }, { { 'O' } }) end)
  end)
end)
