-- evaluate.lua -- scoring a model: its outputs for every example of a set, and everything that follows from them.
--
-- The answer to a text depends on which others share its row, so scores are means over several random groupings, and
-- fillers of the last group are never counted (METHOD: published scripts drop the tail instead; see M.paper).
-- One primitive, M.outputs, runs the model; metrics, slots, lengths, flips and intervals follow from what it gives.
local ffi = require 'ffi'
local ahead = require 'datamux.ahead'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local loader = require 'datamux.data.loader'
local metrics = require 'datamux.metrics'
local outputs = require 'datamux.models.outputs'
local scope = require 'datamux.scope'
local C = core.C

local M = {}

local GROUPING = 7000              -- seeds of groupings count from here
local i32 = ffi.typeof 'int32_t[?]'
local doubles = ffi.typeof 'double[?]'

-- -- running the model -----------------------------------------------------------------------------------------

-- The batches of a set that score each example once.
local function batches_of(set, o)
  local sequential = o.order == 'data'
  return loader.new(set, {
    rows = o.rows, group = o.group, length = o.length, pad = o.pad, multiple = o.multiple, fixed = o.fixed,
    shuffle = not sequential, seed = o.grouping or GROUPING, bucket = o.bucket and not sequential, drop_last = false,
    order = not sequential and o.order or nil, places = o.places })
end

-- Runs use(q, model:forward(q)) for every batch, what prepare(batch, k) makes of it being q.
local function each(model, batches, prepare, use)
  local steps = batches:steps_per_epoch()
  local inputs = ahead.new(function(k) return prepare(batches:batch(0, k - 1), k) end)
  model:train(false)
  for k = 1, steps do
    scope.step(function()
      local q = inputs:take(k)
      local out = model:forward(q)
      if k < steps then inputs:leave(k + 1) else inputs:leave() end
      use(q, out)
    end)
  end
end

-- Adds a batch's logits where they belong: rows of examples, or of their tokens.
local function collect(out, set, q, logits)
  local batch, at = q.batch, set.tags and q.task.at
  local rows = at and q.task.count or logits:rows()
  local v, K = outputs.host(logits, rows)
  if not out.values then
    out.K = K
    out.values = doubles(math.max(1, set.tags and set.offset[set.n] * K or set.n * K))
  end
  for r = 0, batch.B * batch.N - 1 do
    if batch.index[r] >= 0 then out.slot[batch.index[r]] = r % batch.N end
  end
  for row = 0, rows - 1 do
    local r = at and math.floor(at[row] / batch.S) or row
    local i = batch.index[r]
    if i >= 0 then
      local to = at and set.offset[i] + at[row] % batch.S or i
      for j = 0, K - 1 do out.values[to * K + j] = out.values[to * K + j] + v[row * K + j] end
    end
  end
end

-- Sorts a list of examples by length, keeping the order of equals. Images have none and stay as they are.
local function by_size(set, list)
  if not set.offset then return end
  local place = {}
  for k, i in ipairs(list) do place[i] = k end
  table.sort(list, function(a, b)
    local x, y = set.offset[a + 1] - set.offset[a], set.offset[b + 1] - set.offset[b]
    if x ~= y then return x < y end
    return place[a] < place[b]
  end)
end

-- An order in which a row of N slots holds only o.live examples, each N / live times; -1 fills the last row.
local function repeated(set, o)
  local N, S, n = o.group, o.live, set.n
  if N % S ~= 0 then
    errors.raise('E203', ('live is %d, expected a divisor of N = %d: each text takes N / live slots'):format(S, N))
  end
  local perm, list, rows = i32(math.max(n, 1)), {}, math.ceil(n / S)
  core.check(C.dm_shuffle(perm, n, o.grouping or GROUPING, 360, 0))
  for k = 0, n - 1 do list[k + 1] = perm[k] end
  if o.bucket and not o.fixed then by_size(set, list) end
  local order = i32(math.max(rows * N, 1))
  for r = 0, rows - 1 do
    for c = 0, N - 1 do order[r * N + c] = list[r * S + c % S + 1] or -1 end
  end
  return order, rows * N
end

--- The model's outputs for one grouping, in the order of the data: { values = double[n*K] (logits; for words with tags
--- one row for each token, laid out like set.ids), slot = int32[n] (from 0; -1 where an example was not scored), K, n,
--- seconds }. set: an encoded set; o: { rows, group, length, pad, multiple, fixed, bucket, grouping (seed of the
--- order), order = 'data' for the order of the data, or int32[places] of example numbers, -1 for a filler; live: only
--- so many examples in a row, each in N / live slots, their outputs averaged (dynamic N of MIMONets), default N }.
--- Raises E203 where live does not divide N.
function M.outputs(model, set, o)
  local copies = o.live and o.group / o.live or 1
  if copies ~= 1 then
    o = setmetatable({}, { __index = o })
    o.order, o.places = repeated(set, o)
  end
  local batches = batches_of(set, o)
  local out = { n = set.n, slot = i32(math.max(set.n, 1)), grouping = o.grouping }
  for i = 0, set.n - 1 do out.slot[i] = -1 end
  local t = C.dm_clock()
  each(model, batches, function(batch, k)
    return model:prepare(batch, { seed = o.grouping or GROUPING, step = k, task = true })
  end, function(q, answers) collect(out, set, q, answers.logits) end)
  if copies ~= 1 then
    for j = 0, ffi.sizeof(out.values) / 8 - 1 do out.values[j] = out.values[j] / copies end
  end
  out.seconds = C.dm_clock() - t
  return out
end

-- An order in which every example sits `turn` slots further than in `slot`, with other neighbours of like length.
local function turned(set, slot, turn, o)
  local N, n = o.group, set.n
  local perm, classes, rows = i32(n), {}, 0
  core.check(C.dm_shuffle(perm, n, o.grouping + turn, 350, 0))
  for c = 0, N - 1 do classes[c] = {} end
  for k = 0, n - 1 do
    local list = classes[slot[perm[k]]]
    list[#list + 1] = perm[k]
  end
  for c = 0, N - 1 do
    local list = classes[c]
    if o.bucket and not o.fixed then by_size(set, list) end
    rows = math.max(rows, #list)
  end
  local order = i32(rows * N)
  for r = 0, rows - 1 do
    for c = 0, N - 1 do order[r * N + (c + turn) % N] = classes[c][r + 1] or -1 end
  end
  return order, rows * N
end

--- Outputs averaged over `k` groupings, each text in another slot with other neighbours: as M.outputs, with the slots
--- of the first. Raises (E203) when k is more than there are slots.
function M.ensemble(model, set, o, k)
  if k > o.group then
    errors.raise('E203', ('ensemble is %d, expected at most N = %d: each text takes another slot'):format(k, o.group))
  end
  local one = setmetatable({ grouping = o.grouping or GROUPING }, { __index = o })
  local out = M.outputs(model, set, one)
  local slot, size = out.slot, ffi.sizeof(out.values) / 8
  for turn = 1, k - 1 do
    one.order, one.places = turned(set, slot, turn, one)
    local more = M.outputs(model, set, one)
    for j = 0, size - 1 do out.values[j] = out.values[j] + more.values[j] end
    out.seconds = out.seconds + more.seconds
  end
  for j = 0, size - 1 do out.values[j] = out.values[j] / k end
  return out
end

-- -- answers -----------------------------------------------------------------------------------------------------

-- A view holds lists with what the metrics need of every example; `some` views a choice of them, gathered as needed.

local lists = { gold = true, got = true, confidence = true, nll = true, sentences = true }

local function some(view, index, n)
  return setmetatable({}, { __index = function(part, name)
    local v = view[name]
    if lists[name] then
      local whole = v
      v = {}
      for i = 0, n - 1 do v[i + 1] = whole[index[i] + 1] end
      rawset(part, name, v)
    end
    return v
  end })
end

-- The best class in a row of the outputs, -log of the probability of class `label`, and the best one's probability.
local function judge(out, row, label)
  local best, largest, sum = outputs.best(out.values, row * out.K, out.K)
  return best, math.log(sum) + largest - out.values[row * out.K + label], 1 / sum
end

local Labels = {}
Labels.__index = Labels

local function view_labels(set, out)
  local v = setmetatable({ gold = {}, got = {}, confidence = {}, nll = {}, K = out.K }, Labels)
  for i = 0, set.n - 1 do
    v.gold[i + 1] = set.labels[i]
    v.got[i + 1], v.nll[i + 1], v.confidence[i + 1] = judge(out, i, set.labels[i])
  end
  return v
end

-- The confusion matrix, counted once.
function Labels:counts()
  local counts = rawget(self, 'confusion') or metrics.confusion(self.gold, self.got, self.K)
  rawset(self, 'confusion', counts)
  return counts
end

local function mean(list)
  local sum = 0
  for i = 1, #list do sum = sum + list[i] end
  return sum / #list
end

Labels.score = {
  accuracy = function(v) return metrics.accuracy(v.gold, v.got) end,
  f1 = function(v) return metrics.f1(v:counts()) end,
  macro_f1 = function(v) return metrics.macro_f1(v:counts()) end,
  mcc = function(v) return metrics.matthews(v:counts()) end,
  loss = function(v) return mean(v.nll) end,
  ece = function(v)
    local right = {}
    for i = 1, #v.gold do right[i] = v.gold[i] == v.got[i] end
    return metrics.ece(v.confidence, right)
  end,
}

local Scores = {}
Scores.__index = Scores

local function view_scores(set, out)
  local v = setmetatable({ gold = {}, got = {} }, Scores)
  for i = 0, set.n - 1 do v.gold[i + 1], v.got[i + 1] = set.scores[i], out.values[i] end
  return v
end

Scores.score = {
  pearson = function(v) return metrics.pearson(v.gold, v.got) end,
  spearman = function(v) return metrics.spearman(v.gold, v.got) end,
  mse = function(v) return metrics.mse(v.gold, v.got) end,
}

-- For words with tags: of every sentence its counts, so that any choice of sentences is scored by adding them.
local Tags = {}
Tags.__index = Tags

local function tag_of(names, label) return names[label + 1] or '?' end

local function view_tags(set, out)
  local names, o = set.task.label_names, -1
  for k, name in ipairs(names) do
    if name == 'O' then o = k - 1 end
  end
  local v = setmetatable({ K = out.K, entities = metrics.is_entity_scheme(names), sentences = {}, gold = {}, got = {} },
    Tags)
  for i = 0, set.n - 1 do
    local s, gold_tags, got_tags, from = { right = 0, words = 0, nll = 0, seen = 0 }, {}, {}, set.word_offset[i]
    for w = from, set.word_offset[i + 1] - 1 do
      local gold, answer = set.gold[w], o             -- of a word that was cut off O (or, where there is none, wrong)
      if set.first[w] >= 0 then
        local nll
        answer, nll = judge(out, set.first[w], gold)
        s.nll, s.seen = s.nll + nll, s.seen + 1
      end
      gold_tags[w - from + 1], got_tags[w - from + 1] = tag_of(names, gold), tag_of(names, answer)
      s.words, s.right = s.words + 1, s.right + (gold == answer and 1 or 0)
    end
    if v.entities then s.found, s.answered, s.there = metrics.entity_counts(gold_tags, got_tags) end
    v.sentences[i + 1], v.gold[i + 1], v.got[i + 1] = s, gold_tags, got_tags
  end
  return v
end

-- The sum of one count over the sentences.
function Tags:sum(name)
  local sum = 0
  for _, s in ipairs(self.sentences) do sum = sum + s[name] end
  return sum
end

local function over(a, b) return b > 0 and a / b or 0 end

-- Mean F1 of the tags themselves.
local function macro_tags(v)
  local number, n, gold, got = {}, 0, {}, {}
  local function of(tag)
    if not number[tag] then number[tag], n = n, n + 1 end
    return number[tag]
  end
  for i, tags in ipairs(v.gold) do
    for k, tag in ipairs(tags) do gold[#gold + 1], got[#got + 1] = of(tag), of(v.got[i][k]) end
  end
  return metrics.macro_f1(metrics.confusion(gold, got, n))
end

Tags.score = {
  f1 = function(v) return over(2 * v:sum 'found', v:sum 'answered' + v:sum 'there') end,
  precision = function(v) return over(v:sum 'found', v:sum 'answered') end,
  recall = function(v) return over(v:sum 'found', v:sum 'there') end,
  accuracy = function(v) return over(v:sum 'right', v:sum 'words') end,
  loss = function(v) return over(v:sum 'nll', v:sum 'seen') end,
  macro_f1 = macro_tags,
}

local views = { classify = view_labels, regress = view_scores, tag = view_tags }

-- What a set is scored by: its task, or for bare labels the accuracy.
local function task_of(set)
  return set.task or { output = 'classify', metric = 'accuracy', metrics = { 'accuracy' } }
end

local function view_of(set, out) return views[task_of(set).output](set, out) end

-- -- scores -------------------------------------------------------------------------------------------------------

--- The scores of one grouping's outputs: name -> value, for every metric of the set's task (set.task: see task.open).
function M.metrics(set, out)
  local v, r = view_of(set, out), {}
  for _, name in ipairs(task_of(set).metrics) do r[name] = v.score[name](v) end
  return r
end

-- The main metric of a choice of examples: int32[n].
local function score_of(viewed, metric, index, n)
  local part = some(viewed, index, n)
  return part.score[metric](part)
end

-- Main metric of each slot, over all groupings.
local function by_slot(viewed, outs, metric, N)
  local r = {}
  for s = 0, N - 1 do
    local sum, n = 0, 0
    for g, out in ipairs(outs) do
      local index, k = i32(math.max(out.n, 1)), 0
      for i = 0, out.n - 1 do
        if out.slot[i] == s then index[k], k = i, k + 1 end
      end
      if k > 0 then
        local value = score_of(viewed[g], metric, index, k)
        if value == value then sum, n = sum + value * k, n + k end
      end
    end
    r[s + 1] = sum / n                             -- not a number where nothing is defined
  end
  return r
end

local edges = { 8, 16, 32, 64, 128, math.huge }

-- Main metric by length in tokens, over all groupings: a list of { from, to (nil: and more), n, value }.
local function by_length(viewed, set, metric)
  local r, from = {}, 1
  for _, to in ipairs(edges) do
    local index, n = i32(math.max(set.n, 1)), 0
    for i = 0, set.n - 1 do
      local size = set.offset[i + 1] - set.offset[i]
      if size >= from and size <= to then index[n], n = i, n + 1 end
    end
    if n > 0 then
      local values = {}
      for g, v in ipairs(viewed) do values[g] = score_of(v, metric, index, n) end
      r[#r + 1] = { from = from, to = to < math.huge and to or nil, n = n, value = mean(values) }
    end
    from = to + 1
  end
  return r
end

-- How often two groupings give a text (for tags: a word) different answers; for scores, their mean distance.
local function flips(viewed)
  local sum, n = 0, 0
  for a = 1, #viewed do
    for b = a + 1, #viewed do
      local x, y = viewed[a], viewed[b]
      for i = 1, #x.got do
        local p, q = x.got[i], y.got[i]
        if type(p) == 'table' then
          for k = 1, #p do sum, n = sum + (p[k] ~= q[k] and 1 or 0), n + 1 end
        elseif x.K then
          sum, n = sum + (p ~= q and 1 or 0), n + 1
        else
          sum, n = sum + math.abs(p - q), n + 1
        end
      end
    end
  end
  return n > 0 and sum / n or nil
end

--- Mean, standard deviation (of these values themselves: divided by their number), least and most of a list, as every
--- score over groupings is told. Not numbers where the list is empty or holds an undefined value.
function M.spread(values)
  local m, square = mean(values), 0
  if m ~= m then return m, m, m, m end
  for _, v in ipairs(values) do square = square + (v - m) ^ 2 end
  return m, math.sqrt(square / #values), math.min(unpack(values)), math.max(unpack(values))
end

local function interval(viewed, metric, n, o)
  local low, high = metrics.bootstrap(n, function(index)
    local values = {}
    for g, v in ipairs(viewed) do values[g] = score_of(v, metric, index, n) end
    return mean(values)
  end, o)
  if low ~= low then return nil end
  return { low = low, high = high, level = 0.95, samples = o.samples }
end

--- Scores `groupings` random groupings. o: as M.outputs, and { ensemble (slots a text is averaged over), bootstrap
--- (samples of the interval; none: 0), detail (by slot, by length, per class; default true), first (number of the first
--- grouping, 1) }. Returns
--- { metric (its name), value, std, min, max (over the groupings), groupings = { value, .. }, metrics = name -> mean,
---   accuracy (where the task has it), scored, total, seconds,
---   per_index = { value of slot 1, .. }, by_length = { { from, to, n, value }, .. },
---   flips (how often the answer changes with the neighbours; for scores, how far), interval = { low, high },
---   confusion, per_class (labels), entities (tags), tables = { grouping = 1, value } (the grouping that those three
---   are of, and its score), label_names }. An undefined score is not a number, and has no interval.
function M.score(model, set, o, groupings)
  local t = task_of(set)
  local viewed, outs, values, sums = {}, {}, {}, {}
  local r = { metric = t.metric, total = set.n, scored = set.n, seconds = 0, groupings = values, metrics = sums,
              label_names = t.label_names }
  for g = 1, groupings do
    local one = setmetatable({ grouping = GROUPING + (o.first or 1) - 1 + g }, { __index = o })
    local out = (o.ensemble or 1) > 1 and M.ensemble(model, set, one, o.ensemble) or M.outputs(model, set, one)
    local v, scored = view_of(set, out), 0
    for i = 0, set.n - 1 do
      if out.slot[i] >= 0 then scored = scored + 1 end
    end
    viewed[g], outs[g], r.scored, r.seconds = v, out, math.min(r.scored, scored), r.seconds + out.seconds
    for _, name in ipairs(t.metrics) do
      local value = v.score[name](v)
      sums[name] = (sums[name] or 0) + value / groupings
      if name == t.metric then values[g] = value end
    end
  end
  r.value, r.std, r.min, r.max = M.spread(values)
  r.accuracy = sums.accuracy
  if o.detail == false then return r end
  r.per_index, r.flips = by_slot(viewed, outs, t.metric, o.group), flips(viewed)
  if set.offset then r.by_length = by_length(viewed, set, t.metric) end
  if (o.bootstrap or 0) > 0 then r.interval = interval(viewed, t.metric, set.n, { samples = o.bootstrap }) end
  if t.output == 'classify' then
    r.confusion = viewed[1]:counts()
    r.per_class = metrics.per_class(r.confusion)
  elseif viewed[1].entities then
    r.entities = metrics.entities(viewed[1].gold, viewed[1].got)
  end
  if r.confusion or r.entities then r.tables = { grouping = 1, value = values[1] } end
  return r
end

-- -- the published protocol ----------------------------------------------------------------------------------------

--- How many of `n` examples the published scripts score at N: they drop the examples that fill no loader batch, of 24
--- rows (N < 20), 20 (N < 40) or 16; at N = 1 they score all.
function M.paper_count(n, N)
  if N == 1 then return n end
  local size = N * (N < 20 and 24 or N < 40 and 20 or 16)
  return math.floor(n / size) * size
end

--- The score by the published protocol: the first examples, in the order of the data, the tail dropped:
--- { metric, value (nil where nothing is left), scored, total }.
function M.paper(model, set, o)
  local r = { metric = task_of(set).metric, scored = M.paper_count(set.n, o.group), total = set.n }
  if r.scored == 0 then return r end
  local part = setmetatable({ n = r.scored }, { __index = set })
  local v = view_of(part, M.outputs(model, part, setmetatable({ order = 'data' }, { __index = o })))
  r.value = v.score[r.metric](v)
  return r
end

-- -- retrieval -----------------------------------------------------------------------------------------------------

--- Retrieval accuracy on a set of texts, over all positions of one random grouping: one random instance per position,
--- or with o.all all N of them. Returns accuracy, positions asked.
function M.retrieval(model, set, o)
  local batches = batches_of(set, setmetatable({ grouping = GROUPING }, { __index = o }))
  local right, asked = 0, 0
  each(model, batches, function(batch, k)
    return model:prepare(batch, { seed = GROUPING, step = k, retrieval = o.all and o.group or 1 })
  end, function(_, answers)
    local hits = answers.hits:host()
    right, asked = right + hits[0], asked + hits[1]
  end)
  return right / math.max(asked, 1), asked
end

return M
