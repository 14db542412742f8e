-- records.lua -- labelled or bare records from a file or standard input: text lines, TSV, CSV, JSONL, CoNLL.
-- TSV has no quoting (as GLUE), CSV is RFC 4180, JSONL is one object a line, CoNLL is one token a line and a blank line
-- between sentences. gz and zst are told by their first bytes. Records come as they arrive: memory stays flat.
local cjson = require 'cjson.safe'
local errors = require 'datamux.errors'
local json = require 'datamux.json'
local plural = require 'datamux.plural'
local reader = require 'datamux.data.reader'

local M = {}

local Records = {}
Records.__index = Records

--- The formats, and the endings of file names that tell them.
M.formats = { 'text', 'tsv', 'csv', 'jsonl', 'conll' }

local endings = { txt = 'text', text = 'text', tsv = 'tsv', csv = 'csv', jsonl = 'jsonl', ndjson = 'jsonl',
                  conll = 'conll', bio = 'conll', iob = 'conll', iob2 = 'conll', testa = 'conll', testb = 'conll' }

--- The format that the name of a file tells (after .gz or .zst), or nil.
function M.format_of(path)
  local name = path:gsub('%.gz$', ''):gsub('%.zst$', '')
  local ending = name:match '%.([^./]+)$'
  return ending and endings[ending:lower()]
end

--- The column that is asked for by name or number: its name, or nil.
function M.find(names, column)
  for _, name in ipairs(names) do
    if name == column then return name end
  end
  return names[tonumber(column)]
end

-- -- cells ---------------------------------------------------------------------------------------------------------

-- Cells of a tab-separated line into `out`; returns their number.
local function split_tsv(line, out)
  local n, at = 0, 1
  while true do
    local stop = line:find('\t', at, true)
    n = n + 1
    if not stop then
      out[n] = line:sub(at)
      return n
    end
    out[n] = line:sub(at, stop - 1)
    at = stop + 1
  end
end

-- Cells of a CSV record (RFC 4180) into `out`; returns their number. Else nil, what is wrong ('open' where a quoted
-- cell goes on beyond the text), and the number of cells before that.
local function split_csv(text, out)
  local n, at, size = 0, 1, #text
  while true do
    n = n + 1
    if text:byte(at) == 34 then
      local from, cell = at + 1, nil
      repeat
        local quote = text:find('"', from, true)
        if not quote then return nil, 'open', n - 1 end
        from = quote + 1
        local doubled = text:byte(from) == 34
        if doubled then from = from + 1 else cell = text:sub(at + 1, quote - 1) end
      until cell
      out[n] = (cell:gsub('""', '"'))
      if from > size then return n end
      if text:byte(from) ~= 44 then
        return nil, ('column %d goes on after its closing quote'):format(n), n - 1
      end
      at = from + 1
    else
      local comma = text:find(',', at, true)
      out[n] = text:sub(at, (comma or size + 1) - 1)
      if out[n]:find('"', 1, true) then
        return nil, ('column %d has a quote inside an unquoted cell'):format(n), n - 1
      end
      if not comma then return n end
      at = comma + 1
    end
  end
end

-- -- one record -----------------------------------------------------------------------------------------------------

local function trim(record, n)
  for i = n + 1, #record do record[i] = nil end
end

-- What is wrong with a record: kept in it, with its first n cells, where the caller wants bad records; else raised.
function Records:bad(record, why, n)
  if not self.keep then errors.raise('E304', ('%s:%d: %s'):format(self.path, record.line, why)) end
  record.bad = why
  trim(record, n or 0)
  return record
end

-- The next line that is not passed over: blank lines are, except where they are records of their own.
function Records:line(keep_blank)
  while true do
    local line, number = self.lines()
    if not line then return nil end
    if number == 1 then line = line:gsub('^\239\187\191', '') end
    if line ~= '' or keep_blank then return line, number end
  end
end

local next_of = {}

function next_of.text(self, record)
  local line, number = self:line(true)
  if not line then return nil end
  record.line, record.raw, record[1] = number, line, line
  return record
end

local EMPTY = 'an empty line'

local function width(self, record, n)
  trim(record, n)
  if record.raw == '' and self.width ~= 1 then return self:bad(record, EMPTY) end
  self.width = self.width or n
  if n ~= self.width then
    return self:bad(record, ('%s, expected %d%s'):format(plural.of(n, 'column'), self.width,
      self.header and (' (%s)'):format(table.concat(self.header, ', ')) or ' as in the first line'), n)
  end
  return record
end

function next_of.tsv(self, record)
  local line, number = self:line(self.keep)
  if not line then return nil end
  record.line, record.raw = number, line
  return width(self, record, split_tsv(line, record))
end

function next_of.csv(self, record)
  local line, number = self:line(self.keep)
  if not line then return nil end
  record.line, record.raw = number, line
  local n, why, read = split_csv(line, record)
  if why == 'open' then                              -- a quoted cell with a line end in it
    local parts = { line }
    while why == 'open' do
      local more = self.lines()
      if not more then return self:bad(record, 'a quoted cell is not closed', read) end
      parts[#parts + 1] = more
      if more:find('"', 1, true) then
        record.raw = table.concat(parts, '\n')
        n, why, read = split_csv(record.raw, record)
      end
    end
  end
  if not n then return self:bad(record, why, read) end
  return width(self, record, n)
end

function next_of.jsonl(self, record)
  local line, number = self:line(self.keep)
  if not line then return nil end
  record.line, record.raw = number, line
  local value, why
  if not line:find '%S' then
    record.value = nil
    return self:bad(record, EMPTY)
  elseif line:find('\0', 1, true) then               -- where lua-cjson would stop reading
    why = 'it has a NUL byte'
  else
    value, why = cjson.decode(line)
  end
  if type(value) ~= 'table' or line:match '^%s*(.)' ~= '{' then
    record.value = nil
    return self:bad(record, value == nil and 'not valid JSON: ' .. tostring(why) or 'expected a JSON object')
  end
  record.value = value
  return record
end

-- A sentence: record[k] lists column k of its tokens.
function next_of.conll(self, record)
  local line, number = self:line(false)
  if not line then return nil end
  local columns, raw, n, problem = {}, {}, 0, nil
  record.line = number
  while line and line:find '%S' do
    n = n + 1
    raw[n] = line
    local k = 0
    for cell in line:gmatch '%S+' do
      k = k + 1
      if n == 1 then columns[k] = {} end
      if columns[k] then columns[k][n] = cell end
    end
    self.width = self.width or k
    if k ~= self.width and not problem then
      problem = ('%s, expected %d as in the first line'):format(plural.of(k, 'column'), self.width)
      if not self.keep then errors.raise('E304', ('%s:%d: %s'):format(self.path, number, problem)) end
    end
    line, number = self.lines()
  end
  if n == 0 then return next_of.conll(self, record) end          -- a line of blanks
  record.n, record.raw = n, table.concat(raw, '\n')
  record.document = columns[1][1] == '-DOCSTART-' or nil
  trim(record, 0)
  if problem then return self:bad(record, problem) end
  for k, list in ipairs(columns) do record[k] = list end
  return record
end

-- -- the reader -----------------------------------------------------------------------------------------------------

--- Opens records. path: a file, or '-' for standard input. o: { format = one of M.formats (default: by the name; text
--- for standard input), header = false where the first line of tsv or csv is a record, keep = true to get malformed
--- and blank records with the reason in `bad` instead of an error }. Raises (code 3) where the file cannot be read,
--- (code 2) where its format cannot be told.
---
--- A record: { line (of its first line), raw (its text without the last line end), ... } and by format
---   text        [1] = the line
---   tsv, csv    [1] .. [k] = cells
---   jsonl       value = the decoded object
---   conll       n (tokens), [1] .. [k] = lists, one for each column; document = true for a -DOCSTART- line
--- Line ends inside quoted CSV cells become \n. After opening, header is the list of column names, or nil.
function M.open(path, o)
  o = o or {}
  local name = path == '-' and 'standard input' or path
  local format = o.format or (path == '-' and 'text') or M.format_of(path)
  if not next_of[format or ''] then
    errors.raise('E202', ("%s: its format %s, expected one of %s"):format(name,
      format and ("is '%s'"):format(format) or 'cannot be told from its name', table.concat(M.formats, ', ')))
  end
  local self = setmetatable({ path = name, format = format, keep = false, read = next_of[format] }, Records)
  self.lines, self.buffered = reader.lines(path)
  if (format == 'tsv' or format == 'csv') and o.header ~= false then
    local first = self.read(self, {})
    if not first then errors.raise('E306', name .. ': is empty, expected a line of column names') end
    self.header_raw, self.header = first.raw, {}
    for i, cell in ipairs(first) do self.header[i] = cell end
  end
  self.keep = o.keep or false
  return self
end

--- The next record, nil at the end. into: a record to use again.
function Records:next(into)
  local record = into or {}
  record.bad = nil
  return self.read(self, record)
end

--- for record in records:each() do: a new table each time.
function Records:each()
  return function() return self:next() end
end

--- Whether a record may be had without waiting: its line is here already (standard input: see reader.ready).
function Records:waiting() return not self.buffered() end

local function column_number(self, column)
  local found
  for i, name in ipairs(self.header or {}) do
    if name == column then
      if found then errors.raise('E302', ("%s:1: column '%s' is there twice"):format(self.path, column)) end
      found = i
    end
  end
  if found then return found end
  local number = tonumber(column)
  if number and number >= 1 and number == math.floor(number) and (not self.header or number <= #self.header) then
    return number
  end
  if not self.header then
    errors.raise('E202', ("%s: column is '%s', expected a number: %s has no column names"):format(self.path,
      tostring(column), self.format))
  end
  errors.raise('E302', ("%s:1: no column '%s', columns are: %s.%s"):format(self.path, tostring(column),
    table.concat(self.header, ', '), not number and errors.suggest(tostring(column), self.header) or ''))
end

--- A function that gives a column of a record: by name or number (jsonl: the object's key), for text and conll by
--- number. It returns nil and what is wrong where the record has none. Raises (code 3) for a column that is not there.
function Records:column(column)
  if self.format == 'jsonl' then
    return function(record)
      local v = record.value and record.value[column]
      if v == nil then return nil, ("no key '%s'"):format(tostring(column)) end
      if v == cjson.null then return nil, ("'%s' is null"):format(tostring(column)) end
      return v
    end
  end
  if self.format == 'text' then return function(record) return record[1] end end
  local k = column_number(self, column)
  return function(record)
    local v = record[k]
    if v == nil then return nil, ('no column %d, there are %d'):format(k, #record) end
    return v
  end
end

--- Names of the columns: of the header, of a first record's object in the order of its text, else 'text', 'words' (of
--- conll) or numbers.
function Records:names(record)
  if self.header then return self.header end
  if self.format == 'text' then return { 'text' } end
  if self.format == 'conll' then return { 'words' } end
  if self.format == 'jsonl' then return json.keys(record.raw) end
  local names = {}
  for i = 1, #record do names[i] = tostring(i) end
  return names
end

--- Whether a record has a column at all, as column takes it; a JSON null counts. Raises what column raises.
function Records:has(record, column)
  if self.format == 'text' then return column == 'text' or tonumber(column) == 1 end
  if self.format == 'jsonl' then return record.value[column] ~= nil end
  return record[column_number(self, column)] ~= nil
end

--- "file:line", for messages about a record.
function Records:where(record) return ('%s:%d'):format(self.path, record.line) end

return M
