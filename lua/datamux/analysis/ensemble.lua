-- ensemble.lua -- what is gained when each text is read in several slots and the logits averaged: in the slots of one
-- row (dynamic N of MIMONets; with N copies, as MUX-PLM), or in several rows beside other texts. The price is the same,
-- as many passes. Published gains could not be obtained.
local analysis = require 'datamux.analysis'
local evaluate = require 'datamux.evaluate'

local M = { summary = 'score gained per copy, when each text is read in several slots' }

M.columns = { { 'task', 'task', '%s' }, { 'model', 'model', '%s' }, { 'n', 'N', '%d' }, { 'copies', 'copies', '%d' },
              { 'where', 'copies are', '%s' },
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
    local function add(k, where, more)
      more.detail = false
      local r = evaluate.score(item.net, item.set, setmetatable(more, { __index = item.options }), o.groupings)
      alone = alone or r.value
      rows[#rows + 1] = { task = item.task, model = item.words, n = item.n, copies = k, where = where,
        metric = r.metric, value = r.value, std = r.std, gain = r.value - alone,
        per_copy = k > 1 and (r.value - alone) / (k - 1) or nil, cost = k / item.n }
    end
    for _, k in ipairs(copies(item.n)) do
      add(k, k > 1 and 'beside others' or nil, { ensemble = k })
      if k > 1 and item.n % k == 0 then add(k, 'in one row', { live = item.n / k }) end
    end
  end)
  return rows, { notes = { ('%d random groupings. passes per text: copies / N, 1 for the plain network.')
    :format(o.groupings) } }
end

function M.picture(rows)
  local function label(r)
    return ('%s: %s, N = %d%s'):format(r.task, r.model, r.n, r.where == 'in one row' and ', in one row' or '')
  end
  return analysis.picture(analysis.series(rows, label, 'copies', 'value', 'std'), {
    x = 'copies of each text', y = 'dev score', x_log = 2, title = 'Ensembles of slots' })
end

return M
