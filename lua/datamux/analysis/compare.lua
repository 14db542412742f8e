-- compare.lua -- analyses that train one recipe in several forms and put the scores side by side: strategies, heads,
-- depth, width, warmup. Each names its forms; what is finished is shown, the rest are empty cells.
local errors = require 'datamux.errors'

local M = {}

--- Columns of a comparison after its own ones.
function M.columns(own)
  local out = {}
  for i, c in ipairs(own) do out[i] = c end
  for _, c in ipairs { { 'metric', 'metric', '%s' }, { 'value', 'mean', '%.4f' }, { 'std', 'std', '%.4f' },
                       { 'retrieval', 'retrieval', '%.4f' }, { 'parameters', 'parameters', '%d' },
                       { 'seconds', 'seconds', '%.1f' } } do out[#out + 1] = c end
  return out
end

--- Rows of o.entries: each entry's `cell` (its own columns) with what its run scored. Raises E200 for models that were
--- named.
function M.rows(o)
  local rows = {}
  if #o.paths > 0 then
    errors.raise('E200', { what = ("'%s': this report compares trainings of its own, no models can be named"):format(
      o.paths[1]), fix = 'leave it out' })
  end
  for i, e in ipairs(o.entries) do
    local row = {}
    for k, v in pairs(e.cell) do row[k] = v end
    local r = e.run
    if r then
      row.metric, row.value, row.std, row.retrieval = r.metric, r.value, r.std, r.report.retrieval
      row.parameters, row.seconds, row.run, row.date, row.command = r.report.parameters, r.seconds, r.dir, r.date,
        r.command
    end
    rows[i] = row
  end
  return rows
end

--- The sentence under such a table: what is missing and how it is trained.
function M.note(o, name)
  local missing = 0
  for _, e in ipairs(o.entries) do missing = missing + (e.run and 0 or 1) end
  if missing == 0 then return nil end
  return ('%d of %d cells are not trained yet: datamux report %s --train'):format(missing, #o.entries, name)
end

return M
