-- neighbours.lua -- how often an answer changes when a text is read beside other texts (in another slot too).
local analysis = require 'datamux.analysis'
local evaluate = require 'datamux.evaluate'

local M = { summary = 'how often an answer changes with the neighbours of a text' }

M.columns = { { 'task', 'task', '%s' }, { 'model', 'model', '%s' }, { 'n', 'N', '%d' },
              { 'flips', 'changed answers', '%.4f' }, { 'groupings', 'groupings', '%d' },
              { 'value', 'mean score', '%.4f' }, { 'std', 'std', '%.4f' }, { 'min', 'min', '%.4f' },
              { 'max', 'max', '%.4f' } }

function M.collect(o)
  local rows = {}
  analysis.each(o, true, function(item)
    local r = evaluate.score(item.net, item.set, item.options, math.max(o.groupings, 2))
    rows[#rows + 1] = { task = item.task, model = item.words, n = item.n, flips = r.flips, groupings = #r.groupings,
      metric = r.metric, value = r.value, std = r.std, min = r.min, max = r.max }
  end)
  return rows, { notes = { 'changed answers: part of the texts (tags: words) whose answer differs between two random '
    .. 'groupings, mean over all pairs of groupings; for scores, the mean distance' } }
end

function M.picture(rows)
  return analysis.picture(analysis.series(rows, function(r) return r.task .. ': ' .. r.model end, 'n', 'flips'),
    { x = 'N', y = 'changed answers', x_log = 2, kind = 'points', title = 'Answers that change with the neighbours' })
end

return M
