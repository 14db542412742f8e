-- metrics.lua -- scores of answers against the truth: pure functions on lists, equal to scikit-learn, SciPy, seqeval.
-- Labels are whole numbers from 0; tags are strings. An undefined precision, recall, F1 or Matthews coefficient is 0;
-- an undefined correlation (a constant list) is not a number. GLUE's metrics: Wang et al. 2019, table 1.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local C = core.C

local M = {}

local function same_length(name, gold, got)
  if #gold ~= #got then error(('%s: %d answers, expected %d as in gold'):format(name, #got, #gold), 3) end
  if #gold == 0 then error(name .. ': the lists are empty, expected at least one answer', 3) end
end

local function ratio(a, b) return b > 0 and a / b or 0 end

-- -- classification --------------------------------------------------------------------------------------------

--- Part of the answers that are right.
function M.accuracy(gold, got)
  same_length('accuracy', gold, got)
  local right = 0
  for i = 1, #gold do
    if gold[i] == got[i] then right = right + 1 end
  end
  return right / #gold
end

--- counts[g + 1][p + 1]: how often label g was answered with p. classes: number of labels.
function M.confusion(gold, got, classes)
  same_length('confusion', gold, got)
  local counts = {}
  for g = 1, classes do
    counts[g] = {}
    for p = 1, classes do counts[g][p] = 0 end
  end
  for i = 1, #gold do
    local row = counts[gold[i] + 1]
    row[got[i] + 1] = row[got[i] + 1] + 1
  end
  return counts
end

-- Row sums, column sums, trace and total of a confusion matrix.
local function sums(counts)
  local rows, columns, trace, total = {}, {}, 0, 0
  for g = 1, #counts do
    for p = 1, #counts do
      local k = counts[g][p]
      rows[g], columns[p], total = (rows[g] or 0) + k, (columns[p] or 0) + k, total + k
    end
    trace = trace + counts[g][g]
  end
  return rows, columns, trace, total
end

local function prf(right, answered, there)
  return { precision = ratio(right, answered), recall = ratio(right, there), f1 = ratio(2 * right, answered + there),
           support = there }
end

--- For each label { precision, recall, f1, support }, from a confusion matrix.
function M.per_class(counts)
  local rows, columns = sums(counts)
  local out = {}
  for k = 1, #counts do out[k] = prf(counts[k][k], columns[k], rows[k]) end
  return out
end

--- F1 of label 1 of two labels (GLUE's F1), from a confusion matrix.
function M.f1(counts) return M.per_class(counts)[2].f1 end

--- Mean of the labels' F1, over the labels that occur in gold or among the answers.
function M.macro_f1(counts)
  local rows, columns = sums(counts)
  local sum, n = 0, 0
  for k, c in ipairs(M.per_class(counts)) do
    if rows[k] + columns[k] > 0 then sum, n = sum + c.f1, n + 1 end
  end
  return ratio(sum, n)
end

--- Matthews correlation coefficient, for any number of labels (Gorodkin 2004), from a confusion matrix.
function M.matthews(counts)
  local rows, columns, trace, total = sums(counts)
  local both, gold, got = 0, 0, 0
  for k = 1, #counts do
    both, gold, got = both + rows[k] * columns[k], gold + rows[k] ^ 2, got + columns[k] ^ 2
  end
  return ratio(trace * total - both, math.sqrt((total ^ 2 - got) * (total ^ 2 - gold)))
end

--- Expected calibration error: |confidence - accuracy| averaged over `bins` (15) equal bins of confidence, weighted by
--- their answers (Guo et al. 2017). confidence: of each answer, 0 .. 1; right: list of booleans.
function M.ece(confidence, right, bins)
  same_length('ece', right, confidence)
  bins = bins or 15
  local hits, sum = {}, {}
  for b = 1, bins do hits[b], sum[b] = 0, 0 end
  for i = 1, #right do
    local b = math.max(1, math.min(bins, math.ceil(confidence[i] * bins)))
    sum[b], hits[b] = sum[b] + confidence[i], hits[b] + (right[i] and 1 or 0)
  end
  local error = 0
  for b = 1, bins do error = error + math.abs(sum[b] - hits[b]) end
  return error / #right
end

-- -- regression --------------------------------------------------------------------------------------------------

--- Mean squared difference.
function M.mse(gold, got)
  same_length('mse', gold, got)
  local sum = 0
  for i = 1, #gold do sum = sum + (gold[i] - got[i]) ^ 2 end
  return sum / #gold
end

--- Pearson's correlation; not a number where one list is constant.
function M.pearson(gold, got)
  same_length('pearson', gold, got)
  local n, x, y = #gold, 0, 0
  for i = 1, n do x, y = x + gold[i], y + got[i] end
  x, y = x / n, y / n
  local xx, yy, xy = 0, 0, 0
  for i = 1, n do
    local a, b = gold[i] - x, got[i] - y
    xx, yy, xy = xx + a * a, yy + b * b, xy + a * b
  end
  return xy / math.sqrt(xx * yy)
end

--- Ranks from 1; equal values share the mean of their ranks.
function M.ranks(values)
  local order, out = {}, {}
  for i = 1, #values do order[i] = i end
  table.sort(order, function(a, b) return values[a] < values[b] end)
  local from = 1
  while from <= #order do
    local to = from
    while to < #order and values[order[to + 1]] == values[order[from]] do to = to + 1 end
    for k = from, to do out[order[k]] = (from + to) / 2 end
    from = to + 1
  end
  return out
end

--- Spearman's rank correlation, ties averaged.
function M.spearman(gold, got)
  same_length('spearman', gold, got)
  return M.pearson(M.ranks(gold), M.ranks(got))
end

-- -- entities ------------------------------------------------------------------------------------------------------

-- 'B-PER' -> { 'B', 'PER' }. Remembered: there are few tags.
local parts = setmetatable({}, { __index = function(t, tag)
  local v = { tag:sub(1, 1), tag:match '^[^-]*%-(.*)$' or tag }
  rawset(t, tag, v)
  return v
end })

--- Whether tags name entities: each is O, or B, I, E or S with a type.
function M.is_entity_scheme(tags)
  local typed = false
  for _, tag in ipairs(tags) do
    if tag ~= 'O' then
      if not tag:find '^[BIES]%-.' then return false end
      typed = true
    end
  end
  return typed
end

--- The entities of a sentence's tags, a list of { type, first, last }: by the rule of conlleval and seqeval, that
--- reads IOB1, BIO and IOBES alike and gives malformed sequences a meaning. An entity begins at a tag that is not O
--- when it is B or S, or follows O, E, S or another type.
function M.spans(tags)
  local out, letter, kind = {}, 'O', nil
  for i = 1, #tags do
    local p = parts[tags[i]]
    local begins = p[1] == 'B' or p[1] == 'S' or letter == 'O' or letter == 'E' or letter == 'S' or p[2] ~= kind
    letter, kind = p[1], p[2]
    if letter ~= 'O' and begins then
      out[#out + 1] = { kind, i, i }
    elseif letter ~= 'O' then
      out[#out][3] = i
    end
  end
  return out
end

-- Counts of one sentence, added to totals: type -> { right, answered, there }.
local function count(totals, gold, got)
  if #gold ~= #got then error(('entities: %d tags, expected %d as in gold'):format(#got, #gold), 3) end
  local function of(kind)
    totals[kind] = totals[kind] or { 0, 0, 0 }
    return totals[kind]
  end
  local there = {}
  for _, s in ipairs(M.spans(gold)) do
    local t = of(s[1])
    t[3] = t[3] + 1
    there[s[1] .. ' ' .. s[2] .. ' ' .. s[3]] = true
  end
  for _, s in ipairs(M.spans(got)) do
    local t = of(s[1])
    t[2] = t[2] + 1
    if there[s[1] .. ' ' .. s[2] .. ' ' .. s[3]] then t[1] = t[1] + 1 end
  end
end

--- Counts of one sentence over all types: entities found exactly, answered, there.
function M.entity_counts(gold, got)
  local totals, right, answered, there = {}, 0, 0, 0
  count(totals, gold, got)
  for _, t in pairs(totals) do right, answered, there = right + t[1], answered + t[2], there + t[3] end
  return right, answered, there
end

--- Entity scores over sentences (lists of lists of tags): { precision, recall, f1, support, types = type -> the same },
--- exact boundaries and type, micro average (seqeval's default).
function M.entities(gold, got)
  same_length('entities', gold, got)
  local totals, right, answered, there = {}, 0, 0, 0
  for i = 1, #gold do count(totals, gold[i], got[i]) end
  local types = {}
  for kind, t in pairs(totals) do
    types[kind] = prf(t[1], t[2], t[3])
    right, answered, there = right + t[1], answered + t[2], there + t[3]
  end
  local out = prf(right, answered, there)
  out.types = types
  return out
end

-- -- comparing --------------------------------------------------------------------------------------------------------

-- Metrics of which less is better.
local less = { loss = true, ece = true, mse = true }

--- Whether value a of a metric is better than b; what is not a number is worse than any number.
function M.better(metric, a, b)
  if a ~= a then return false end
  if b ~= b then return true end
  if less[metric] then return a < b end
  return a > b
end

-- -- uncertainty ---------------------------------------------------------------------------------------------------

local SITE = 701

--- Percentile bootstrap: low and high ends of the 95 % interval of statistic(index), where index is an int32 array of
--- n numbers below n, drawn with replacement (Efron 1979). o: { samples = 1000, seed = 0, level = 0.95 }. Draws come
--- from Philox: the same seed gives the same interval.
function M.bootstrap(n, statistic, o)
  o = o or {}
  local samples, level = o.samples or 1000, o.level or 0.95
  local index, values = ffi.new('int32_t[?]', n), {}
  local bits, counter, key = ffi.new 'uint32_t[4]', ffi.new 'uint32_t[4]', ffi.new 'uint32_t[2]'
  key[0] = o.seed or 0
  for s = 1, samples do
    counter[2], counter[3] = SITE, s
    for i = 0, n - 1 do
      if i % 4 == 0 then
        counter[0] = i / 4
        C.dm_philox(bits, counter, key)
      end
      index[i] = math.floor(bits[i % 4] / 4294967296 * n)
    end
    local v = statistic(index)
    if v == v then values[#values + 1] = v end
  end
  if #values == 0 then return 0 / 0, 0 / 0 end
  table.sort(values)
  local function at(q)
    local place = 1 + q * (#values - 1)
    local low = math.floor(place)
    return values[low] + (place - low) * (values[math.min(low + 1, #values)] - values[low])
  end
  return at((1 - level) / 2), at((1 + level) / 2)
end

return M
