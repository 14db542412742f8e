-- sweep.lua -- every combination of several keys' values as a run of its own, and one table at the end.
local columns = require 'datamux.columns'
local errors = require 'datamux.errors'
local override = require 'datamux.override'

local M = {}

-- The values of a list: a,b,c; a range of whole numbers 1..5; or both mixed.
local function values_of(text)
  local out = {}
  for item in text:gmatch '[^,]+' do
    local from, to = item:match '^(%-?%d+)%.%.(%-?%d+)$'
    if from then
      for v = tonumber(from), tonumber(to) do out[#out + 1] = tostring(v) end
    else
      out[#out + 1] = item
    end
  end
  return out
end

--- Reads words key=a,b: { { path, values = { text, .. } }, .. }. Each value is checked against the schema. Raises E200,
--- E201, E202, E206.
function M.axes(words)
  local axes, count = {}, 1
  for _, word in ipairs(words) do
    local key, text = word:match '^([%w_.]+)=(.+)$'
    if not key then
      errors.raise('E200', { what = ("--sweep '%s', expected key=a,b or key=1..3"):format(word),
                             where = '--sweep', fix = '--sweep train.lr=1e-3,2e-3' })
    end
    local path, e = override.complete(key, '--sweep ' .. word, text)
    local values = values_of(text)
    if #values == 0 then
      errors.raise('E200', { what = ("--sweep '%s' has no values"):format(word), fix = '--sweep seed=1..3' })
    end
    for _, v in ipairs(values) do override.parse(path, e, v, '--sweep ' .. word) end
    for _, axis in ipairs(axes) do
      if axis.path == path then
        errors.raise('E200', { what = ("--sweep names '%s' twice"):format(path), fix = ('--sweep %s=%s,%s'):format(path,
          table.concat(axis.values, ','), text) })
      end
    end
    axes[#axes + 1] = { path = path, values = values }
    count = count * #values
  end
  return axes, count
end

--- Combination number k (from 1) of axes: a list of words key=value. The last axis turns fastest.
function M.combination(axes, k)
  local words, rest = {}, k - 1
  for i = #axes, 1, -1 do
    local n = #axes[i].values
    words[i] = ('%s=%s'):format(axes[i].path, axes[i].values[rest % n + 1])
    rest = math.floor(rest / n)
  end
  return words
end

-- The table of finished combinations as text.
local function text(axes, rows)
  local head = {}
  for i, axis in ipairs(axes) do head[i] = axis.path end
  for _, name in ipairs { 'accuracy', 'std', 'retrieval', 'seconds', 'run' } do head[#head + 1] = name end
  local out = { head }
  for _, r in ipairs(rows) do
    local row = {}
    for i, axis in ipairs(axes) do row[i] = r.values[axis.path] end
    for _, name in ipairs { 'accuracy', 'std', 'retrieval' } do row[#row + 1] = columns.number(r[name]) end
    row[#row + 1] = columns.number(r.seconds, '%.1f')
    row[#row + 1] = r.run or r.error
    out[#out + 1] = row
  end
  return columns.text(out)
end

--- Runs every combination of o.sweep with train(recipe, o, words) -> code, results, folder, whether to stop after it;
--- prints the table. A combination that fails is a row with its error, and the others go on; Ctrl-C ends the sweep.
--- Returns the first exit code that is not 0.
function M.run(recipe, o, train)
  if o.resume then
    errors.raise('E200', { what = '--sweep cannot be continued with --resume',
                           fix = 'continue single runs with --resume=RUN; datamux runs ls shows them' })
  end
  local axes, count = M.axes(o.sweep)
  local rows, first = {}, 0
  for k = 1, count do
    local words = M.combination(axes, k)
    if not o.quiet then io.stderr:write(('sweep %d of %d: %s\n'):format(k, count, table.concat(words, ' '))) end
    local row = { values = {} }
    for i, axis in ipairs(axes) do row.values[axis.path] = words[i]:match '=(.*)$' end
    local ok, code, results, folder, last = pcall(train, recipe, o, words)
    if not ok then
      if not errors.is(code) then error(code, 0) end
      io.stderr:write('error', code.id and ('[%s]'):format(code.id) or '', ': ', code.message, '\n')
      row.error, row.code = (code.id or '') .. ' ' .. (code.what or code.message):match '[^\n]+', code.code
    else
      row.code, row.run, results = code, folder, results or {}
      for _, name in ipairs { 'accuracy', 'std', 'retrieval', 'seconds' } do row[name] = results[name] end
    end
    rows[k] = row
    if first == 0 then first = last and k < count and errors.codes.stopped or row.code end
    if row.code == errors.codes.stopped or last then break end
    collectgarbage()
  end
  if o.dry_run then return first end
  print(o.json and require('datamux.json').encode(require('datamux.json').list(rows), true) or text(axes, rows))
  return first
end

return M
