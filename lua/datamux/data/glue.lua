-- glue.lua -- the GLUE tasks' files: tab-separated, quotes are literal (Wang et al. 2019). SST-2 so far.
local ffi = require 'ffi'
local cache = require 'datamux.data.cache'
local errors = require 'datamux.errors'
local reader = require 'datamux.data.reader'

local M = {}

--- What a task's files look like: its folder, columns of text and label, label names (label k is names[k + 1]).
M.tasks = {
  sst2 = { folder = 'SST-2', text = 'sentence', label = 'label', labels = { 'negative', 'positive' } },
}

local function split(line)
  local cells = {}
  for cell in (line .. '\t'):gmatch '([^\t]*)\t' do cells[#cells + 1] = cell end
  return cells
end

local function column(header, name, path)
  for i, h in ipairs(header) do
    if h == name then return i end
  end
  errors.raise(3, ("%s:1: no column '%s', columns are: %s"):format(path, name, table.concat(header, ', ')))
end

--- Reads a file of `task` from `path`. Returns { n, texts, labels = int32[n] or nil, label_names, path }. Raises a
--- data error with path and line for a wrong number of columns, an unknown label, text that is not UTF-8.
function M.read_file(task, path, unlabelled)
  local spec = M.tasks[task]
  local set = { n = 0, texts = {}, label_names = spec.labels, path = path }
  local header, text, label
  local labels = {}
  for line, number in reader.lines(path) do
    local where = ('%s:%d: '):format(path, number)
    if not header then
      header = split((line:gsub('^\239\187\191', '')))
      text = column(header, spec.text, path)
      label = not unlabelled and column(header, spec.label, path)
    elseif line ~= '' then
      local cells = split(line)
      if #cells ~= #header then
        errors.raise(3, ('%s%d columns, expected %d (%s)'):format(where, #cells, #header, table.concat(header, ', ')))
      end
      if reader.invalid_utf8(cells[text]) then errors.raise(3, where .. 'the text is not valid UTF-8') end
      set.n = set.n + 1
      set.texts[set.n] = (cells[text]:gsub('%s+$', ''))
      if label then
        local k = tonumber(cells[label])
        if not k or not spec.labels[k + 1] then
          errors.raise(3, ("%slabel is '%s', expected 0 .. %d"):format(where, cells[label], #spec.labels - 1))
        end
        labels[set.n] = k
      end
    end
  end
  if set.n == 0 then errors.raise(3, path .. ': no examples in it') end
  if label then
    set.labels = ffi.new('int32_t[?]', set.n)
    for i = 1, set.n do set.labels[i - 1] = labels[i] end
  end
  return set
end

--- Reads a split ('train', 'dev', 'test') of a task, found by datamux.data.cache.
function M.read(task, split_name)
  local spec = M.tasks[task]
  if not spec then
    local names = {}
    for name in pairs(M.tasks) do names[#names + 1] = name end
    errors.raise(2, ("unknown task '%s'.%s"):format(task, errors.suggest(task, names)))
  end
  return M.read_file(task, cache.find(spec.folder, split_name .. '.tsv'), split_name == 'test')
end

return M
