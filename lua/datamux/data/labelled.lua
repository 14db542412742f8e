-- labelled.lua -- texts or pairs of texts with a label or a score, out of records; where each came from is kept.
local ffi = require 'ffi'
local errors = require 'datamux.errors'
local reader = require 'datamux.data.reader'
local records = require 'datamux.data.records'

local M = {}

local FEW = 8                    -- labels that a message lists

local function refuse(r, record, why, fix)
  errors.raise('E305', { what = ('%s: %s'):format(r:where(record), why), fix = fix })
end

-- The text in a column of a record, checked.
local function text_of(r, record, get, name)
  local v, why = get(record)
  if v == nil then refuse(r, record, why) end
  if type(v) ~= 'string' then
    refuse(r, record, ("column '%s' is %s, expected text"):format(name, tostring(v)))
  end
  if reader.invalid_utf8(v) then refuse(r, record, 'the text is not valid UTF-8', reader.to_utf8) end
  return (v:gsub('%s+$', ''))
end

-- The label in a column of a record, without blanks at its ends.
local function label_of(r, record, get, name)
  local v, why = get(record)
  if v == nil then refuse(r, record, why) end
  if type(v) == 'table' or type(v) == 'userdata' then
    refuse(r, record, ("column '%s' is %s, expected a label"):format(name, type(v) == 'table' and 'a table' or 'null'))
  end
  v = tostring(v):match '^%s*(.-)%s*$'
  if v == '' then refuse(r, record, ("column '%s' is empty, expected a label"):format(name)) end
  return v
end

local function array(kind, list, n)
  local out = ffi.new(kind, n)
  for i = 1, n do out[i - 1] = list[i] end
  return out
end

-- The labels that occur: by value where all are numbers, else by name.
local function sorted(seen)
  local names, numeric = {}, true
  for name in pairs(seen) do
    names[#names + 1] = name
    numeric = numeric and tonumber(name) ~= nil
  end
  table.sort(names, function(a, b)
    if numeric and tonumber(a) ~= tonumber(b) then return tonumber(a) < tonumber(b) end
    return a < b
  end)
  return names
end

-- The first few of many, in words.
local function few(values)
  if #values <= FEW then return table.concat(values, ', ') end
  return ('%s, ... (%d in all)'):format(table.concat(values, ', ', 1, FEW), #values)
end

-- What to say where nearly every example has a label of its own (seen: how many there are): why, and a fix.
local function swapped(spec, seen, list)
  if #list < 20 or seen < 0.9 * #list then return nil end
  return ('%d of %d labels are different: are the columns of texts and labels swapped?'):format(seen, #list),
    ('task.text=%s task.label=%s'):format(spec.label, spec.text)
end

local function label_numbers(r, list, lines, spec)
  local seen, number = {}, {}
  for _, v in ipairs(list) do seen[v] = true end
  local there = sorted(seen)
  local values = spec.values or spec.labels or there
  local why, fix = swapped(spec, #there, list)
  if values == there then
    if why then
      errors.raise('E301', { what = ("%s: column '%s' holds no labels"):format(r.path, spec.label), why = why,
                             fix = fix })
    end
    if #values < 2 then
      errors.raise('E301', ("%s: every label is '%s', expected at least two different ones"):format(r.path, values[1]))
    end
  end
  for k, v in ipairs(values) do number[v] = k - 1 end
  local out = ffi.new('int32_t[?]', #list)
  for i, v in ipairs(list) do
    if not number[v] then
      errors.raise('E301', { what = ("%s:%d: label is '%s', expected one of %s"):format(r.path, lines[i], v,
        few(values)), why = why, fix = fix })
    end
    out[i - 1] = number[v]
  end
  return out, spec.labels or values
end

--- Reads a file. spec: { output = 'classify' | 'regress'; names or numbers of columns: text, pair (nil: single texts),
--- label (nil: not read); labels (names; nil: those that occur), values (the labels as the file spells them, in the
--- order of labels), format, header, corrupt = 'skip' to pass over rows of the wrong width, and pairs with an empty
--- text }. Returns { n, texts, pairs, labels = int32[n] or scores = double[n], lines (line of each), label_names, path,
--- skipped }. Raises (code 3) with file and line for a row that does not fit, a label outside the set, a score that is
--- no number, text that is not UTF-8, an empty label; with the file for one without examples.
function M.read(path, spec)
  local r = records.open(path, { format = spec.format, header = spec.header, keep = spec.corrupt == 'skip' })
  local text, pair = r:column(spec.text), spec.pair and r:column(spec.pair)
  local label = spec.label and r:column(spec.label)
  local set = { n = 0, texts = {}, pairs = pair and {} or nil, lines = {}, path = path, skipped = 0 }
  local values = {}
  local function half(record) return pair and not (text(record):find '%S' and pair(record):find '%S') end
  for record in r:each() do
    if record.bad or spec.corrupt == 'skip' and half(record) then
      set.skipped = set.skipped + 1
    else
      local n = set.n + 1
      set.n, set.lines[n] = n, record.line
      set.texts[n] = text_of(r, record, text, spec.text)
      if pair then set.pairs[n] = text_of(r, record, pair, spec.pair) end
      if label then
        local v = label_of(r, record, label, spec.label)
        values[n] = v
        if spec.output == 'regress' then
          local score = tonumber(v)
          if not score or score ~= score or math.abs(score) == math.huge then
            refuse(r, record, ("column '%s' is '%s', expected a number"):format(spec.label, v))
          end
          values[n] = score
        end
      end
    end
  end
  if set.n == 0 then errors.raise('E306', path .. ': no examples in it') end
  set.label_names = spec.output == 'regress' and { 'score' } or spec.labels
  if label and spec.output == 'regress' then
    set.scores = array('double[?]', values, set.n)
  elseif label then
    set.labels, set.label_names = label_numbers(r, values, set.lines, spec)
  end
  return set
end

return M
