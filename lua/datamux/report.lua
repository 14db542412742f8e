-- report.lua -- the results of a run as text and as JSON.
local M = {}

local function duration(seconds)
  if seconds < 60 then return ('%.1f s'):format(seconds) end
  return ('%d min %02d s'):format(math.floor(seconds / 60), math.floor(seconds % 60))
end

local function bars(per_index)
  local out, least, most, low, high = {}, 2, -1, 1, 1
  for i, a in ipairs(per_index) do
    out[i] = ('%.3f'):format(a)
    if a < least then least, low = a, i end
    if a > most then most, high = a, i end
  end
  return table.concat(out, ' '), least, low, most, high
end

--- The report as text. results: Session:results(); config: the run's; dir: its folder or nil.
function M.text(results, config, dir)
  local r, out = results, {}
  local function say(...) out[#out + 1] = string.format(...) end
  say('%s · %s · N = %d · %d layers of %d, %.1f M parameters', config.name, config.task, config.mux.n,
    config.model.layers, config.model.width, r.parameters / 1e6)
  if r.accuracy then
    say('')
    say('dev: scored %d/%d in each of %d random groupings%s', r.scored, r.total, #r.groupings,
      r.best_step and (', best weights (step %d)'):format(r.best_step) or '')
    say('  accuracy   %.4f   (std %.4f, min %.4f, max %.4f)', r.accuracy, r.std, r.min, r.max)
    if config.mux.n > 1 then
      local list, least, low, most, high = bars(r.per_index)
      say('  by slot    min %.3f (slot %d)  max %.3f (slot %d)', least, low, most, high)
      say('             %s', (list:gsub(('[%d.]+ '):rep(10), '%0\n             ')))
    end
  end
  if r.retrieval then
    say('  retrieval  %.4f on held-out text (%d positions, one random instance each)', r.retrieval, r.retrieval_asked)
  end
  say('')
  say('time %s · peak memory %.0f MiB · %s', duration(r.seconds), r.peak / 1048576, r.device)
  if r.examples_per_second then say('scoring %.0f texts/s', r.examples_per_second) end
  if dir then say('run %s', dir) end
  return table.concat(out, '\n')
end

--- The same as a table for JSON; schema 1.
function M.table(results, config)
  local out = { schema = 1, name = config.name, task = config.task, n = config.mux.n }
  for k, v in pairs(results) do out[k] = v end
  return out
end

return M
