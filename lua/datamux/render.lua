-- render.lua -- records with their answers as text: lines, JSON objects, TSV, CSV, fastText, GLUE, CoNLL.
-- What came in is kept as it is where input and output have one format; bytes that are not UTF-8 become U+FFFD.
local errors = require 'datamux.errors'
local json = require 'datamux.json'
local reader = require 'datamux.data.reader'
local utf8 = require 'datamux.text.utf8'

local M = {}

local Render = {}
Render.__index = Render

--- What can be written.
M.formats = { 'text', 'jsonl', 'tsv', 'csv', 'fasttext', 'glue', 'conll' }

-- -- cells -----------------------------------------------------------------------------------------------------------

local function clean(s)
  if not s:find '[\128-\255]' or not reader.invalid_utf8(s) then return s end
  return utf8.clean(s)
end

local function tsv_cell(s) return (clean(s):gsub('[\t\r\n]', ' ')) end

local function csv_cell(s)
  s = clean(s)
  return s:find '[",\r\n]' and '"' .. s:gsub('"', '""') .. '"' or s
end

local function plain(v)
  if v == nil or v == require('cjson').null then return '' end
  return type(v) == 'table' and json.encode(v) or tostring(v)
end

local function contains(list, value)
  for _, v in ipairs(list) do
    if v == value then return true end
  end
  return false
end

-- -- answers ---------------------------------------------------------------------------------------------------------

-- The k best classes of answer i: { number, probability } each.
local function ranked(self, i)
  local list = {}
  for k, v in ipairs(self.predictor:probabilities(i)) do list[k] = { k, v } end
  table.sort(list, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return a[1] < b[1]
  end)
  for k = #list, self.k + 1, -1 do list[k] = nil end
  return list
end

local UNREAD = '_'               -- the tag of a word that was not read

-- The tags of sentence i: each as spell gives it, `unread` for a word that was not read.
local function tags_of(self, i, unread, spell)
  local out = self.predictor:tags(i)
  for w, tag in ipairs(out) do out[w] = tag and spell(tag) or unread end
  return out
end

-- The answer's members of a JSON object, each name with `prefix`. i: number of the answer, nil for none.
local function members(self, i, why, prefix)
  local p = self.predictor
  if not i then
    return ('"%s%s":null,"%serror":%s'):format(prefix, self.columns[1], prefix, json.encode('E305 ' .. clean(why)))
  end
  if self.kind == 'regress' then return ('"%sscore":%.4f'):format(prefix, p.values[i]) end
  if self.kind == 'tag' then
    return ('"%stags":[%s]'):format(prefix, table.concat(tags_of(self, i, 'null', json.encode), ','))
  end
  local best, score = p:best(i)
  local label = score >= self.threshold and self.quoted[best + 1] or 'null'
  if self.scores == 'none' then return ('"%slabel":%s'):format(prefix, label) end
  local out = ('"%slabel":%s,"%sscore":%.4f'):format(prefix, label, prefix, score)
  if self.scores == 'all' then
    local list = {}
    for k, v in ipairs(p:probabilities(i)) do list[k] = ('%s:%.4f'):format(self.quoted[k], v) end
    return ('%s,"%sscores":{%s}'):format(out, prefix, table.concat(list, ','))
  end
  if self.k == 1 then return out end
  local names, values = {}, {}
  for k, e in ipairs(ranked(self, i)) do names[k], values[k] = self.quoted[e[1]], ('%.4f'):format(e[2]) end
  return ('%s,"%slabels":[%s],"%sscores":[%s]'):format(out, prefix, table.concat(names, ','), prefix,
    table.concat(values, ','))
end

-- Names of the answer's columns.
local function columns_of(self)
  if self.kind == 'regress' then return { 'score' } end
  if self.kind == 'tag' then return { 'tags' } end
  local out = { 'label' }
  if self.scores == 'all' then
    for _, name in ipairs(self.labels) do out[#out + 1] = 'score_' .. name end
  elseif self.scores == 'top' then
    out[2] = 'score'
    for k = 2, self.k do out[#out + 1], out[#out + 2] = 'label_' .. k, 'score_' .. k end
  end
  return out
end

-- The answer as cells with `sep` between them.
local function cells_of(self, i, sep)
  local p = self.predictor
  if not i then return self.null .. sep:rep(#self.columns - 1) end
  if self.kind == 'regress' then return ('%.4f'):format(p.values[i]) end
  if self.kind == 'tag' then return table.concat(tags_of(self, i, UNREAD, tostring), ' ') end
  local best, score = p:best(i)
  local label = score >= self.threshold and self.celled[best + 1] or self.null
  if self.scores == 'none' then return label end
  if self.scores == 'top' and self.k == 1 then return ('%s%s%.4f'):format(label, sep, score) end
  local out = { label }
  if self.scores == 'all' then
    for _, v in ipairs(p:probabilities(i)) do out[#out + 1] = ('%.4f'):format(v) end
  else
    for k, e in ipairs(ranked(self, i)) do
      out[2 * k - 1], out[2 * k] = k > 1 and self.celled[e[1]] or label, ('%.4f'):format(e[2])
    end
  end
  return table.concat(out, sep)
end

-- -- records: write[format](self, record, i, why) -> the text of the output record without its last line end ----------

local write = {}

function write.text(self, _, i) return cells_of(self, i, '\t') end

function write.fasttext(self, _, i)
  local out = {}
  for k, e in ipairs(i and ranked(self, i) or {}) do
    if e[2] >= self.threshold then out[k] = ('__label__%s %.4f'):format(self.labels[e[1]]:gsub('%s', '_'), e[2]) end
  end
  return table.concat(out, ' ')
end

function write.glue(self, record, i)
  local value = ''
  if i and self.kind == 'regress' then
    value = ('%.3f'):format(self.predictor.values[i])
  elseif i then
    value = self.submitted[self.predictor:best(i) + 1]
  end
  return ('%d\t%s'):format(record.number, value)
end

-- The cell of a record under a kept name.
local function cell_of(self, record, name)
  local format = record.source.format
  if format == 'jsonl' then return record.value and plain(record.value[name]) or '' end
  if format == 'text' then return record[1] end
  if format == 'conll' then return table.concat(record.words or record[1] or {}, ' ') end
  return record[self.place[name]] or ''
end

local answers = { 'label', 'score', 'scores', 'labels', 'tags', 'error' }

-- An object with its answer at the end, its own text untouched where everything is kept.
local function object(self, record, i, why)
  local value = record.value
  local prefix = ''
  for _, name in ipairs(answers) do
    if value[name] ~= nil then prefix = 'predicted_' end
  end
  local answer = members(self, i, why, prefix)
  if self.keep == 'all' then
    local raw = clean(record.raw)
    return ('%s%s%s}'):format(raw:sub(1, raw:find '}%s*$' - 1), next(value) ~= nil and ',' or '', answer)
  end
  local out = {}
  for _, name in ipairs(self.kept) do
    if value[name] ~= nil then
      out[#out + 1] = json.encode(clean(name)) .. ':' .. clean(json.encode(value[name]))
    end
  end
  out[#out + 1] = answer
  return '{' .. table.concat(out, ',') .. '}'
end

function write.jsonl(self, record, i, why)
  local format = record.source.format
  if record.value then return object(self, record, i, why) end
  local out, prefix = {}, ''
  if format == 'conll' then
    if record[1] then out[1] = '"words":' .. clean(json.encode(json.list(record[1]))) end
  elseif format ~= 'jsonl' then
    for _, name in ipairs(self.kept) do
      if contains(answers, name) then prefix = 'predicted_' end
      if record[self.place[name]] then                                    -- a faulty row may lack some
        out[#out + 1] = json.encode(clean(name)) .. ':' .. json.encode(clean(cell_of(self, record, name)))
      end
    end
  end
  out[#out + 1] = members(self, i, why, prefix)
  return '{' .. table.concat(out, ',') .. '}'
end

local function delimited(self, record, i, sep, cell)
  local answer = cells_of(self, i, sep)
  if #self.kept == 0 then return answer end
  if record.source.format == self.format and self.keep == 'all' and not record.bad then
    return clean(record.raw) .. sep .. answer
  end
  local out = {}
  for k, name in ipairs(self.kept) do out[k] = cell(cell_of(self, record, name)) end
  out[#out + 1] = answer
  return table.concat(out, sep)
end

function write.tsv(self, record, i) return delimited(self, record, i, '\t', tsv_cell) end

function write.csv(self, record, i) return delimited(self, record, i, ',', csv_cell) end

-- A sentence again with the tag as its last column, and the blank line after it. What was not read has the tag _; the
-- comments in a faulty sentence stay as they are.
function write.conll(self, record, i)
  local tags, out, n = i and tags_of(self, i, UNREAD, tostring) or {}, {}, 0
  local rest = record.document and 'O' or UNREAD
  if record.source.format == 'conll' then
    for line in (clean(record.raw) .. '\n'):gmatch '(.-)\n' do
      n = n + 1
      out[n] = record.bad and line:find '^#' and line or line .. ' ' .. (tags[n] or rest)
    end
  else
    for _, word in ipairs(record.words or {}) do
      n = n + 1
      out[n] = clean(word):gsub('%s', '_') .. ' ' .. tags[n]
    end
  end
  out[n + 1] = ''
  return table.concat(out, '\n')
end

-- -- the writer ------------------------------------------------------------------------------------------------------

-- Refuses options that the answers leave no use for.
local function check(model, o)
  local said = { ['-k'] = o.k ~= 1 and o.k or nil, ['--threshold'] = o.threshold ~= 0 and o.threshold or nil,
                 ['--scores'] = o.scores ~= 'top' and o.scores or nil }
  local function refuse(name, why)
    if not said[name] then return end
    errors.raise('E215', { what = ('%s is %s, which has no meaning %s'):format(name, said[name], why),
                           fix = 'leave out ' .. name })
  end
  for _, name in ipairs { '-k', '--threshold', '--scores' } do
    if model.output ~= 'classify' then refuse(name, ("for answers of kind '%s'"):format(model.output)) end
    if o.format == 'glue' then refuse(name, 'with --out glue, which holds one label each') end
  end
  if o.format == 'fasttext' then refuse('--scores', 'with --out fasttext, which shows the -k best') end
  if said['--scores'] then refuse('-k', 'with --scores ' .. said['--scores']) end
end

--- A writer of answers. predictor: where they are; model: their labels; o: { format, k, scores ('top' | 'all' |
--- 'none'), threshold, keep ('all' | 'none' | list of names), id (a name kept with 'none'), header (false: none),
--- submitted (labels as a GLUE submission spells them) }. Raises (code 2) where the model's answers have no such form.
function M.new(predictor, model, o)
  if (o.format == 'conll') and model.output ~= 'tag' then
    errors.raise('E215', ("--out is 'conll', which holds tags: the model's answers are of kind '%s'\n  fix: --out tsv")
      :format(model.output))
  end
  if (o.format == 'fasttext' and model.output ~= 'classify') or (o.format == 'glue' and model.output == 'tag') then
    errors.raise('E215', ("--out is '%s': the model's answers are of kind '%s'\n  fix: --out jsonl"):format(o.format,
      model.output))
  end
  check(model, o)
  local self = setmetatable({ predictor = predictor, format = o.format, kind = model.output, labels = model.labels,
    k = math.min(o.k or 1, math.max(#model.labels, 1)), scores = o.scores or 'top', threshold = o.threshold or 0,
    keep = o.keep or 'all', id = o.id, header = o.header, submitted = o.submitted or model.labels,
    null = o.format == 'text' and (model.output == 'tag' and UNREAD or 'null') or '', quoted = {}, celled = {},
    kept = {}, place = {} }, Render)
  self.columns = columns_of(self)
  for i, name in ipairs(model.labels) do
    self.quoted[i], self.celled[i] = json.encode(name), (o.format == 'csv' and csv_cell or tsv_cell)(name)
  end
  return self
end

--- Whether the output has columns of the records.
function Render:delimited() return self.format == 'tsv' or self.format == 'csv' end

--- Tells the columns of the source (records.open) and returns the text that goes before the first record. Raises (code
--- 3) where a column to keep is not there.
function Render:begin(source, names)
  for i, name in ipairs(names) do self.place[name] = i end
  local list = self.keep == 'all' and names or type(self.keep) == 'table' and self.keep or { self.id }
  for i, name in ipairs(list) do
    if source.format ~= 'jsonl' and not self.place[name] then
      errors.raise('E302', ("%s: no column '%s', columns are: %s.%s"):format(source.path, name,
        table.concat(names, ', '), errors.suggest(name, names)))
    end
    self.kept[i] = name
  end
  if self.header == false then return '' end
  if self.format == 'glue' then return 'index\tprediction\n' end
  if not self:delimited() then return '' end
  local cell, sep = self.format == 'csv' and csv_cell or tsv_cell, self.format == 'csv' and ',' or '\t'
  local out, prefix = {}, ''
  for i, name in ipairs(self.kept) do
    out[i] = cell(name)
    if contains(self.columns, name) then prefix = 'predicted_' end
  end
  for _, name in ipairs(self.columns) do out[#out + 1] = cell(prefix .. name) end
  return table.concat(out, sep) .. '\n'
end

--- The text of a record (with its source and number) and its answer i (nil: none, because of `why`), without the last
--- line end.
function Render:record(record, i, why) return write[self.format](self, record, i, why) end

return M
