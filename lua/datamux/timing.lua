-- timing.lua -- how fast a model answers: the network alone, and from a file of JSON lines to JSON lines.
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local json = require 'datamux.json'
local predict = require 'datamux.predict'
local sys = require 'datamux.sys'
local C = core.C

local M = {}

--- Mean and standard deviation of a list.
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

-- M.network for images; a batch is `rows` mixed images.
local function images_network(model, set, o)
  local options, rates, ms = require('datamux.saved').options(model), {}, {}
  options.rows = o.rows or options.rows
  local batches = set:batches { rows = options.rows, group = model.n, shuffle = false, drop_last = false }
  for r = 0, o.repeats do
    local spent = 0
    for k = 0, batches:steps_per_epoch() - 1 do
      local batch, t = batches:batch(0, k), C.dm_clock()
      model:logits(batch)
      t = C.dm_clock() - t
      spent = spent + t
      if r > 0 then ms[#ms + 1] = 1000 * t end
    end
    if r > 0 then rates[r] = set.n / spent end
  end
  return rates, ms, 1, options.rows
end

--- Times the network alone on a list of texts, o.repeats times after one that warms up. o: { repeats, rows (in a batch,
--- nil: as predict has it) }. Returns texts per second of each measurement, ms of each batch, tokens of a padded text,
--- rows.
function M.network(model, list, o)
  if model.images then return images_network(model, list, o) end
  local p, rates, batches = predict.new(model, { rows = o.rows }), {}, {}
  local run = model.logits
  local spent, timing = 0, false
  function model.logits(self, batch)                 -- an instance's own method, above its class's
    local t = C.dm_clock()
    local v, k = run(self, batch)
    t = C.dm_clock() - t
    spent = spent + t
    if timing then batches[#batches + 1] = 1000 * t end
    return v, k
  end
  for r = 0, o.repeats do
    spent, timing = 0, r > 0
    for k, t in ipairs(list) do
      if type(t.text) == 'table' then p:add_words(t.text) else p:add(t.text, t.pair) end
      if p:full() or k == #list then
        p:score()
        p:clear()
      end
    end
    if r > 0 then rates[r] = #list / spent end
  end
  model.logits = nil
  return rates, batches, p.figures.places / p.figures.texts, p.rows
end

-- M.whole_way for images: from their IDX file, all of it, to lines.
local function images_whole_way(model, set, o)
  local rates = {}
  for r = 0, o.repeats do
    local t = C.dm_clock()
    local n = require('datamux.predict_images').run(model, { files = { set.path }, output = 'text', rows = o.rows,
      sink = function() end })
    if r > 0 then rates[r] = n / (C.dm_clock() - t) end
  end
  return rates
end

--- Times the way from a file of JSON lines to JSON lines, nothing left out but the start of the process: texts per
--- second of each measurement. o: as M.network's.
function M.whole_way(model, list, o)
  if model.images then return images_whole_way(model, list, o) end
  local lines, rates, path = {}, {}, os.tmpname()
  for k, t in ipairs(list) do
    local text = type(t.text) == 'table' and json.list(t.text) or t.text
    lines[k] = json.encode { id = k, text = text, pair = t.pair }
  end
  sys.write(path, table.concat(lines, '\n') .. '\n')
  local ok, why = pcall(function()
    for r = 0, o.repeats do
      local t = C.dm_clock()
      require('datamux.filter').run(model, { files = { path }, input = 'jsonl', output = 'same', text = 'text',
        pair = model.pairs and 'pair' or nil, pairs = model.pairs, rows = o.rows, on_error = 'fail', flush = 0,
        sink = function() end })
      if r > 0 then rates[r] = #list / (C.dm_clock() - t) end
    end
  end)
  os.remove(path)
  if not ok then error(why, 0) end
  return rates
end

return M
