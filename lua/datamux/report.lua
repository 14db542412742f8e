-- report.lua -- the results of a run as text and as JSON.
local plural = require 'datamux.plural'
local recipe = require 'datamux.recipe'

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

-- Columns of text, right-aligned after the first, as lines.
local function columns(rows)
  local width, out = {}, {}
  for _, row in ipairs(rows) do
    for k, cell in ipairs(row) do width[k] = math.max(width[k] or 0, #cell) end
  end
  for i, row in ipairs(rows) do
    local line = {}
    for k, cell in ipairs(row) do line[k] = ('%' .. (k == 1 and '-' or '') .. width[k] .. 's'):format(cell) end
    out[i] = table.concat(line, '   ')
  end
  return out
end

local function number(v) return ('%.4f'):format(v) end

-- Precision, recall, F1 and support of labels or of types of entities.
local function per_class(say, r)
  local rows, names, of = { { 'class', 'precision', 'recall', 'f1', 'support' } }, r.label_names, r.per_class
  if r.entities then
    names, of = {}, r.entities.types
    for name in pairs(of) do names[#names + 1] = name end
    table.sort(names)
    rows[1][1] = 'entity'
  end
  for k, name in ipairs(names) do
    local c = of[r.entities and name or k]
    rows[#rows + 1] = { name, number(c.precision), number(c.recall), number(c.f1), ('%d'):format(c.support) }
  end
  say('')
  for _, line in ipairs(columns(rows)) do say('  %s', line) end
end

local WIDEST = 12                  -- labels of a confusion matrix that is shown

local function confusion(say, r)
  if #r.label_names > WIDEST then return end
  local rows = { { 'is, answered as' } }
  for k, name in ipairs(r.label_names) do
    rows[1][k + 1], rows[k + 1] = name, { name }
    for j = 1, #r.label_names do rows[k + 1][j + 1] = ('%d'):format(r.confusion[k][j]) end
  end
  say('')
  for _, line in ipairs(columns(rows)) do say('  %s', line) end
end

-- "scored 872/872 in each of 5 random groupings"
local function scored(r)
  local n = #r.groupings
  return ('scored %d/%d in %s%s'):format(r.scored, r.total, n > 1 and 'each of ' or '', plural.of(n, 'random grouping'))
end

-- What follows from the scores of groupings (see evaluate.score), line by line. n: the model's N.
local function add_scores(say, r, n)
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
  if r.flips then
    say(r.metrics.pearson and '  with other neighbours a score moves by %.4f' or
      '  with other neighbours %.2f %% of the answers change', r.metrics.pearson and r.flips or 100 * r.flips)
  end
  if n > 1 and r.per_index and #r.per_index == n then
    local list, least, low, most, high = bars(r.per_index)
    say('  by slot    min %.3f (slot %d)  max %.3f (slot %d)', least, low, most, high)
    say('             %s', (list:gsub(('[%d.]+ '):rep(10), '%0\n             ')))
  end
  if r.by_length then
    local out = {}
    for i, b in ipairs(r.by_length) do
      out[i] = ('%d%s: %.3f (%d)'):format(b.from, b.to and '-' .. b.to or ' and more', b.value, b.n)
    end
    say('  by length  %s', table.concat(out, '   '))
  end
  if r.per_class or r.entities then per_class(say, r) end
  if r.confusion then confusion(say, r) end
end

--- The scores of a finished model as text. r: what evaluate.score returns, with data (its name), notices, retrieval;
--- model: see saved.load.
function M.scores(r, model)
  local out = {}
  local function say(...) out[#out + 1] = string.format(...) end
  say('%s%s · %s, %.1f M parameters', r.model, r.step and (' (step %d)'):format(r.step) or '',
    recipe.words(model.config), model.model:count() / 1e6)
  for _, text in ipairs(r.notices or {}) do say('notice: %s', text) end
  say('')
  say('%s: %s', r.data, scored(r))
  add_scores(say, r, model.n)
  if r.retrieval then
    say('  retrieval  %.4f (%s, one random instance each)', r.retrieval, plural.of(r.retrieval_asked, 'position'))
  end
  say('')
  say('scoring %.0f %s/s · peak memory %.0f MiB · %s', r.examples_per_second, model.images and 'images' or 'texts',
    r.peak / 1048576, r.device)
  return table.concat(out, '\n')
end

--- The report as text. results: Session:results(); config: the run's; dir: its folder or nil.
function M.text(results, config, dir)
  local r, out = results, {}
  local function say(...) out[#out + 1] = string.format(...) end
  say('%s · %s · %s, %.2f M parameters', config.name, config.task, recipe.words(config), r.parameters / 1e6)
  if r.metric then
    say('')
    say('dev: %s%s', scored(r), r.best_step and (', best weights (step %d)'):format(r.best_step) or '')
    add_scores(say, r, config.mux.n)
  end
  if r.retrieval then
    say('  retrieval  %.4f on held-out text (%s, one random instance each)%s', r.retrieval,
      plural.of(r.retrieval_asked, 'position'),
      r.retrieval_all and (', %.4f over all instances'):format(r.retrieval_all) or '')
  end
  say('')
  say('time %s · peak memory %.0f MiB · %s', duration(r.seconds), r.peak / 1048576, r.device)
  if r.examples_per_second then say('scoring %.0f examples/s', r.examples_per_second) end
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
