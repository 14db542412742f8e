-- task.lua -- what a run learns: a task by its name or a person's own files, its sets, and how it is scored.
local cache = require 'datamux.data.cache'
local conll = require 'datamux.data.conll'
local errors = require 'datamux.errors'
local glue = require 'datamux.data.glue'
local images = require 'datamux.data.images'
local labelled = require 'datamux.data.labelled'
local metrics = require 'datamux.metrics'
local records = require 'datamux.data.records'
local synthetic = require 'datamux.data.synthetic'
local sys = require 'datamux.sys'

local M = {}

-- What can be scored, by kind of output. f1 of 'classify' is that of label 1 of two; of 'tag', that of entities.
local scored = {
  classify = { 'accuracy', 'f1', 'macro_f1', 'mcc', 'ece', 'loss' },
  regress = { 'pearson', 'spearman', 'mse' },
  tag = { 'f1', 'precision', 'recall', 'accuracy', 'macro_f1', 'loss' },
}
local usual = { classify = 'accuracy', regress = 'pearson', tag = 'f1' }

--- The metrics of a kind of output with these labels (names; nil: not known yet).
function M.metrics(output, labels)
  local out = {}
  local entities = output == 'tag' and (not labels or metrics.is_entity_scheme(labels))
  for _, name in ipairs(scored[output]) do
    local fits = true
    if labels and output == 'classify' and name == 'f1' then fits = #labels == 2 end
    if labels and output == 'tag' then
      if name == 'f1' or name == 'precision' or name == 'recall' then fits = entities end
      if name == 'macro_f1' then fits = not entities end
    end
    if fits then out[#out + 1] = name end
  end
  return out
end

local function check_metric(t, wanted, labels)
  t.metrics = M.metrics(t.output, labels)
  local name = wanted or t.best or usual[t.output]
  for _, m in ipairs(t.metrics) do
    if m == name then return name end
  end
  if not wanted then return 'accuracy' end             -- plain tags
  errors.raise('E205', { what = ("metric '%s' does not exist for task %s"):format(name, t.name), where = 'eval.metric',
    lines = { 'available: ' .. table.concat(t.metrics, ' ') }, near = errors.nearest(name, t.metrics),
    fix = 'eval.metric=' .. usual[t.output] })
end

-- -- a person's own files ------------------------------------------------------------------------------------------

-- Where a file named in a recipe lies: here, beside the recipe, or under the data folders.
local function locate(name, key, folder)
  if sys.kind(name) == 'file' then return name end
  local beside = folder and name:sub(1, 1) ~= '/' and folder .. name
  if beside and sys.kind(beside) == 'file' then return beside end
  local under, file = name:match '^(.*)/([^/]+)$'
  local path, looked = cache.look(under or '.', file or name)
  if path then return path end
  for _, there in ipairs { name, beside or nil } do
    local kind = sys.kind(there)
    if kind then
      errors.raise('E303', { what = ("'%s' is '%s', which is a %s, expected a file"):format(key, name,
        kind == 'directory' and 'folder' or kind), fix = 'name a file' .. (kind == 'directory' and ' in it' or '') })
    end
  end
  table.insert(looked, 1, name)
  if beside then table.insert(looked, 2, beside) end
  errors.raise('E303', ("'%s' is '%s': there is no such file\n  looked in: %s"):format(key, name,
    table.concat(looked, '\n             ')))
end

-- What the keys task.* ask for, checked as far as it can be without reading.
local function own_spec(config)
  local o = config.own
  for _, key in ipairs { 'type', 'train', 'dev' } do
    if not o[key] then
      errors.raise('E210', ("'task.%s' is missing, expected a task of your own to have type, train, dev"):format(key))
    end
  end
  local spec = { output = o.type, paths = {}, formats = {},
                 labels = type(o.labels) == 'string' and { o.labels } or o.labels }
  for _, split in ipairs { 'train', 'dev' } do
    local path = locate(o[split], 'task.' .. split, config.folder)
    local format = o.format or records.format_of(path)
    if not format then
      errors.raise('E202', ("'task.%s' is '%s': its name does not tell its format, expected task.format, one of %s")
        :format(split, o[split], table.concat(records.formats, ', ')))
    end
    if format == 'text' then
      errors.raise('E215', ("'task.%s' is '%s': plain text has no labels, expected tsv, csv, jsonl or conll"):format(
        split, o[split]))
    end
    if (format == 'conll') ~= (o.type == 'tag') and not (format == 'jsonl' and o.type == 'tag') then
      errors.raise('E215', ("task.type is '%s' with a file of format %s, expected %s"):format(o.type, format,
        o.type == 'tag' and 'conll or jsonl' or 'tsv, csv or jsonl'))
    end
    spec.paths[split], spec.formats[split] = path, format
  end
  if o.type == 'tag' and o.pair then
    errors.raise('E215', ("task.pair is '%s' with task.type 'tag', expected none"):format(o.pair))
  end
  if o.type == 'regress' and spec.labels then
    errors.raise('E215', "task.labels is given with task.type 'regress', expected none: the label is a number")
  end
  return spec
end

--- The columns that the files of a person's own are read by, in a format: { text, pair, label }. Empty for other tasks.
function M.columns(config, format)
  local o = config.own
  if config.task ~= 'own' or not o then return {} end
  local conll_columns, tag = format == 'conll', o.type == 'tag'
  return { text = o.text or (conll_columns and 1 or tag and 'tokens' or 'sentence'), pair = o.pair,
           label = o.label or (conll_columns and 'last' or tag and 'tags' or 'label') }
end

local function read_own(spec, split, labels, config)
  local format = spec.formats[split]
  local one = M.columns(config, format)
  one.output, one.format, one.labels = spec.output, format, labels or spec.labels
  local room = spec.output == 'tag' and conll or labelled
  return room.read(spec.paths[split], one)
end

-- -- opening ----------------------------------------------------------------------------------------------------------

--- The names a recipe's `task` may have.
function M.names()
  local names = glue.names()
  for _, name in ipairs { 'conll2003', 'synthetic', 'mnist', 'own' } do names[#names + 1] = name end
  return names
end

--- Names of the splits that the task of a configuration has: none for a person's own files in a model folder, which
--- does not say where they are.
function M.splits(config)
  if config.task == 'own' and not config.own.dev then return {} end
  local three = config.task == 'conll2003' or glue.tasks[config.task]
  return { 'dev', 'train', three and 'test' or nil }
end

-- The task as a table with output, best, read(split, labels).
local function find(config)
  local name = config.task
  if name == 'synthetic' then return { output = 'classify', read = synthetic.read } end
  if name == 'conll2003' then return { output = 'tag', read = conll.conll2003 } end
  if name == 'own' then
    local spec = own_spec(config)
    return { output = spec.output, read = function(split, labels) return read_own(spec, split, labels, config) end }
  end
  if images.tasks[name] then
    return { output = 'classify', labels = images.tasks[name].labels,
             read = function(split) return images.read(name, split) end }
  end
  local t = glue.tasks[name]
  return { output = t and t.output or 'classify', best = t and t.best, labels = t and t.labels,
           read = function(split) return glue.read(name, split) end }
end

--- The task of a configuration, its files read: { name, output ('classify', 'regress' or 'tag'), label_names, metric
--- (what `best` means), metrics (all that are scored), train, dev (sets as read) }. A metric that the task has not is
--- refused (code 2) before any file is read.
function M.open(config)
  local t = find(config)
  t.name = config.task
  local wanted = config.eval.metric
  check_metric(t, wanted, t.labels)
  t.train = t.read 'train'
  t.label_names = t.train.label_names
  t.metric = check_metric(t, wanted, t.label_names)
  t.dev = t.read('dev', t.label_names)
  return t
end

--- One split ('train', 'dev', 'test') of the task of a configuration as it was read, for a model whose labels are
--- known: { name, output, label_names, set }. Raises E210 for a model that does not say what it was made for, E303 for
--- one of a person's own files whose folder does not say where they are.
function M.split(config, split, labels)
  if not config.task then
    errors.raise('E210', { what = ('%s: the model does not say what task it is for'):format(config.name),
      fix = 'name the data: glue/sst2:dev, or a file' })
  end
  if config.task == 'own' and not config.own[split] then
    errors.raise('E303', { what = ("%s: '%s' of its task is not part of the model folder"):format(config.name, split),
      fix = 'name a file: datamux eval MODEL FILE, datamux bench MODEL --data FILE' })
  end
  local t = find(config)
  return { name = config.task, output = t.output, label_names = labels, set = t.read(split, labels) }
end

return M
