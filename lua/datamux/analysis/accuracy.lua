-- accuracy.lua -- the score on the dev set against N, ours and the published.
local analysis = require 'datamux.analysis'
local published = require 'datamux.published'

local M = { summary = 'score on the dev set against N, beside the published' }

M.columns = { { 'task', 'task', '%s' }, { 'model', 'model', '%s' }, { 'n', 'N', '%d' }, { 'metric', 'metric', '%s' },
              { 'value', 'mean', '%.4f' }, { 'std', 'std', '%.4f' }, { 'min', 'min', '%.4f' }, { 'max', 'max', '%.4f' },
              { 'scored', 'scored', '%d' }, { 'published', 'published', '%.3f' }, { 'mark', 'mark', '%s' } }

-- The published figure that stands nearest: of the plain network at N = 1, else of hadamard with index prefix.
local function nearest(r)
  for _, p in ipairs(published.tasks) do
    local plain = p.model:find(r.values['model.kind'] == 'plain' and ', plain$' or r.n == 1 and ', plain after'
      or 'hadamard')
    if p.task == r.task and plain and p[r.n] and p.metric == r.metric then return p[r.n] end
  end
  for _, p in ipairs(published.images) do
    if p.task == r.task and p.model == r.model and p[r.n] then return p[r.n] end
  end
  return {}
end

function M.collect(o)
  local rows = {}
  for i, r in ipairs(analysis.runs(o, analysis.scored, 'a score of its task')) do
    local p = nearest(r)
    rows[i] = { task = r.task, model = r.model, n = r.n, metric = r.metric, value = r.value, std = r.std,
      min = r.report.min, max = r.report.max, scored = r.report.scored, published = p[1], mark = p[2], run = r.dir,
      date = r.date, command = r.command }
  end
  if #rows == 0 then analysis.none(o) end
  return rows, { notes = { 'std, min, max: over random groupings of the dev set. published: 12 x 768 (texts). '
    .. published.marks } }
end

function M.picture(rows)
  local series = analysis.series(rows, function(r) return r.task .. ': ' .. r.model end, 'n', 'value', 'std')
  local others = analysis.series(rows, function(r) return r.task .. ': published' end, 'n', 'published')
  for _, s in ipairs(others) do series[#series + 1] = s end
  return analysis.picture(series, { x = 'N', y = 'dev score', x_log = 2, title = 'Score against N' })
end

return M
