-- slots.lua -- the score of each slot (index in the mixture), mean and spread over random groupings.
local analysis = require 'datamux.analysis'
local evaluate = require 'datamux.evaluate'

local M = { summary = 'score of each slot, with its spread over groupings' }

M.columns = { { 'task', 'task', '%s' }, { 'model', 'model', '%s' }, { 'n', 'N', '%d' }, { 'slot', 'slot', '%d' },
              { 'value', 'mean', '%.4f' }, { 'std', 'std', '%.4f' } }

local summary = { { 'task', 'task', '%s' }, { 'model', 'model', '%s' }, { 'n', 'N', '%d' },
  { 'value', 'mean of slots', '%.4f' }, { 'between', 'std between slots', '%.4f' },
  { 'within', 'std within a slot', '%.4f' }, { 'least', 'least', '%.4f' }, { 'most', 'most', '%.4f' } }

function M.collect(o)
  local rows, sums = {}, {}
  analysis.each(o, true, function(item)
    local by = {}
    for g = 1, o.groupings do
      local r = evaluate.score(item.net, item.set, setmetatable({ first = g }, { __index = item.options }), 1)
      for slot, value in pairs(r.per_index) do
        by[slot] = by[slot] or {}
        if value == value then table.insert(by[slot], value) end
      end
    end
    local means, within = {}, 0
    for slot = 1, item.n do
      local mean, std = evaluate.spread(by[slot] or {})
      rows[#rows + 1] = { task = item.task, model = item.words, n = item.n, slot = slot, value = mean, std = std }
      means[slot], within = mean, within + std / item.n
    end
    local mean, between, least, most = evaluate.spread(means)
    sums[#sums + 1] = { task = item.task, model = item.words, n = item.n, value = mean, between = between,
      within = within, least = least, most = most }
  end)
  return rows, { tables = { { title = 'Spread', columns = summary, rows = sums } },
    notes = { ('%d random groupings; std of a slot: over the groupings. Slots differ where the std between them '
      .. 'is more than that within one divided by the root of the groupings less one.'):format(o.groupings) } }
end

function M.picture(rows)
  return analysis.picture(analysis.series(rows, function(r) return ('%s: %s, N = %d'):format(r.task, r.model, r.n) end,
    'slot', 'value', 'std'), { x = 'slot', y = 'dev score', title = 'Score of each slot' })
end

return M
