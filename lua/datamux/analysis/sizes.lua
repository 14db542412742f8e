-- sizes.lua -- the forms of the analyses heads, depth and width: one size of the network varied, the rest as in the
-- recipe of SST-2 at N = 5. Small: 4 x 256 and a schedule of minutes; paper: the published sizes and schedule.
local analysis = require 'datamux.analysis'
local compare = require 'datamux.analysis.compare'

local M = {}

local short = { 'warmup.steps=1500', 'warmup.every=500', 'train.steps=2000', 'train.every=500', 'eval.bootstrap=0' }

--- An analysis over one key. o: { name, key, title, small = values, paper = values, words (more for all) }.
function M.over(o)
  local A = { summary = ('score against %s, SST-2 at N = 5'):format(o.title) }

  function A.plan(settings)
    local out, paper = {}, settings.profile == 'paper'
    for _, v in ipairs(paper and o.paper or o.small) do
      local words = paper and {} or { unpack(short) }
      for _, w in ipairs(o.words or {}) do words[#words + 1] = w end
      words[#words + 1] = ('%s=%d'):format(o.key, v)
      out[#out + 1] = { name = ('%s-%d'):format(o.name, v), recipe = 'sst2_n5.lua', words = words, cell = { x = v } }
    end
    return out
  end

  A.columns = compare.columns { { 'x', o.title, '%d' } }

  function A.collect(settings)
    return compare.rows(settings), { notes = { compare.note(settings, o.name) } }
  end

  function A.picture(rows)
    local all = analysis.series(rows, function() return 'N = 5' end, 'x', 'value', 'std')
    return analysis.picture(all, { x = o.title, y = 'dev accuracy', x_log = 2, title = 'SST-2 against ' .. o.title })
  end

  return A
end

return M
