-- report.lua -- the results of a run as text, as Markdown and as JSON.
local columns = require 'datamux.columns'
local fit = require 'datamux.models.fit'
local json = require 'datamux.json'
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
    out[i] = columns.number(a, '%.3f')
    if a < least then least, low = a, i end
    if a > most then most, high = a, i end
  end
  return table.concat(out, ' '), least, low, most, high
end

-- Columns of text, right-aligned after the first, as lines.
local function aligned(rows)
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

local number = columns.number

-- Precision, recall, F1 and support of labels or of types of entities, as rows; nil where there are none.
local function class_rows(r)
  if not (r.per_class or r.entities) then return nil end
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
  return rows
end

-- Which grouping the tables are of, beside scores that are means over several: "first grouping, accuracy 0.9738".
local function alone(r)
  return r.tables and #r.groupings > 1 and ('first grouping, %s %.4f'):format(r.metric, r.tables.value) or nil
end

local WIDEST = 12                  -- labels of a confusion matrix that is shown

local function confusion_rows(r)
  if not r.confusion or #r.label_names > WIDEST then return nil end
  local rows = { { 'is, answered as' } }
  for k, name in ipairs(r.label_names) do
    rows[1][k + 1], rows[k + 1] = name, { name }
    for j = 1, #r.label_names do rows[k + 1][j + 1] = ('%d'):format(r.confusion[k][j]) end
  end
  return rows
end

-- The other scores, by name.
local function others(r)
  local names = {}
  for name in pairs(r.metrics) do
    if name ~= r.metric then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- "scored 872/872 in each of 5 random groupings"
local function scored(r)
  local n = #r.groupings
  return ('scored %d/%d in %s%s'):format(r.scored, r.total, n > 1 and 'each of ' or '', plural.of(n, 'random grouping'))
end

local UNDEFINED = 'a correlation, and one side is constant'

-- What follows from the scores of groupings (see evaluate.score), line by line. n: the model's N.
local function add_scores(say, r, n)
  say('  %-10s %s   (%s)%s', r.metric, number(r.value), r.value == r.value
    and ('std %.4f, min %.4f, max %.4f'):format(r.std, r.min, r.max) or UNDEFINED,
    r.interval and ('   95 %% bootstrap %.4f to %.4f'):format(r.interval.low, r.interval.high) or '')
  local also = others(r)
  for i, name in ipairs(also) do also[i] = ('%s %s'):format(name, number(r.metrics[name])) end
  if #also > 0 then say('  also       %s', table.concat(also, '   ')) end
  if r.paper then
    say('  published protocol (drops the tail): %d of %d scored, %s %s', r.paper.scored, r.paper.total, r.metric,
      r.paper.value and number(r.paper.value) or 'of nothing')
  end
  if r.ensemble then
    say('  ensemble   %s   (each text in %d slots, answers averaged)', number(r.ensemble.value), r.ensemble.k)
  end
  if r.flips then
    say(r.metrics.pearson and '  with other neighbours a score moves by %.4f' or
      '  with other neighbours %.2f %% of the answers change', r.metrics.pearson and r.flips or 100 * r.flips)
  end
  if n > 1 and r.per_index and r.value == r.value then
    local list, least, low, most, high = bars(r.per_index)
    if least > most then
      say('  by slot    undefined')
    elseif least == most and not list:find 'undefined' then
      say('  by slot    all %.3f', least)
    else
      say('  by slot    min %.3f (slot %d)  max %.3f (slot %d)', least, low, most, high)
      say('             %s', (list:gsub(('%S+ '):rep(10), '%0\n             ')))
    end
  end
  if r.by_length then
    local out = {}
    for i, b in ipairs(r.by_length) do
      out[i] = ('%d%s: %s (%d)'):format(b.from, b.to and '-' .. b.to or ' and more', number(b.value, '%.3f'), b.n)
    end
    say('  by length  %s', table.concat(out, '   '))
  end
  local above = alone(r) and ('\n  of the %s'):format(alone(r)) or ''
  for _, rows in ipairs { class_rows(r) or {}, confusion_rows(r) or {} } do
    if #rows > 0 then say('%s', above) end
    for _, line in ipairs(aligned(rows)) do say('  %s', line) end
    above = ''
  end
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

-- -- the report of a run ---------------------------------------------------------------------------------------------

--- What the recipe expects (configuration `expect`) beside what was reached: a list, by name, of { metric, at_least,
--- value (nil: not scored), met }.
function M.expectations(expect, results)
  local out = json.list {}
  for name, e in pairs(expect or {}) do
    if e.at_least then
      local value = results.metrics and results.metrics[name] or results[name]
      out[#out + 1] = { metric = name, at_least = e.at_least, value = value, met = (value or -math.huge) >= e.at_least }
    end
  end
  table.sort(out, function(a, b) return a.metric < b.metric end)
  return out
end

--- Adds to Session:results() what follows from the configuration and from a price (dollars an hour, or nil): expected
--- (see expectations), dollars_per_million (texts that are scored).
function M.complete(results, config, price)
  results.expected = M.expectations(config.expect, results)
  if price and results.examples_per_second then
    results.price, results.dollars_per_million = price, price / 3600 * 1e6 / results.examples_per_second
  end
  return results
end

local function best_weights(r)
  if not r.best_step then return '' end
  local epoch = r.best_epoch and (', epoch %.2f'):format(r.best_epoch) or ''
  return (', best weights (step %d%s)'):format(r.best_step, epoch)
end

-- "19351 texts/s scoring, from tokens to answers (up to 24 tokens)", and the price where there is one.
local function speed(r, config)
  if not r.examples_per_second then return nil end
  local images = fit.images(config)
  return ('%.0f %s/s scoring%s%s'):format(r.examples_per_second, images and 'images' or 'texts', images and ''
    or (', from tokens to answers (up to %d tokens)'):format(config.data.length), r.dollars_per_million
    and (' · $%.4f per million at $%.2f/h'):format(r.dollars_per_million, r.price) or '')
end

local function verdict(e) return e.met and 'OK' or e.value and 'MISSED' or 'NOT SCORED' end

local NOT_SCORED = 'not scored (--no-eval); datamux eval %s does it'

--- The report as text. results: Session:results(), completed (see complete); config: the run's; dir: its folder or nil.
function M.text(results, config, dir)
  local r, out = results, {}
  local function say(...) out[#out + 1] = string.format(...) end
  say('%s · %s · %s, %.2f M parameters', config.name, config.task, recipe.words(config), r.parameters / 1e6)
  for _, text in ipairs(r.notices or {}) do say('notice: %s', text) end
  if r.no_eval then
    say('')
    say(NOT_SCORED, dir or 'RUN')
  elseif r.metric then
    say('')
    say('dev: %s%s', scored(r), best_weights(r))
    add_scores(say, r, config.mux.n)
  end
  if r.retrieval then
    say('  retrieval  %.4f on held-out text (%s, one random instance each)%s', r.retrieval,
      plural.of(r.retrieval_asked, 'position'),
      r.retrieval_all and (', %.4f over all instances'):format(r.retrieval_all) or '')
  end
  for _, e in ipairs(not r.no_eval and r.expected or {}) do
    say('  expected   %s at least %g   %s', e.metric, e.at_least, verdict(e))
  end
  say('')
  if r.examples_per_second then say('speed %s', speed(r, config)) end
  say('time %s · peak memory %.0f MiB · %s', duration(r.seconds), r.peak / 1048576, r.device)
  if dir then say('configuration, log and metrics in %s', dir) end
  return table.concat(out, '\n')
end

-- Names and values of a run's scores and costs, as rows.
local function measures(r, config)
  local rows = { { 'measure', 'value' } }
  local function add(name, form, ...) rows[#rows + 1] = { name, form:format(...) } end
  if r.metric then
    add(r.metric, '%s', number(r.value))
    if r.value == r.value then
      add('over the groupings: standard deviation, least, most', '%.4f, %.4f, %.4f', r.std, r.min, r.max)
    end
    if r.interval then add('95 % bootstrap', '%.4f to %.4f', r.interval.low, r.interval.high) end
    for _, name in ipairs(others(r)) do add(name, '%s', number(r.metrics[name])) end
    if r.paper and r.paper.value then
      add('published protocol', '%s (%d of %d scored)', number(r.paper.value), r.paper.scored, r.paper.total)
    end
    if r.ensemble then add(('each text in %d slots, averaged'):format(r.ensemble.k), '%s', number(r.ensemble.value)) end
    if r.flips then
      add(r.metrics.pearson and 'a score moves with other neighbours by' or 'answers that other neighbours change',
        r.metrics.pearson and '%.4f' or '%.2f %%', r.metrics.pearson and r.flips or 100 * r.flips)
    end
  end
  if r.retrieval then add('retrieval, held-out text', '%.4f', r.retrieval) end
  for _, e in ipairs(not r.no_eval and r.expected or {}) do
    add(('%s expected'):format(e.metric), 'at least %g: %s', e.at_least, verdict(e))
  end
  if r.examples_per_second then add('speed', '%s', speed(r, config)) end
  add('time, training and its evaluations', '%s', duration(r.seconds))
  add('peak memory', '%.0f MiB', r.peak / 1048576)
  add('device', '%s', r.device)
  return rows
end

--- The same in Markdown, to paste into a paper or a pull request.
function M.markdown(results, config, dir)
  local r, out = results, {}
  local function paragraph(form, ...)
    out[#out + 1] = form:format(...)
    out[#out + 1] = ''
  end
  local function table_of(title, rows)
    if not rows then return end
    if title then paragraph('## %s', title) end
    paragraph('%s', columns.markdown(rows, { true }))
  end
  paragraph('# %s', config.name)
  paragraph('%s · %s · %.2f M parameters · precision %s · seed %d', config.task, recipe.words(config),
    r.parameters / 1e6, config.precision, config.seed)
  for _, text in ipairs(r.notices or {}) do paragraph('Notice: %s.', text) end
  if r.no_eval then
    paragraph(NOT_SCORED, dir or 'RUN')
  elseif r.metric then
    paragraph('Dev: %s%s.', scored(r), best_weights(r))
  end
  table_of(nil, measures(r, config))
  local of = alone(r) and (' (%s)'):format(alone(r)) or ''
  table_of((r.entities and 'Entities' or 'Labels') .. of, class_rows(r))
  table_of('Confusion' .. of, confusion_rows(r))
  return (table.concat(out, '\n'))
end

--- The same as a table for JSON; schema 1.
function M.table(results, config)
  local out = { schema = 1, name = config.name, task = config.task, n = config.mux.n }
  for k, v in pairs(results) do out[k] = v end
  return out
end

return M
