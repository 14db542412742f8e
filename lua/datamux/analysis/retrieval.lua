-- retrieval.lua -- how many tokens of held-out text the demultiplexer gives back, against N.
local analysis = require 'datamux.analysis'

local M = { summary = 'retrieval accuracy on held-out text against N' }

M.columns = { { 'task', 'task', '%s' }, { 'model', 'model', '%s' }, { 'n', 'N', '%d' },
              { 'retrieval', 'one instance', '%.4f' }, { 'all', 'all instances', '%.4f' },
              { 'asked', 'positions', '%d' }, { 'steps', 'warm-up steps', '%d' },
              { 'reached', 'after the warm-up', '%.4f' }, { 'date', 'date', '%s' } }

-- Retrieval accuracy at the end of the warm-up.
local function reached(history)
  local value
  for _, e in ipairs(history or {}) do
    if e.stage == 'warmup' and type(e.retrieval) == 'number' then value = e.retrieval end
  end
  return value
end

function M.collect(o)
  local rows = {}
  for i, r in ipairs(analysis.runs(o, function(r) return r.report.retrieval ~= nil end, 'a retrieval score')) do
    rows[i] = { task = r.task, model = r.model, n = r.n, retrieval = r.report.retrieval, all = r.report.retrieval_all,
      asked = r.report.retrieval_asked, steps = r.values['warmup.steps'], reached = reached(r.report.history),
      date = r.date, run = r.dir, command = r.command }
  end
  if #rows == 0 then analysis.none(o, ' with a retrieval score') end
  return rows, { notes = { 'one instance: a random one at each position, the weights that scored best on the task; '
    .. 'after the warm-up: before the task was learned. The published figures could not be obtained.' } }
end

function M.picture(rows)
  return analysis.picture(analysis.series(rows, function(r) return r.task .. ': ' .. r.model end, 'n', 'retrieval'),
    { x = 'N', y = 'retrieval accuracy', x_log = 2, title = 'Retrieval against N' })
end

return M
