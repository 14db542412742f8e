-- ensemble.lua -- what is gained when each text is read in several slots beside other texts and the logits averaged;
-- the price is as many passes. Published: each instance N times (MUX-PLM); its gains could not be obtained.
local analysis = require 'datamux.analysis'
local evaluate = require 'datamux.evaluate'
local timing = require 'datamux.timing'

local M = { summary = 'score gained per copy, when each text is read in several slots' }

M.columns = { { 'task', 'task', '%s' }, { 'model', 'model', '%s' }, { 'n', 'N', '%d' }, { 'copies', 'copies', '%d' },
              { 'value', 'mean', '%.4f' }, { 'std', 'std', '%.4f' }, { 'gain', 'gain', '%+.4f' },
              { 'per_copy', 'gain per copy', '%+.4f' }, { 'cost', 'passes per text', '%.2f' } }

-- 1, 2, 3, 5, 10, .. up to N.
local function copies(n)
  local out = {}
  for _, k in ipairs { 1, 2, 3, 5, 10, 20, 40 } do
    if k <= n then out[#out + 1] = k end
  end
  if out[#out] ~= n then out[#out + 1] = n end
  return out
end

function M.collect(o)
  local rows = {}
  analysis.each(o, true, function(item)
    local alone
    for _, k in ipairs(copies(item.n)) do
      local options = setmetatable({ ensemble = k, detail = false }, { __index = item.options })
      local r = evaluate.score(item.net, item.set, options, o.groupings)
      local _, std = timing.spread(r.groupings)
      alone = alone or r.value
      rows[#rows + 1] = { task = item.task, model = item.words, n = item.n, copies = k, metric = r.metric,
        value = r.value, std = std, gain = r.value - alone, per_copy = k > 1 and (r.value - alone) / (k - 1) or nil,
        cost = k / item.n }
    end
  end)
  return rows, { notes = { ('%d random groupings. passes per text: copies / N, 1 for the plain network.')
    :format(o.groupings) } }
end

function M.picture(rows)
  return analysis.picture(analysis.series(rows, function(r) return ('%s: %s, N = %d'):format(r.task, r.model, r.n) end,
    'copies', 'value', 'std'), { x = 'copies of each text', y = 'dev score', x_log = 2, title = 'Ensembles of slots' })
end

return M
