-- throughput.lua -- texts per second of the network alone against N, with the limit that mixing sets.
--
-- Speed does not depend on the values of the weights, so networks of a recipe's sizes are timed as they begin, at
-- every N; models that are named are timed as they are. The first pass over the texts warms up and is not counted. A
-- mixture of N texts costs one pass of L + prefix positions, so N L / (L + prefix) times the plain network is the limit
-- where separating costs nothing.
local analysis = require 'datamux.analysis'
local finished = require 'datamux.finished'
local published = require 'datamux.published'
local timing = require 'datamux.timing'

local M = { summary = 'texts per second of the network alone against N, with the limit', words = true }

M.columns = { { 'model', 'model', '%s' }, { 'n', 'N', '%d' }, { 'rate', 'texts/s', '%.1f' }, { 'sd', 'sd', '%.1f' },
              { 'speedup', 'times plain', '%.2f' }, { 'limit', 'limit', '%.2f' }, { 'length', 'positions', '%.1f' },
              { 'prefix', 'prefix', '%d' }, { 'rows', 'rows', '%d' } }

local function measured(model, words, o)
  local list = timing.texts(model, { texts = o.texts })
  local rates, _, length, rows = timing.network(model, list, { repeats = o.repeats, rows = o.rows })
  local rate, sd = timing.spread(rates)
  local prefix = model.model.prefix or 0
  return { model = words, n = model.n, rate = rate, sd = sd, length = length, prefix = prefix, rows = rows,
           limit = model.n * length / (length + prefix) }
end

-- A network of a recipe at N, untrained, in the form of a loaded one. known: what a former call made of the data.
local function fresh(recipe, words, known)
  local assemble, saved = require 'datamux.assemble', require 'datamux.saved'
  local config, list = recipe:resolve(words, false)
  known.data = known.data or assemble.data(config)
  local values = {}
  for _, e in ipairs(list) do values[e.path] = e.value end
  local net = require('datamux.nn.module').build(assemble.model(config, known.data), config.seed)
  return saved.of(net:train(false), config, known.data), finished.model_words(values)
end

-- The sizes of a recipe, plain and at every N.
local function of_recipe(o)
  local campaign, launch = require 'datamux.campaign', require 'datamux.launch'
  local recipe, rows, known = launch.load(campaign.locate(o.recipe or 'sst2_n20.lua'), {}), {}, {}
  local function one(...)
    local words = { 'profile=' .. (o.profile or 'small'), 'warmup.source=task', ... }
    for _, w in ipairs(o.words) do words[#words + 1] = w end
    local model, name = fresh(recipe, words, known)
    rows[#rows + 1] = measured(model, name, o)
    collectgarbage()
  end
  one('model.kind=plain', 'mux.n=1')
  for _, n in ipairs { 1, 2, 5, 10, 20, 40 } do one('mux.n=' .. n) end
  return rows
end

local function published_table()
  local columns, rows = { { 'model', 'model', '%s' } }, {}
  for _, n in ipairs { 1, 2, 5, 10, 20, 40 } do
    columns[#columns + 1] = { 'n' .. n, 'N = ' .. n, '%.1f' }
  end
  columns[#columns + 1] = { 'mark', 'mark', '%s' }
  for i, p in ipairs(published.throughput) do
    rows[i] = { model = p.model, mark = 'G (N = 1, 2 of 4 x 768: H)' }
    if p.layers ~= 4 then rows[i].mark = 'G' end
    for _, n in ipairs { 1, 2, 5, 10, 20, 40 } do rows[i]['n' .. n] = p[n] and p[n][1] end
  end
  return { title = 'Published: times the plain 12 x 768 network, 20,000 pairs of MNLI', columns = columns, rows = rows }
end

function M.collect(o)
  local rows = {}
  if #o.paths > 0 then
    analysis.each(o, false, function(item) rows[#rows + 1] = measured(item.saved, item.words, o) end)
  else
    rows = of_recipe(o)
  end
  local plain
  for _, r in ipairs(rows) do plain = plain or r.model:find ', plain$' and r.rate or nil end
  for _, r in ipairs(rows) do r.speedup = plain and r.rate / plain end
  return rows, { tables = { published_table() }, notes = {
    ('%d texts, %d measurements after one that warms up, %s; the network alone (tokenising and files: datamux bench). '
      .. 'limit: N L / (L + prefix) times the plain network.'):format(o.texts, o.repeats,
      require('datamux.scope').about()), published.marks } }
end

function M.picture(rows)
  local series = analysis.series(rows, function(r) return r.model end, 'n', 'rate', 'sd')
  local plain
  for _, r in ipairs(rows) do plain = plain or r.model:find ', plain$' and r.rate or nil end
  if plain then
    local limit = { label = 'limit N L / (L + prefix)', x = {}, y = {} }
    for _, r in ipairs(rows) do
      if not r.model:find ', plain$' then
        limit.x[#limit.x + 1], limit.y[#limit.y + 1] = r.n, plain * r.limit
      end
    end
    if #limit.x > 0 then series[#series + 1] = limit end
  end
  return analysis.picture(series, { x = 'N', y = 'texts per second', x_log = 2, y_log = 2, title = 'Throughput' })
end

return M
