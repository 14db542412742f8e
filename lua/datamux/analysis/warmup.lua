-- warmup.lua -- with and without the retrieval warm-up, SST-2 at N = 5 and 20, the recipes' own schedules.
local analysis = require 'datamux.analysis'
local compare = require 'datamux.analysis.compare'

local M = { summary = 'with and without the retrieval warm-up, SST-2 at N = 5 and 20' }

function M.plan()
  local out = {}
  for _, n in ipairs { 5, 20 } do
    for _, with in ipairs { true, false } do
      out[#out + 1] = { name = ('warmup-n%d-%s'):format(n, with and 'with' or 'without'),
        recipe = ('sst2_n%d.lua'):format(n), words = with and {} or { 'warmup.steps=0' },
        cell = { n = n, warmup = with and 'with' or 'without' } }
    end
  end
  return out
end

M.columns = compare.columns { { 'n', 'N', '%d' }, { 'warmup', 'warm-up', '%s' } }

function M.collect(o) return compare.rows(o), { notes = { compare.note(o, 'warmup') } } end

function M.picture(rows)
  local named = {}
  for i, r in ipairs(rows) do
    named[i] = setmetatable({ label = ('N = %d'):format(r.n) }, { __index = r })
  end
  local function label(r) return r.warmup .. ' warm-up' end
  return analysis.picture(analysis.bars(named, label, 'label', 'value', 'std'), {
    kind = 'bars', y = 'dev accuracy', title = 'Retrieval warm-up, SST-2' })
end

return M
