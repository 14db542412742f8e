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
--- the start where there are fewer.
function M.texts(model, o)
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

--- Times the network alone on a list of texts, o.repeats times after one that warms up. o: { repeats, rows (in a batch,
--- nil: as predict has it) }. Returns texts per second of each measurement, ms of each batch, tokens of a padded text,
--- rows.
function M.network(model, list, o)
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

--- Times the way from a file of JSON lines to JSON lines, nothing left out but the start of the process: texts per
--- second of each measurement. o: as M.network's.
function M.whole_way(model, list, o)
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
