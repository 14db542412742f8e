-- score_set.lua -- labelled data for a finished model: a split of its task or a file, encoded by the model's tokenizer.
-- Labels are matched by name, so that another order of labels is no matter.
local errors = require 'datamux.errors'
local ffi = require 'ffi'
local conll = require 'datamux.data.conll'
local encode = require 'datamux.data.encode'
local glue = require 'datamux.data.glue'
local labelled = require 'datamux.data.labelled'
local records = require 'datamux.data.records'
local sys = require 'datamux.sys'
local task = require 'datamux.data.task'

local M = {}

-- Number of each of the model's labels by its name in lower case, and by its number as text.
local function numbers(labels)
  local by_name, by_number = {}, {}
  for i, name in ipairs(labels) do by_name[name:lower()], by_number[tostring(i - 1)] = i - 1, i - 1 end
  return by_name, by_number
end

-- Where label k (from 0) of the set first stands, and how many more lines have it.
local function place(set, k)
  local first, more = nil, 0
  for i = 0, set.labels and set.n - 1 or -1 do
    if set.labels[i] == k then
      if first then more = more + 1 else first = set.lines and set.lines[i + 1] end
    end
  end
  return first and ('%s:%d (and %d more lines)'):format(set.path, first, more) or set.path
end

-- Where the set's labels stand among the model's: map[k] for label k (from 0) of the set; notice: a sentence where they
-- are named otherwise. Raises E301.
local function match(model, set)
  local by_name, by_number = numbers(model.labels)
  local map, moved, numbered = {}, false, true
  for _, name in ipairs(set.label_names) do numbered = numbered and by_number[name] ~= nil end
  for k, name in ipairs(set.label_names) do
    map[k - 1] = by_name[name:lower()] or numbered and by_number[name]
    if not map[k - 1] then
      errors.raise('E301', { what = ("label '%s' is not one of the model's labels {%s}"):format(name,
        table.concat(model.labels, ', ')), where = place(set, k - 1), near = errors.nearest(name, model.labels),
        lines = { 'labels seen: ' .. table.concat(set.label_names, ', ') } })
    end
    moved = moved or map[k - 1] ~= k - 1 or name ~= model.labels[k]
  end
  local notice = moved and ("labels matched by %s: the data has %s, the model %s"):format(
    numbered and not by_name[set.label_names[1]:lower()] and 'number' or 'name', table.concat(set.label_names, ', '),
    table.concat(model.labels, ', ')) or nil
  return map, notice
end

-- Gives the set the model's numbers of labels.
local function renumber(model, set)
  local map, notice = match(model, set)
  if set.labels then
    local out = ffi.new('int32_t[?]', set.n)
    for i = 0, set.n - 1 do out[i] = map[set.labels[i]] end
    set.labels = out
  end
  for _, list in ipairs(set.gold or {}) do
    for k = 1, #list do list[k] = map[list[k]] end
  end
  return notice
end

-- A function that gives the column that the model learned its text, pair or label from, where the file has it too.
local function learned(model, path, format)
  local columns, source = task.columns(model.config, format), records.open(path, { format = format, keep = true })
  local first = source:next()
  return function(what)
    local column = columns[what]
    if format == 'conll' then return (column == 'last' or tonumber(column)) and column end
    return first and not first.bad and records.find(source:names(first), column)
  end
end

-- The set in a file of a person's own; columns that are not named are those of the model's task.
local function read_file(model, path, o)
  local format = o.input or records.format_of(path) or (model.config.own or {}).format
  local kinds = model.output == 'tag' and { conll = true, jsonl = true } or { tsv = true, csv = true, jsonl = true }
  if not kinds[format or ''] then
    errors.raise('E200', { what = ("%s: its format is '%s', expected %s for a model whose answers are of kind '%s'")
      :format(path, tostring(format), model.output == 'tag' and 'conll or jsonl' or 'tsv, csv or jsonl', model.output),
      fix = model.output == 'tag' and '--in conll' or '--in tsv' })
  end
  local column = learned(model, path, format)
  if model.output == 'tag' then
    return conll.read(path, { format = format, text = o.text or column 'text' or (format == 'conll' and 1 or 'tokens'),
      label = o.label or column 'label' or (format == 'conll' and 'last' or 'tags') })
  end
  local pair = o.pair or model.pairs and column 'pair'
  if model.pairs and not pair then
    errors.raise('E302', { what = path .. ': no --pair is given; this model reads two texts', fix = '--pair COLUMN' })
  end
  return labelled.read(path, { output = model.output, format = format, text = o.text or column 'text' or 'sentence',
    pair = pair, label = o.label or column 'label' or 'label' })
end

-- A split of the model's own task, and its name. others: what else may be named, for messages.
local function own_split(model, data, others)
  local splits, name = task.splits(model.config), model.config.task
  local there = #splits == 0                                          -- task.split says why
  for _, split in ipairs(splits) do there = there or split == data end
  if there then return task.split(model.config, data, model.labels).set, ('%s of %s'):format(data, name) end
  errors.raise('E303', { what = ("there is no '%s', expected a split of %s (%s), %s"):format(data,
    name == 'own' and 'the model\'s task' or name, table.concat(splits, ', '), others),
    near = errors.nearest(data, splits),
    fix = ('datamux eval %s %s'):format(sys.word(model.path), errors.nearest(data, splits) or 'dev') })
end

-- The set as read, and its name.
local function read(model, data, o)
  local name, split = data:match '^glue/([%w_]+):(%w+)$'
  if name and not glue.tasks[name] then
    errors.raise('E219', { what = ("'%s' is no GLUE task"):format(name), near = errors.nearest(name, glue.names()) })
  end
  if name then return glue.read(name, split), data end
  if sys.kind(data) == 'file' then return read_file(model, data, o), data end
  return own_split(model, data, 'a file or glue/TASK:SPLIT')
end

-- A split of the model's own task of images, or an IDX file whose labels o.label names.
local function images(model, data, o)
  local set, name
  if sys.kind(data) == 'file' then
    if not o.label then
      errors.raise('E302', { what = data .. ': no --label is given', fix = '--label FILE, the IDX file of its labels' })
    end
    set, name = require('datamux.predict_images').read(model, data, o.label), data
  else
    set, name = own_split(model, data, 'an IDX file')
  end
  set.blocks = model.config.eval.blocks
  return set, name
end

--- An encoded set (see encode.set; of images, see data/images.lua) with task and name, to score `model` (see
--- saved.load) on. data: 'dev', 'train' or 'test' of the model's own task, 'glue/TASK:SPLIT', or a file; o: { text,
--- pair, label (columns; default: those of its own task), input (format) }. notices: a list of sentences. Raises E301
--- for labels that the model has not, E302, E303 as the readers do.
function M.open(model, data, o)
  local set, name = (model.images and images or read)(model, data, o)
  if not (set.labels or set.scores or set.gold) then
    errors.raise('E304', { what = ('%s has no labels: it can be predicted, not scored'):format(data),
      fix = ('datamux predict %s %s'):format(sys.word(model.path),
        data == 'test' and ('glue/%s:test'):format(model.config.task) or data) })
  end
  if (model.output == 'regress') ~= (set.scores ~= nil) or (model.output == 'tag') ~= (set.gold ~= nil) then
    errors.raise('E304', { what = ("%s does not suit the model, whose answers are of kind '%s'"):format(data,
      model.output), fix = 'name data as the model reads them: datamux model show ' .. sys.word(model.path) })
  end
  local notices, out = {}, set
  if not model.images and model.output ~= 'regress' then notices[1] = renumber(model, set) end
  notices[#notices + 1] = conll.converted(set.scheme)
  if not model.images then out = encode.set(model.tokenizer, set, model.config.data.length) end
  local metrics = task.metrics(model.output, model.labels)
  local wanted = model.config.eval.metric
  local metric = metrics[1]
  for _, m in ipairs(metrics) do
    if m == wanted then metric = m end
  end
  out.task = { name = name, output = model.output, label_names = model.labels, metrics = metrics, metric = metric,
               foreign = sys.kind(data) == 'file' }
  out.name, out.notices = name, notices
  return out
end

return M
