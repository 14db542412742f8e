-- timing.lua -- how fast a model answers: the network alone, and from a file of JSON lines to JSON lines.
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local json = require 'datamux.json'
local predict = require 'datamux.predict'
local sys = require 'datamux.sys'
local C = core.C

local M = {}

--- Mean and standard deviation of measurements of speed, a sample of what could be measured (divided by one less than
--- their number; scores over groupings: evaluate.spread).
function M.spread(list)
  local mean, square = 0, 0
  for _, v in ipairs(list) do mean = mean + v / #list end
  for _, v in ipairs(list) do square = square + (v - mean) ^ 2 end
  return mean, math.sqrt(square / math.max(#list - 1, 1))
end

--- What is timed: o.texts texts { text, pair } of the model's dev set, or of the lines of a file (o.data), again from
--- the start where there are fewer. Of a model of images: the set of the first o.texts images.
function M.texts(model, o)
  if model.images then
    local set = o.data and require('datamux.predict_images').read(model, o.data)
      or require('datamux.data.task').split(model.config, 'dev', model.labels).set
    set.n = math.min(set.n, o.texts)
    return set
  end
  local reader, list = require 'datamux.data.reader', {}
  local texts, seconds, words
  if o.data then
    texts = {}
    for line in reader.lines(o.data) do texts[#texts + 1] = line end
  else
    local set = require('datamux.data.task').split(model.config, 'dev', model.labels).set
    texts, seconds, words = set.texts, set.pairs, set.words
  end
  local count = #(words or texts)
  if count == 0 then errors.raise('E306', { what = o.data .. ': no texts in it' }) end
  for k = 1, o.texts do
    local i = (k - 1) % count + 1
    list[k] = { text = words and words[i] or texts[i], pair = model.pairs and (seconds or texts)[i] or nil }
    if model.output == 'tag' and not words then list[k].text = { texts[i] } end
  end
  return list
end

-- -- one model, measured again and again: so that several can take turns ----------------------------------------------

local Meter = {}
Meter.__index = Meter

--- What measures a model on a list of texts (see texts). o: { rows (in a batch, nil: as predict has it) }. Returns
--- { rates (texts per second of the network alone), ms (of each batch), whole_rates (texts per second of the whole
--- way), length (tokens of a padded text), rows }, which network and whole add to.
function M.meter(model, list, o)
  local self = setmetatable({ model = model, list = list, rates = {}, ms = {}, whole_rates = {}, asked = o.rows,
    rows = o.rows, length = 1 }, Meter)
  if model.images then
    local options = require('datamux.saved').options(model)
    self.rows = o.rows or options.rows
    self.batches = list:batches { rows = self.rows, group = model.n, shuffle = false, drop_last = false }
  else
    self.predictor = predict.new(model, { rows = o.rows })
    self.rows = self.predictor.rows
  end
  return self
end

-- Seconds of each batch of images.
local function each_batch(self, note)
  for k = 0, self.batches:steps_per_epoch() - 1 do
    local batch, t = self.batches:batch(0, k), C.dm_clock()
    self.model:logits(batch)
    note(C.dm_clock() - t)
  end
  return self.list.n
end

-- Seconds of each batch of texts.
local function each_window(self, note)
  local p, model, list = self.predictor, self.model, self.list
  local run = model.logits
  function model.logits(m, batch)                    -- an instance's own method, above its class's
    local t = C.dm_clock()
    local v, k = run(m, batch)
    note(C.dm_clock() - t)
    return v, k
  end
  for k, t in ipairs(list) do
    if type(t.text) == 'table' then p:add_words(t.text) else p:add(t.text, t.pair) end
    if p:full() or k == #list then
      p:score()
      p:clear()
    end
  end
  model.logits = nil
  self.length = p.figures.places / p.figures.texts
  return #list
end

--- Times the network alone, once over all texts. warm: only to warm up, not counted.
function Meter:network(warm)
  local spent = 0
  local n = (self.batches and each_batch or each_window)(self, function(seconds)
    spent = spent + seconds
    if not warm then self.ms[#self.ms + 1] = 1000 * seconds end
  end)
  if not warm then self.rates[#self.rates + 1] = n / spent end
end

-- The texts as lines of JSON.
local function lines_of(list)
  local lines = {}
  for k, t in ipairs(list) do
    local text = type(t.text) == 'table' and json.list(t.text) or t.text
    lines[k] = json.encode { id = k, text = text, pair = t.pair }
  end
  return table.concat(lines, '\n') .. '\n'
end

--- Times the way from a file of JSON lines to JSON lines, nothing left out but the start of the process, once over all
--- texts; of images, from their IDX file, all of it, to lines. warm: only to warm up, not counted.
function Meter:whole(warm)
  local model, list, n, t = self.model, self.list, #self.list, C.dm_clock()
  local function nothing() end
  if self.batches then
    n = require('datamux.predict_images').run(model, { files = { list.path }, output = 'text', rows = self.asked,
      sink = nothing })
    t = C.dm_clock() - t
  else
    local path = os.tmpname()
    self.lines = self.lines or lines_of(list)
    sys.write(path, self.lines)
    t = C.dm_clock()
    local ok, why = pcall(require('datamux.filter').run, model, { files = { path }, input = 'jsonl', output = 'same',
      text = 'text', pair = model.pairs and 'pair' or nil, pairs = model.pairs, rows = self.asked, on_error = 'fail',
      flush = 0, sink = nothing })
    t = C.dm_clock() - t
    os.remove(path)
    if not ok then error(why, 0) end
  end
  if not warm then self.whole_rates[#self.whole_rates + 1] = n / t end
end

--- Times the network alone on a list of texts, o.repeats times after one that warms up. o: { repeats, rows (see meter)
--- }. Returns texts per second of each measurement, ms of each batch, tokens of a padded text, rows.
function M.network(model, list, o)
  local m = M.meter(model, list, o)
  for r = 0, o.repeats do m:network(r == 0) end
  return m.rates, m.ms, m.length, m.rows
end

--- Times the whole way, o.repeats times after one that warms up: texts per second of each measurement. o: as network's.
function M.whole_way(model, list, o)
  local m = M.meter(model, list, o)
  for r = 0, o.repeats do m:whole(r == 0) end
  return m.whole_rates
end

return M
