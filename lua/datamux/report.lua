-- report.lua -- the results of a run as text and as JSON.
local M = {}

local function duration(seconds)
  if seconds < 60 then return ('%.1f s'):format(seconds) end
  return ('%d min %02d s'):format(math.floor(seconds / 60), math.floor(seconds % 60))
end

local function bars(per_index)
  local out, least, most, low, high = {}, math.huge, -math.huge, 1, 1
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
  if r.metric then
    say('')
    say('dev: scored %d/%d in each of %d random groupings%s', r.scored, r.total, #r.groupings,
      r.best_step and (', best weights (step %d)'):format(r.best_step) or '')
    say('  %-10s %.4f   (std %.4f, min %.4f, max %.4f)%s', r.metric, r.value, r.std, r.min, r.max,
      r.interval and ('   95 %% bootstrap %.4f to %.4f'):format(r.interval.low, r.interval.high) or '')
    local others = {}
    for name, value in pairs(r.metrics) do
      if name ~= r.metric then others[#others + 1] = ('%s %.4f'):format(name, value) end
    end
    table.sort(others)
    if #others > 0 then say('  also       %s', table.concat(others, '   ')) end
    if r.paper then
      say('  published protocol (drops the tail): %d of %d scored, %s %s', r.paper.scored, r.paper.total, r.metric,
        r.paper.value and ('%.4f'):format(r.paper.value) or 'of nothing')
    end
    if r.ensemble then
      say('  ensemble   %.4f   (each text in %d slots, answers averaged)', r.ensemble.value, r.ensemble.k)
    end
    if config.mux.n > 1 and #r.per_index == config.mux.n then
      local list, least, low, most, high = bars(r.per_index)
      say('  by slot    min %.3f (slot %d)  max %.3f (slot %d)', least, low, most, high)
      say('             %s', (list:gsub(('[%d.]+ '):rep(10), '%0\n             ')))
    end
  end
  if r.retrieval then
    say('  retrieval  %.4f on held-out text (%d positions, one random instance each)%s', r.retrieval, r.retrieval_asked,
      r.retrieval_all and (', %.4f over all instances'):format(r.retrieval_all) or '')
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
