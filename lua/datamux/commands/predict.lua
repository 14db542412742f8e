-- commands/predict.lua -- datamux predict MODEL [FILE ...]: label text, as a Unix filter.
local M = { name = 'predict', summary = 'label text: records in, the same records with answers out' }

local formats = { 'auto', 'text', 'jsonl', 'tsv', 'csv', 'conll' }
local outputs = { 'same', 'text', 'jsonl', 'tsv', 'csv', 'fasttext', 'glue', 'conll' }

local values = require 'datamux.commands.values'
local whole, probability = values.whole, values.probability

local function shard(text)
  local i, n = text:match '^(%d+)/(%d+)$'
  i, n = tonumber(i), tonumber(n)
  if i and i >= 1 and i <= n then return { i, n } end
  return nil, 'I/N with 1 <= I <= N, as 3/8'
end

function M.configure(p, take)
  p:argument('model', 'a run (folder, name or id), RUN:best, RUN:last, RUN:step-N, or a model folder')
  p:argument('files', 'files, - for standard input (the default), or glue/TASK:SPLIT; of images, IDX files'):args '*'
  p:option('--in',
    'format of the input (default: by the name; else jsonl where a file begins with {, or text)'):target 'input'
    :choices(formats):default 'auto'
  p:option('--text', 'column of the text: a name, or a number from 1'):argname 'COLUMN'
  p:option('--pair', 'column of the second text'):argname 'COLUMN'
  p:option('--id', 'column that stays with --keep none'):argname 'COLUMN'
  p:flag('--no-header', 'tsv and csv without a line of names, in and out'):target 'bare'
  p:option('--out', 'format of the output (default: by the name of -O, else as the input)')
    :target 'output':choices(outputs):default 'same'
  p:option('--keep', 'columns that stay: all, none, or names a,b,c'):default 'all':argname 'LIST'
  p:option('-k', 'the K best labels'):convert(whole(1)):default '1':argname 'K'
  p:option('--scores', 'top, all (one for each label) or none'):choices { 'top', 'all', 'none' }:default 'top'
  p:option('--threshold', 'below this probability the label is null'):convert(probability):default '0':argname 'P'
  p:option('--on-error', 'faulty records: null (an empty answer), fail, or skip'):target 'on_error'
    :choices { 'null', 'fail', 'skip' }:default 'null'
  p:option('--truncate', 'too long texts lose their right or left end, or fail'):choices { 'right', 'left', 'fail' }
    :default 'right'
  p:option('--ensemble', 'read each text K times, in other slots beside other texts'):convert(whole(1)):default '1'
    :argname 'K'
  p:option('--group', 'texts that share a row: of like length (within 64 rows), or strictly by position')
    :choices { 'length', 'file' }:default 'length'
  p:flag('--int8', 'products in 8-bit integers (CPU)')
  p:flag('--bf16', 'the network in bf16 (CUDA; CPU with AVX512-BF16)')
  p:option('--rows', 'rows in a batch'):convert(whole(1)):argname 'R'
  p:option('--flush', 'standard input: answer what is there after so many ms of silence; 0: never'):convert(whole(0))
    :default '200':argname 'MS'
  p:option('--shard', 'every N-th record, from the I-th'):convert(shard):argname 'I/N'
  p:option('-O --output', 'write to FILE'):target 'path':argname 'FILE'
  p:flag('--resume', 'continue the output file after its last complete window')
  take(p, 'device threads json progress download offline trust')
end

-- The format of the output: as said, or as the name of the output file tells.
local function output_of(o)
  local errors, name = require 'datamux.errors', o.path or ''
  local bare, packed = name:match '^(.*)%.(gz)$'
  if not bare then bare, packed = name:match '^(.*)%.(zst)$' end
  if bare then
    errors.raise('E215', { what = ("-O is '%s': the output is not compressed, expected a name without .%s"):format(name,
      packed), fix = '-O ' .. bare })
  end
  if o.output ~= 'same' then return o.output end
  return o.json and 'jsonl' or require('datamux.data.records').format_of(name) or 'same'
end

-- What glue/TASK:SPLIT stands for: its file, columns, and how a submission spells the labels.
local function glue_file(o, name)
  local task, split = name:match '^glue/([%w_]+):(%w+)$'
  if not task then return name end
  local glue, cache, errors = require 'datamux.data.glue', require 'datamux.data.cache', require 'datamux.errors'
  local spec = glue.tasks[task]
  if not spec then
    local names = {}
    for k in pairs(glue.tasks) do names[#names + 1] = k end
    errors.raise('E206', { what = ("'%s' is no GLUE task"):format(task), near = errors.nearest(task, names),
      fix = 'glue/sst2:test' })
  end
  local s = {}
  for k, v in pairs(spec) do s[k] = v end
  for k, v in pairs(split == 'test' and spec.test or {}) do s[k] = v end
  o.input, o.text, o.pair = 'tsv', o.text or s.text, o.pair or s.pair
  if s.header == false then o.bare = true end
  o.submitted = spec.values or spec.labels
  return cache.find(spec.folder, spec.files and spec.files[split] or split .. '.tsv')
end

-- "12,400,000 texts · 36.4k/s · padding 12.0 % · truncated 0.4 %"
local function line(figures, more, seconds)
  local columns, plural = require 'datamux.columns', require 'datamux.plural'
  local done = figures.records - figures.skipped
  local out = { ('%s %s'):format(columns.grouped(done), plural.noun(done, 'text')),
    ('%.0f/s'):format(done / math.max(seconds, 1e-9)),
    ('padding %.1f %%'):format(100 * (1 - more.tokens / math.max(more.places, 1))),
    ('truncated %.1f %%'):format(100 * more.truncated / math.max(more.texts, 1)) }
  if figures.errors > 0 then out[#out + 1] = ('%d faulty'):format(figures.errors) end
  return table.concat(out, ' · ')
end

-- A function for filter.run that shows how far it is: on a terminal a line that changes, else one each 30 s.
local function progress(mode, clock)
  if mode == 'none' then return nil end
  local start, shown, any = clock(), clock(), false
  local every = mode == 'bar' and 0.5 or 30
  return function(figures, more, last)
    local now = clock()
    if not last and now - shown < every then return end
    if last and not any then return end
    shown, any = now, true
    io.stderr:write(mode == 'bar' and '\r\27[K' or '', line(figures, more, now - start),
      (mode ~= 'bar' or last) and '\n' or '')
  end
end

-- The answers to IDX files of images.
local function images(model, o)
  local errors, out = require 'datamux.errors', io.stdout
  if #o.files == 0 then
    errors.raise('E303', { what = 'no file of images is given: this model reads images, expected IDX files',
      fix = 'datamux predict MODEL t10k-images-idx3-ubyte.gz' })
  end
  if o.path then
    if require('datamux.sys').kind(o.path) then
      errors.raise('E218', ("-O is '%s', which is there already\n  fix: another name"):format(o.path))
    end
    out = nil
  end
  local parts = {}
  require('datamux.predict_images').run(model, { files = o.files, output = o.output, k = o.k,
    scores = o.scores, threshold = o.threshold, group = o.group, ensemble = o.ensemble, rows = o.rows,
    header = not o.bare, sink = function(text)
      if out then out:write(text) else parts[#parts + 1] = text end
    end })
  if o.path then require('datamux.sys').write(o.path, table.concat(parts)) end
  return 0
end

function M.run(o)
  local launch, errors = require 'datamux.launch', require 'datamux.errors'
  o.output = output_of(o)
  launch.device(o.device, o.threads)
  local model = require('datamux.saved').load(o.model, { int8 = o.int8, bf16 = o.bf16 })
  if model.images then return images(model, o) end
  local files = {}
  for i, name in ipairs(#o.files > 0 and o.files or { '-' }) do files[i] = glue_file(o, name) end
  local keep = o.keep
  if keep ~= 'all' and keep ~= 'none' then
    keep = {}
    for name in o.keep:gmatch '[^,]+' do keep[#keep + 1] = name end
  end
  local clock = require('datamux.ffi').C.dm_clock
  local show = progress(launch.progress(o), clock)
  local figures, more = require('datamux.filter').run(model, {
    files = files, input = o.input, text = o.text, pair = o.pair, id = o.id, header = not o.bare, output = o.output,
    keep = keep, k = o.k, scores = o.scores, threshold = o.threshold, on_error = o.on_error, truncate = o.truncate,
    ensemble = o.ensemble, group = o.group, rows = o.rows, flush = o.flush, shard = o.shard, path = o.path,
    resume = o.resume ~= nil, submitted = o.submitted, pairs = model.pairs, progress = show,
    note = function(text) io.stderr:write(text, '\n') end })
  if show then show(figures, more, true) end
  if figures.errors > 0 then
    io.stderr:write(('%d of %d records could not be answered (E305)\n'):format(figures.errors, figures.records))
    return errors.codes.data
  end
  return 0
end

return M
