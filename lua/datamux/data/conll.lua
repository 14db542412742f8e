-- conll.lua -- sentences of words with tags: CoNLL-2003 (Tjong Kim Sang & De Meulder 2003), and files in its form.
-- Tags that name entities may be IOB1 (eng.train), BIO or IOBES; here they are BIO. Other tags stay as they are: each,
-- O too, is a class like any other, scored by accuracy and macro F1. -DOCSTART- lines are dropped.
local cache = require 'datamux.data.cache'
local errors = require 'datamux.errors'
local metrics = require 'datamux.metrics'
local plural = require 'datamux.plural'
local reader = require 'datamux.data.reader'
local records = require 'datamux.data.records'

local M = {}

--- The labels of CoNLL-2003, in Hugging Face's order.
M.labels = { 'O', 'B-PER', 'I-PER', 'B-ORG', 'I-ORG', 'B-LOC', 'I-LOC', 'B-MISC', 'I-MISC' }

--- The files of CoNLL-2003 by split: the original one and the commonest conversion to BIO.
M.files = { train = { 'eng.train', 'train.txt' }, dev = { 'eng.testa', 'valid.txt' },
            test = { 'eng.testb', 'test.txt' } }

-- -- schemes -------------------------------------------------------------------------------------------------------

--- How a list of sentences' tags is written: 'plain' (no entities), 'IOBES', 'IOB1' or 'BIO'.
function M.scheme(sentences)
  local iob1 = false
  local seen, list = {}, {}
  for _, tags in ipairs(sentences) do
    for i, tag in ipairs(tags) do
      if not seen[tag] then
        seen[tag] = true
        list[#list + 1] = tag
      end
      local before = tags[i - 1]
      if tag:byte() == 73 and (not before or before == 'O' or before:sub(2) ~= tag:sub(2)) then iob1 = true end
    end
  end
  if not metrics.is_entity_scheme(list) then return 'plain' end
  for _, tag in ipairs(list) do
    if tag:find '^[ES]%-' then return 'IOBES' end
  end
  return iob1 and 'IOB1' or 'BIO'
end

--- The tags of a sentence as BIO.
function M.to_bio(tags)
  local out = {}
  for i = 1, #tags do out[i] = 'O' end
  for _, s in ipairs(metrics.spans(tags)) do
    for i = s[2], s[3] do out[i] = (i == s[2] and 'B-' or 'I-') .. s[1] end
  end
  return out
end

-- -- reading ---------------------------------------------------------------------------------------------------------

-- Words and tags of a record: columns of CoNLL, or lists in a JSON object.
local function cells(r, record, words, tags)
  local function list(get, what)
    local v, why = get(record)
    if type(v) ~= 'table' then
      errors.raise('E304', ('%s: %s'):format(r:where(record), why or what .. ' is no list'))
    end
    return v
  end
  local w, t = list(words, 'text'), tags and list(tags, 'label')
  if t and #t ~= #w then
    errors.raise('E304', ('%s: %s, expected %d as there are words'):format(r:where(record), plural.of(#t, 'tag'), #w))
  end
  return w, t
end

local function columns_of(r, spec)
  if r.format == 'jsonl' then return r:column(spec.text), spec.label and r:column(spec.label) end
  if r.format ~= 'conll' then
    errors.raise('E215', ("%s: format '%s' holds no tagged words, expected conll or jsonl"):format(r.path, r.format))
  end
  return r:column(spec.text), spec.label and (spec.label == 'last' and function(record)
    if #record < 2 then return nil, '1 column, expected words and tags' end
    return record[#record]
  end or r:column(spec.label))
end

local function names_of(sentences, scheme)
  local seen, names = {}, {}
  for _, tags in ipairs(sentences) do
    for _, tag in ipairs(tags) do
      if not seen[tag] and (tag ~= 'O' or scheme == 'plain') then
        seen[tag] = true
        names[#names + 1] = tag
      end
    end
  end
  if scheme == 'plain' then
    table.sort(names)
    return names
  end
  local out, kinds = { 'O' }, {}
  for _, tag in ipairs(names) do kinds[tag:sub(3)] = true end
  names = {}
  for kind in pairs(kinds) do names[#names + 1] = kind end
  table.sort(names)
  for _, kind in ipairs(names) do
    out[#out + 1], out[#out + 2] = 'B-' .. kind, 'I-' .. kind
  end
  return out
end

--- What reading did to tags of a scheme (see scheme), as a sentence; nil where it left them as they are.
function M.converted(scheme)
  return (scheme == 'IOB1' or scheme == 'IOBES') and scheme .. ' input converted to IOB2' or nil
end

--- Reads a file. spec: { text (column of words), label (column of tags, 'last', or nil: not read), labels (names; nil:
--- those that occur), format (conll or jsonl with lists) }. Returns { n, words (list of lists), gold (lists of label
--- numbers from 0), lines, label_names, scheme (as the file has it), path }. Raises (code 3) with file and line.
function M.read(path, spec)
  local r = records.open(path, { format = spec.format })
  local words, tags = columns_of(r, spec)
  local set = { n = 0, words = {}, lines = {}, path = path, label_names = spec.labels }
  local given = {}
  for record in r:each() do
    if not record.document then
      local w, t = cells(r, record, words, tags)
      local n = set.n + 1
      if #w == 0 then errors.raise('E305', r:where(record) .. ': the sentence has no words') end
      for _, word in ipairs(w) do
        if type(word) ~= 'string' then
          errors.raise('E305', ('%s: a word is %s, expected text'):format(r:where(record), tostring(word)))
        end
        if reader.invalid_utf8(word) then
          errors.raise('E305', { what = r:where(record) .. ': a word is not valid UTF-8', fix = reader.to_utf8 })
        end
        if not word:find '%S' then errors.raise('E305', r:where(record) .. ': a word is empty') end
      end
      for _, tag in ipairs(t or {}) do
        if type(tag) ~= 'string' then
          errors.raise('E301', ('%s: a tag is %s, expected text'):format(r:where(record), tostring(tag)))
        end
      end
      set.n, set.words[n], set.lines[n], given[n] = n, w, record.line, t
    end
  end
  if set.n == 0 then errors.raise('E306', path .. ': no sentences in it') end
  if not tags then return set end
  set.scheme = M.scheme(given)
  if set.scheme ~= 'plain' then
    for i, t in ipairs(given) do given[i] = M.to_bio(t) end
  end
  set.label_names = spec.labels or names_of(given, set.scheme)
  if not spec.labels and #set.label_names < 2 then
    errors.raise('E301', { what = ("%s: every tag is '%s', expected at least two different ones"):format(path,
      set.label_names[1]), fix = 'check that this is the right file, and task.label its column of tags' })
  end
  local number = {}
  for k, name in ipairs(set.label_names) do number[name] = k - 1 end
  set.gold = {}
  for i, t in ipairs(given) do
    local gold = {}
    for k, tag in ipairs(t) do
      if not number[tag] then
        errors.raise('E301', ("%s:%d: tag '%s' of '%s', expected one of %s"):format(path,
          set.lines[i] + (r.format == 'conll' and k - 1 or 0), tag, set.words[i][k],
          table.concat(set.label_names, ', ')))
      end
      gold[k] = number[tag]
    end
    set.gold[i] = gold
  end
  return set
end

--- Reads a file of CoNLL-2003. Returns a set and raises as M.read does.
function M.read_file(path) return M.read(path, { text = 1, label = 'last', labels = M.labels, format = 'conll' }) end

--- Reads a split ('train', 'dev', 'test') of CoNLL-2003: the original files (IOB1) or train.txt, valid.txt, test.txt.
--- Raises (code 3) where there is neither: who owns the text, where to get it, which files are expected.
function M.conll2003(split)
  local looked = {}
  for _, name in ipairs(M.files[split]) do
    local path, places = cache.look('CoNLL-2003', name)
    if path then return M.read_file(path) end
    for _, place in ipairs(places) do looked[#looked + 1] = place end
  end
  errors.raise('E310', ('CoNLL-2003/%s is not here, and cannot be downloaded: its text belongs to Reuters and may '
    .. 'not be passed on\n  looked in: %s\n'
    .. '  get it:    the annotation from https://www.clips.uantwerpen.be/conll2003/ner/\n'
    .. '             and the Reuters corpus from NIST (https://trec.nist.gov/data/reuters/reuters.html), under their '
    .. 'agreement\n  fix: put %s under $DATAMUX_DATA/CoNLL-2003'):format(M.files[split][1],
    table.concat(looked, '\n             '), table.concat(M.files[split], ' or ')))
end

return M
