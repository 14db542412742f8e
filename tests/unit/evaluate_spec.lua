-- evaluate_spec.lua -- outputs in the order of the data, every example once, and what is derived from them; with a
-- model made up for it, whose answers are known.
local ffi = require 'ffi'
local evaluate = require 'datamux.evaluate'
local metrics = require 'datamux.metrics'

local function int32(values) return ffi.new('int32_t[?]', math.max(#values, 1), values) end

-- A set of n texts of lengths 2 .. 8: the first id of text i is 1000 + i, the others its position.
local function make(n)
  local ids, offset = {}, { 0 }
  for i = 0, n - 1 do
    for k = 1, 2 + i * 5 % 7 do ids[#ids + 1] = k == 1 and 1000 + i or k end
    offset[#offset + 1] = #ids
  end
  return { n = n, ids = int32(ids), offset = int32(offset) }
end

local function logits(rows, K, fn)
  local v = ffi.new('float[?]', rows * K)
  for r = 0, rows - 1 do
    for j = 0, K - 1 do v[r * K + j] = fn(r, j) end
  end
  return { host = function() return v end, rows = function() return rows end, cols = function() return K end,
           real = function(self) return self end }
end

-- answer(i, slot) -> list of K logits.
local function model(K, answer)
  local self = { passes = 0, seen = {} }
  function self.train() end
  function self.prepare(_, batch, o) return { batch = batch, o = o } end
  function self.forward(_, q)
    local b = q.batch
    for r = 0, b.B * b.N - 1 do
      if b.index[r] >= 0 then
        local i = b.ids_host[r * b.S] - 1000
        assert(i == b.index[r])
        self.seen[i] = self.seen[i] or {}
        table.insert(self.seen[i], r % b.N)
      end
    end
    return { logits = logits(b.B * b.N, K, function(r, j)
      return answer(b.ids_host[r * b.S] - 1000, r % b.N)[j + 1]
    end) }
  end
  return self
end

local base = { rows = 3, group = 4, length = 8, pad = 0, bucket = true }

local function with(more)
  return setmetatable(more, { __index = base })
end

describe('the outputs of a grouping', function()
  local m = model(2, function(i, slot) return { i, slot } end)

  it('are of every example, once, in the order of the data, with its slot', function()
    for _, n in ipairs { 1, 12, 101 } do
      m.seen = {}
      local set = make(n)
      local out = evaluate.outputs(m, set, with { grouping = 5 })
      assert.are.same({ n, 2 }, { out.n, out.K })
      for i = 0, n - 1 do
        assert.are.same({ out.slot[i] }, m.seen[i])
        assert.are.same({ i, out.slot[i] }, { out.values[2 * i], out.values[2 * i + 1] })
      end
      assert.is_true(out.seconds >= 0)
    end
  end)

  it('differ in slots between groupings, and repeat for one', function()
    local set = make(101)
    local function slots(g)
      local out, list = evaluate.outputs(m, set, with { grouping = g }), {}
      for i = 0, 100 do list[i + 1] = out.slot[i] end
      return list
    end
    assert.are.same(slots(1), slots(1))
    assert.are_not.same(slots(1), slots(2))
  end)

  it('follow the order of the data where that is asked for', function()
    local out = evaluate.outputs(m, make(101), with { order = 'data' })
    for i = 0, 100 do assert.are.equal(i % 4, out.slot[i]) end
  end)
end)

describe('an ensemble', function()
  it('puts each text in other slots with other neighbours, and averages', function()
    for _, n in ipairs { 7, 101 } do
      local m = model(2, function(i, slot) return { i, slot } end)
      local out = evaluate.ensemble(m, make(n), with { grouping = 5 }, 4)
      for i = 0, n - 1 do
        local slots = { unpack(m.seen[i]) }
        table.sort(slots)
        assert.are.same({ 0, 1, 2, 3 }, slots)
        assert.are.same({ i, 1.5 }, { out.values[2 * i], out.values[2 * i + 1] })
        assert.are.equal(m.seen[i][1], out.slot[i])
      end
    end
  end)

  it('is refused beyond N', function()
    local ok, e = pcall(evaluate.ensemble, model(2), make(10), with {}, 5)
    assert.is_false(ok)
    assert.are.same({ 2, 'ensemble is 5, expected at most N = 4: each text takes another slot' }, { e.code, e.message })
  end)
end)

describe('fewer live texts than slots', function()
  it('repeat each in N / live slots of one row and average them; with one, the mean over all N slots', function()
    for _, live in ipairs { 1, 2, 4 } do
      for _, n in ipairs { 1, 7, 101 } do
        local rows = {}                                            -- which texts shared a row
        local m = model(2, function(i, slot) return { i, slot } end)
        local prepare = m.prepare
        function m.prepare(...)
          local q = prepare(...)
          local b = q.batch
          for r = 0, b.B * b.N - 1 do
            local i, row = b.index[r], #rows + 1
            if r % b.N == 0 then rows[row] = {} end
            rows[#rows][i] = (rows[#rows][i] or 0) + 1
          end
          return q
        end
        local out = evaluate.outputs(m, make(n), with { grouping = 5, live = live })
        for i = 0, n - 1 do
          assert.are.equal(4 / live, #m.seen[i])
          local mean = 0
          for _, slot in ipairs(m.seen[i]) do mean = mean + slot / #m.seen[i] end
          assert.are.same({ i, mean }, { out.values[2 * i], out.values[2 * i + 1] })
        end
        for _, row in ipairs(rows) do
          for i, count in pairs(row) do
            if i >= 0 then assert.are.equal(4 / live, count) end
          end
        end
      end
    end
  end)

  it('are refused where they do not divide N', function()
    local ok, e = pcall(evaluate.outputs, model(2), make(10), with { live = 3 })
    assert.is_false(ok)
    assert.are.same({ 2, 'live is 3, expected a divisor of N = 4: each text takes N / live slots' },
      { e.code, e.message })
  end)
end)

describe('the scores of labels', function()
  local set = make(101)
  set.labels = ffi.new('int32_t[101]')
  for i = 0, 100 do set.labels[i] = i % 2 end
  set.task = { output = 'classify', metric = 'accuracy', label_names = { 'no', 'yes' },
               metrics = { 'accuracy', 'f1', 'macro_f1', 'mcc', 'ece', 'loss' } }
  -- Wrong on every tenth text, and on every third in slot 0.
  local function wrong(i, slot) return i % 10 == 0 or i % 3 == 0 and slot == 0 end
  local m = model(2, function(i, slot)
    local label = wrong(i, slot) and 1 - i % 2 or i % 2
    return { label == 0 and 1 or 0, label == 1 and 1 or 0 }
  end)

  it('are means over the groupings, and their spread', function()
    local r = evaluate.score(m, set, with {}, 3)
    local values, flips = {}, 0
    local answers = {}
    for g = 1, 3 do
      local out, right = evaluate.outputs(m, set, with { grouping = 7000 + g }), 0
      answers[g] = {}
      for i = 0, 100 do
        answers[g][i] = wrong(i, out.slot[i])
        if not answers[g][i] then right = right + 1 end
      end
      values[g] = right / 101
      for h = 1, g - 1 do
        for i = 0, 100 do
          if answers[g][i] ~= answers[h][i] then flips = flips + 1 end
        end
      end
    end
    assert.are.same(values, r.groupings)
    local mean = (values[1] + values[2] + values[3]) / 3
    assert.is_near(mean, r.value, 1e-12)
    assert.are.same({ r.value, r.value }, { r.accuracy, r.metrics.accuracy })
    assert.is_near(math.sqrt(((values[1] - mean) ^ 2 + (values[2] - mean) ^ 2 + (values[3] - mean) ^ 2) / 3), r.std,
      1e-12)
    assert.are.same({ math.min(unpack(values)), math.max(unpack(values)) }, { r.min, r.max })
    assert.are.same({ 101, 101, 'accuracy' }, { r.scored, r.total, r.metric })
    assert.is_near(flips / 303, r.flips, 1e-12)
    -- All logits are 1 apart: every confidence is 1 / (1 + exp(-1)).
    local p = 1 / (1 + math.exp(-1))
    assert.is_near(mean * -math.log(p) + (1 - mean) * -math.log(1 - p), r.metrics.loss, 1e-9)
    assert.is_near(math.abs(p - mean), r.metrics.ece, 0.02)
  end)

  it('tell slots and lengths apart, and hold the confusion of the first grouping', function()
    local r = evaluate.score(m, set, with { bootstrap = 200 }, 2)
    assert.are.equal(4, #r.per_index)
    assert.is_true(r.per_index[1] < r.per_index[2])
    for s = 2, 4 do assert.is_true(r.per_index[s] > 0.7) end
    assert.are.same({ { 1, 8 } }, { { r.by_length[1].from, r.by_length[1].to } })
    assert.are.same({ 101, 1 }, { r.by_length[1].n, #r.by_length })
    assert.is_near(r.value, r.by_length[1].value, 1e-12)
    local c = r.confusion
    assert.are.equal(101, c[1][1] + c[1][2] + c[2][1] + c[2][2])
    assert.is_near(r.groupings[1], (c[1][1] + c[2][2]) / 101, 1e-12)
    assert.are.same({ grouping = 1, value = r.groupings[1] }, r.tables)
    assert.are.same({ 51, 50 }, { r.per_class[1].support, r.per_class[2].support })
    assert.is_true(r.interval.low < r.value and r.value < r.interval.high)
    assert.is_true(r.interval.high - r.interval.low < 0.25)
  end)

  it('of an ensemble are not worse here, where only one slot is', function()
    local one, all = evaluate.score(m, set, with {}, 1), evaluate.score(m, set, with { ensemble = 4 }, 1)
    assert.is_true(all.value > one.value)
    assert.is_near(90 / 101, all.value, 1e-12)         -- wrong in one slot of four is outvoted
  end)

  it('of a set without a task are accuracy alone', function()
    local bare = setmetatable({ task = false }, { __index = set })
    local r = evaluate.score(m, bare, with { detail = false }, 1)
    assert.are.same({ 'accuracy', r.value }, { r.metric, r.accuracy })
    assert.is_nil(r.per_index)
  end)
end)

describe('the scores of numbers', function()
  it('are correlations', function()
    local set = make(40)
    set.scores = ffi.new('double[40]')
    for i = 0, 39 do set.scores[i] = i * 7 % 40 / 8 end
    set.task = { output = 'regress', metric = 'pearson', metrics = { 'pearson', 'spearman', 'mse' } }
    local m = model(1, function(i, slot) return { i * 7 % 40 / 8 + slot / 4 } end)
    local r = evaluate.score(m, set, with { bootstrap = 100 }, 2)
    assert.is_true(r.value > 0.9 and r.value < 1)
    assert.is_true(r.metrics.mse > 0 and r.metrics.mse < 0.6)
    assert.is_true(r.flips > 0 and r.flips < 0.75)
    for s = 1, 4 do assert.is_near(1, r.per_index[s], 1e-6) end        -- one slot shifts all its answers alike
    assert.is_true(r.interval.low <= r.value and r.value <= r.interval.high)
  end)
end)

describe('the scores of numbers that are all equal', function()
  it('are undefined: not numbers, for each slot too, with no interval', function()
    local set = make(40)
    set.scores = ffi.new('double[40]')
    set.task = { output = 'regress', metric = 'pearson', metrics = { 'pearson', 'spearman', 'mse' } }
    local r = evaluate.score(model(1, function(i) return { i } end), set, with { bootstrap = 20 }, 2)
    for _, v in ipairs { r.value, r.std, r.min, r.max, r.metrics.spearman, unpack(r.per_index) } do
      assert.are_not.equal(v, v)
    end
    assert.are.equal(4, #r.per_index)
    assert.is_true(r.metrics.mse > 0)
    assert.is_nil(r.interval)
    assert.are_not.equal(r.value, (evaluate.spread {}))
  end)
end)

describe('the scores of tags', function()
  local names = { 'O', 'B-X', 'I-X', 'B-Y' }
  -- Two sentences: <s> + words of one piece; the last word of the second is cut off.
  local set = { n = 2, ids = int32 { 1, 10, 11, 12, 1, 13, 14 }, offset = int32 { 0, 4, 7 },
                tags = int32 { -100, 1, 2, 0, -100, 3, 0 }, gold = int32 { 1, 2, 0, 3, 0, 1 },
                first = int32 { 1, 2, 3, 5, 6, -1 }, word_offset = int32 { 0, 3, 6 },
                task = { output = 'tag', metric = 'f1', label_names = names,
                         metrics = { 'f1', 'precision', 'recall', 'accuracy', 'loss' } } }
  -- The answer is the tag of the id, with 14 taken for a Y.
  local tag_of = { [10] = 1, [11] = 2, [12] = 0, [13] = 3, [14] = 3 }
  local tagger = { train = function() end }
  function tagger.prepare(_, batch)
    local at = {}
    for r = 0, batch.B * batch.N - 1 do
      for s = 0, batch.length[r] - 1 do at[#at + 1] = r * batch.S + s end
    end
    local q = { batch = batch, task = { at = int32(at) }, n = #at }
    return q
  end
  function tagger.forward(_, q)
    return { logits = logits(q.n, 4, function(row, j)
      local id = q.batch.ids_host[q.task.at[row]]
      return tag_of[id] == j and 5 or 0
    end) }
  end

  it('count every word, those cut off as O', function()
    local o = { rows = 1, group = 2, length = 4, pad = 0, bucket = true }
    local out = evaluate.outputs(tagger, set, o)
    assert.are.equal(4, out.K)
    for k = 0, 6 do
      local expected = tag_of[set.ids[k]]
      for j = 0, 3 do assert.are.equal(expected == j and 5 or 0, out.values[4 * k + j]) end
    end
    local r = evaluate.score(tagger, set, setmetatable({ bootstrap = 50 }, { __index = o }), 2)
    -- There: X(1-2), Y(1), X(3). Answered: X(1-2), Y(1), Y(2).
    assert.is_near(2 / 3, r.metrics.precision, 1e-12)
    assert.is_near(2 / 3, r.metrics.recall, 1e-12)
    assert.is_near(2 / 3, r.value, 1e-12)
    assert.is_near(4 / 6, r.accuracy, 1e-12)
    assert.are.same({ 1, 1, 2 }, { r.entities.types.Y.recall, r.entities.types.Y.support,
      r.entities.types.X.support })
    assert.is_near(0.5, r.entities.types.Y.precision, 1e-12)
    assert.are.equal(0, r.flips)
    assert.is_true(r.interval.low <= r.value and r.value <= r.interval.high)
  end)

  it('without entities are of the tags themselves', function()
    local plain = setmetatable({ task = { output = 'tag', metric = 'accuracy', label_names = { 'A', 'B', 'C', 'D' },
      metrics = { 'accuracy', 'macro_f1', 'loss' } } }, { __index = set })
    local r = evaluate.score(tagger, plain, { rows = 1, group = 2, length = 4, pad = 0, bucket = true }, 1)
    assert.is_near(4 / 6, r.value, 1e-12)              -- the word cut off has no answer: wrong
    -- The truth is B C A D A B, the answers B C A D D and none.
    local counts = metrics.confusion({ 1, 2, 0, 3, 0, 1 }, { 1, 2, 0, 3, 3, 4 }, 5)
    assert.is_near(metrics.macro_f1(counts), r.metrics.macro_f1, 1e-12)
    assert.is_nil(r.entities)
  end)
end)

describe('the published protocol', function()
  it('scores as many as the published scripts, by N', function()
    local function counts(n)
      local out = {}
      for k, N in ipairs { 2, 5, 10, 20, 40 } do out[k] = evaluate.paper_count(n, N) end
      return out
    end
    assert.are.same({ 864, 840, 720, 800, 640 }, counts(872))          -- SST-2
    assert.are.same({ 5424, 5400, 5280, 5200, 5120 }, counts(5463))    -- QNLI
    assert.are.same({ 9792, 9720, 9600, 9600, 9600 }, counts(9815))    -- MNLI
    assert.are.same({ 3216, 3240, 3120, 3200, 3200 }, counts(3250))    -- CoNLL-2003
    assert.are.equal(872, evaluate.paper_count(872, 1))
  end)

  it('drops the tail, in the order of the data', function()
    local set = make(100)
    set.labels = ffi.new('int32_t[100]')
    set.task = { output = 'classify', metric = 'accuracy', metrics = { 'accuracy' } }
    local m = model(2, function(i) return { i < 72 and 1 or 0, 0.5 } end)     -- right on the first 72
    assert.are.same({ metric = 'accuracy', scored = 96, total = 100, value = 0.75 }, evaluate.paper(m, set, base))
    local few = setmetatable({ n = 95 }, { __index = set })
    assert.are.same({ metric = 'accuracy', scored = 0, total = 95 }, evaluate.paper(m, few, base))
  end)
end)

describe('retrieval', function()
  it('asks for one instance of each position, or all', function()
    local asked = {}
    local m = { train = function() end }
    function m.prepare(_, _, o)
      asked[#asked + 1] = o.retrieval
      return o
    end
    function m.forward() return { hits = { host = function() return { [0] = 3, [1] = 4 } end } } end
    assert.are.equal(0.75, evaluate.retrieval(m, make(12), base))
    assert.are.same({ 0.75, 4 }, { evaluate.retrieval(m, make(12), with { all = true }) })
    assert.are.same({ 1, 4 }, asked)
  end)
end)

describe('the better of two', function()
  it('is the higher, of losses the lower, and a number', function()
    assert.is_true(metrics.better('accuracy', 0.6, 0.5))
    assert.is_false(metrics.better('loss', 0.6, 0.5))
    assert.is_true(metrics.better('mse', 0.4, 0.5))
    assert.is_false(metrics.better('pearson', 0 / 0, 0.5))
    assert.is_true(metrics.better('pearson', -0.1, 0 / 0))
  end)
end)
