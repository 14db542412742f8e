-- predict.lua -- from texts to answers: a window of texts becomes rows of N, the network is run, answers come back in
-- the order of the texts.
--
-- Texts are grouped by length inside a window of 64 groups, so that little is padding; the grouping is a function of
-- the texts alone. Places of the last row that no text is left for hold texts of the window again, and what the network
-- says there is averaged into their answers: so a model made for N answers one text as well as N.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local lines = require 'datamux.text.lines'
local scope = require 'datamux.scope'
local outputs = require 'datamux.models.outputs'
local C = core.C

local M = {}

local Predictor = {}
Predictor.__index = Predictor

local GROUPS = 64                -- groups of a window
local IGNORE = -100
local i32 = ffi.typeof 'int32_t[?]'
local real = ffi.typeof 'double[?]'

local function choice(name, value, list)
  for _, v in ipairs(list) do
    if v == value then return value end
  end
  errors.raise('E200', ("%s is '%s', expected one of %s"):format(name, tostring(value), table.concat(list, ', ')))
end

local function whole(name, value, low, high)
  if type(value) == 'number' and value == math.floor(value) and value >= low and value <= high then return value end
  errors.raise('E200', ('%s is %s, expected a whole number from %d to %d'):format(name, tostring(value), low, high))
end

--- A predictor that holds answers already, for best and probabilities: values (C array, logits [n, classes]).
function M.scored(model, values, classes)
  return setmetatable({ net = model, values = values, classes = classes }, Predictor)
end

--- A predictor for a loaded model. o: { group = 'length' | 'file' (strictly by position), ensemble = 1 (each text read
--- so many times, in other slots beside other texts, logits averaged), truncate = 'right' | 'left' | 'fail', rows = how
--- many in a batch, submitted (pairs with an empty text are answered too, as a GLUE submission needs) }. Raises (code
--- 2) for what does not fit.
function M.new(model, o)
  o = o or {}
  local n = model.n
  local rows = whole('rows', o.rows or (scope.about():find '^cuda' and GROUPS or 8), 1, GROUPS)
  local self = setmetatable({
    net = model, tok = model.tokenizer, tagging = model.output == 'tag', per_row = n, rows = rows, n = 0, total = 0,
    group = choice('group', o.group or 'length', { 'length', 'file' }),
    truncate = choice('truncate', o.truncate or 'right', { 'right', 'left', 'fail' }),
    ensemble = whole('ensemble', o.ensemble or 1, 1, n), capacity = GROUPS * n,
    longest = model.config.data.length, fixed = model.config.data.fixed, multiple = model.config.data.multiple,
    pad = model.tokenizer.pad, half = o.submitted ~= nil,
    figures = { texts = 0, truncated = 0, tokens = 0, places = 0, forward = 0 } }, Predictor)
  self.stride = math.max(1, math.floor(n / self.ensemble))
  local size = rows * n
  self.offset, self.order, self.slot = i32(self.capacity + 1), i32(self.capacity), i32(self.capacity)
  self.keys, self.weight = i32(self.capacity), i32(self.capacity)
  self.who = i32(size)
  self.batch = { N = n, length = i32(size), label = i32(size), index = i32(size), score = real(size) }
  for k = 0, size - 1 do self.batch.label[k] = IGNORE end
  self.room, self.ids, self.firsts = 0, nil, {}
  self.place_room, self.value_room = 0, 0
  return self
end

-- -- texts in --------------------------------------------------------------------------------------------------------

-- Room for `n` more ids.
local function reserve(self, n)
  local need = self.total + n
  if need <= self.room then return end
  self.room = math.max(2 * self.room, need, 4096)
  local wider = i32(self.room)
  if self.ids then ffi.copy(wider, self.ids, 4 * self.total) end
  self.ids = wider
end

-- Without the white space at its end, as the texts of a data set are read.
local function trimmed(text)
  local n = #text
  while n > 0 do
    local last = text:byte(n)
    if last ~= 32 and (last < 9 or last > 13) then break end
    n = n - 1
  end
  return text:sub(1, n)
end

local function encode(self, text, pair)
  local tok, max = self.tok, self.longest
  text, pair = trimmed(text), pair and trimmed(pair)
  if pair then return tok:encode_pair(text, pair, max) end
  if self.truncate ~= 'left' then return tok:encode(text, max) end
  local ids = tok:encode(text)
  local n = #ids
  if n <= max then return ids, false end
  for k = 2, max do ids[k] = ids[n - max + k] end
  for k = n, max + 1, -1 do ids[k] = nil end
  return ids, true
end

-- Appends ids to the window.
local function push(self, list, cut)
  if cut then
    if self.truncate == 'fail' then return false, ('the text has more than %d tokens'):format(self.longest) end
    self.figures.truncated = self.figures.truncated + 1
  end
  local n = #list
  reserve(self, n)
  local ids, at = self.ids, self.total
  for k = 1, n do ids[at + k - 1] = list[k] end
  self.total, self.n = at + n, self.n + 1
  self.offset[self.n] = self.total
  return true
end

--- Adds a text (pair: the second of two, for pair tasks) to the window. Returns true, or false and the reason where it
--- is refused (too long with truncate = 'fail', one text of a pair empty).
function Predictor:add(text, pair)
  assert(self.n < self.capacity, 'predict: the window is full')
  if pair and not self.half and (lines.empty(self.tok, text) or lines.empty(self.tok, pair)) then
    return false, ('the %s text of the pair has no tokens'):format(lines.empty(self.tok, text) and 'first' or 'second')
  end
  local list, cut = encode(self, text, pair)
  return push(self, list, cut)
end

--- Adds a sentence, a list of words, for a tagger (see tags). Returns as add does.
function Predictor:add_words(words)
  local list, first = lines.encode_words(self.tok, words, self.longest)
  local ok, why = push(self, list, first[#words] == 0)
  if ok then self.firsts[self.n] = first end
  return ok, why
end

--- Whether the window holds as many texts as it takes.
function Predictor:full() return self.n == self.capacity end

--- Empties the window.
function Predictor:clear() self.n, self.total = 0, 0 end

-- -- rows ------------------------------------------------------------------------------------------------------------

local function arrange(self)
  local n, offset = self.n, self.offset
  if self.group == 'file' then
    for i = 0, n - 1 do self.order[i] = i end
    return
  end
  for i = 0, n - 1 do self.keys[i] = offset[i + 1] - offset[i] end
  core.check(C.dm_order(self.order, self.keys, n, self.longest + 1))
end

local function padded(self, longest)
  if self.fixed then return self.longest end
  return math.min(math.max(math.ceil(longest / self.multiple) * self.multiple, 1), self.longest)
end

-- Puts `count` texts from place `from` of the order into the batch, as pass `e` has them: text number k of the batch
-- starts at (row g, slot s) and moves by s * e rows and e * stride slots, so that each pass gives it another slot and
-- other neighbours.
local function fill(self, from, count, e)
  local b, N, order, offset, who = self.batch, self.per_row, self.order, self.offset, self.who
  local B = math.ceil(count / N)
  local total, longest = B * N, 1
  for k = 0, total - 1 do
    local i = order[k < count and from + k or from + count - 1 - (k - count) % (from + count)]
    local g, s = math.floor(k / N), k % N
    local to = (g + s * e) % B * N + (s + e * self.stride) % N
    who[to], b.index[to] = i, k < count and i or -1
    local length = offset[i + 1] - offset[i]
    b.length[to] = length
    if length > longest then longest = length end
  end
  local S = padded(self, longest)
  if total * S > self.place_room then
    self.place_room = total * S
    b.ids_host, b.tags = i32(self.place_room), i32(self.place_room)
    for k = 0, self.place_room - 1 do b.tags[k] = IGNORE end
  end
  local ids, used = b.ids_host, 0
  for k = 0, total - 1 do
    local length = b.length[k]
    ffi.copy(ids + k * S, self.ids + offset[who[k]], 4 * length)
    for s = length, S - 1 do ids[k * S + s] = self.pad end
    used = used + length
  end
  b.B, b.S, b.n = B, S, count
  local f = self.figures
  f.tokens, f.places = f.tokens + used, f.places + total * S
  return total
end

-- Room for the window's answers: one a text, for taggers one a token; all zero.
local function clear_values(self)
  local need = (self.tagging and self.total or self.n) * self.classes
  if need > self.value_room then
    self.value_room = math.max(need, self.capacity * self.classes)
    self.values = real(self.value_room)
  end
  ffi.fill(self.values, 8 * need)
  ffi.fill(self.weight, 4 * self.n)
end

local function collect(self, values, total, first_pass)
  local K, out, weight, who, b = self.classes, self.values, self.weight, self.who, self.batch
  local places = b.at
  for k = 0, total - 1 do
    weight[who[k]] = weight[who[k]] + 1
    if first_pass and b.index[k] >= 0 then self.slot[b.index[k]] = k % self.per_row end
  end
  if places then
    for r = 0, b.answers - 1 do
      local row = math.floor(places[r] / b.S)
      local at = (self.offset[who[row]] + places[r] % b.S) * K
      for c = 0, K - 1 do out[at + c] = out[at + c] + values[r * K + c] end
    end
    return
  end
  for k = 0, total - 1 do
    local at = who[k] * K
    for c = 0, K - 1 do out[at + c] = out[at + c] + values[k * K + c] end
  end
end

local function average(self)
  local K, values, offset = self.classes, self.values, self.offset
  for i = 0, self.n - 1 do
    local from, to = i, i + 1
    if self.tagging then from, to = offset[i], offset[i + 1] end
    local w = 1 / self.weight[i]
    for k = from * K, to * K - 1 do values[k] = values[k] * w end
  end
end

--- Answers the window. Then: values (C array: logits [n, classes]; for taggers [tokens, classes]), classes, slot [n].
function Predictor:score()
  if self.n == 0 then return end
  arrange(self)
  local size, ready, clock = self.rows * self.per_row, false, C.dm_clock()
  for from = 0, self.n - 1, size do
    local count = math.min(size, self.n - from)
    for e = 0, self.ensemble - 1 do
      local total = fill(self, from, count, e)
      local values, classes = self.net:logits(self.batch)
      self.classes = classes
      if not ready then
        clear_values(self)
        ready = true
      end
      collect(self, values, total, e == 0)
    end
  end
  average(self)
  local f = self.figures
  f.texts, f.forward = f.texts + self.n, f.forward + C.dm_clock() - clock
end

-- -- answers out -----------------------------------------------------------------------------------------------------

--- Number of the best class (from 0) of answer i (from 0; for taggers the number of a token), and its probability.
function Predictor:best(i)
  local best, _, sum = outputs.best(self.values, i * self.classes, self.classes)
  return best, 1 / sum
end

--- Probabilities of answer i, as a list.
function Predictor:probabilities(i)
  local K, v, out = self.classes, self.values, {}
  local best, p = self:best(i)
  for k = 0, K - 1 do out[k + 1] = p * math.exp(v[i * K + k] - v[i * K + best]) end
  return out
end

--- Tags of sentence i (from 0), one a word: that of its first token; false for words that the cut left out.
function Predictor:tags(i)
  local out, first, labels = {}, self.firsts[i + 1], self.net.labels
  for w = 1, #first do
    out[w] = first[w] > 0 and labels[self:best(self.offset[i] + first[w] - 1) + 1]
  end
  return out
end

--- Answer i (from 0), as answers gives it.
function Predictor:answer(i)
  local slot = self.slot and self.slot[i] + 1
  if self.tagging then return { tags = self:tags(i), slot = slot } end
  if self.net.output == 'regress' then return { score = self.values[i], slot = slot } end
  local best, p = self:best(i)
  local scores = {}
  for k, v in ipairs(self:probabilities(i)) do scores[self.net.labels[k]] = v end
  return { label = self.net.labels[best + 1], score = p, scores = scores, slot = slot }
end

local function shown(v)
  return type(v) == 'string' and ('%q'):format(v) or type(v) == 'table' and 'a table' or tostring(v)
end

-- Whether v is a list of strings, of `n` where that is given.
local function strings(v, n)
  if type(v) ~= 'table' or n and #v ~= n then return false end
  for _, s in ipairs(v) do
    if type(s) ~= 'string' then return false end
  end
  return true
end

-- What a model reads, in words, and the test of it. A published model may have been trained on either.
local function reads(model)
  if model.output == 'tag' then return 'a list of words', strings end
  if model.pairs then return '{ a, b } of strings', function(v) return strings(v, 2) end end
  if model.data and model.data.published then
    return 'a string, or { a, b } of strings', function(v) return type(v) == 'string' or strings(v, 2) end
  end
  return 'a string', function(v) return type(v) == 'string' end
end

local function put(predictor, t)
  if predictor.tagging then return predictor:add_words(t) end
  if type(t) == 'table' then return predictor:add(t[1], t[2]) end
  return predictor:add(t)
end

--- Answers to a list of texts, in their order: { label, score (its probability), scores (by label), slot } each;
--- { score, slot } for regression. A model of pairs is given { a, b }, one that tags a list of words, for which it
--- answers { tags (one a word, false for words that the cut left out), slot }. o: see new.
function M.answers(model, texts, o)
  if type(texts) ~= 'table' then
    errors.raise('E200', ('texts is %s, expected a list of texts, as { %s }'):format(shown(texts), shown(texts)))
  end
  local what, is = reads(model)
  for i, t in ipairs(texts) do
    if not is(t) then errors.raise('E200', ('text %d is %s, expected %s'):format(i, shown(t), what)) end
  end
  local p, out = M.new(model, o), {}
  for i, t in ipairs(texts) do
    local ok, why = put(p, t)
    if not ok then errors.raise('E305', ('text %d: %s'):format(i, why)) end
    if p:full() or i == #texts then
      p:score()
      for k = 0, p.n - 1 do out[#out + 1] = p:answer(k) end
      p:clear()
    end
  end
  return out
end

return M
