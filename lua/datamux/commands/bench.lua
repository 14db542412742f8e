-- commands/bench.lua -- datamux bench MODEL: texts per second of the model alone and from file to file, with warm-up.
local M = { name = 'bench', summary = 'measure a finished model: speed, memory, price' }

local whole = require('datamux.commands.values').whole

function M.configure(p, take)
  p:argument('model', 'a run (folder, name or id), RUN:best, RUN:last, RUN:step-N, or a model folder')
  p:option('--vs', 'a model that speed-ups refer to (one with N = 1), measured in turns with MODEL'):argname 'MODEL'
  p:option('--data', 'a file of lines (default: the dev texts of the model\'s task)'):argname 'FILE'
  p:flag('--int8', 'MODEL (not --vs) with products in 8-bit integers (CPU)')
  p:option('--rows', 'rows in a batch'):convert(whole(1)):argname 'R'
  p:option('--texts', 'texts of one measurement'):convert(whole(1)):default '2000':argname 'T'
  p:option('--repeats', 'measurements, after one that warms up'):convert(whole(1)):default '5':argname 'K'
  p:option('--format', 'md, csv, json or jsonl'):choices { 'md', 'csv', 'json', 'jsonl' }:default 'md'
  take(p, 'device threads json download offline trust')
end

local function quantile(list, q)
  table.sort(list)
  return list[math.max(1, math.ceil(q * #list))]
end

-- A model with its meter. int8: see saved.load.
local function subject(path, o, int8)
  local timing = require 'datamux.timing'
  local model = require('datamux.saved').load(path, { int8 = int8 })
  return { path = path, model = model, meter = timing.meter(model, timing.texts(model, o), o) }
end

-- Measures the subjects in turns: each round is a measurement of every one of them, so that what else the machine does
-- meets all alike. The first round warms up.
local function rounds(subjects, o)
  for r = 0, o.repeats do
    for _, what in ipairs { 'network', 'whole' } do
      for _, s in ipairs(subjects) do
        s.meter[what](s.meter, r == 0)
        local scope = require 'datamux.scope'
        local bytes = scope.about():find '^cuda' and scope.memory().peak or require('datamux.sys').peak()
        s.gib = s.gib or bytes and bytes / 2 ^ 30
      end
    end
  end
end

-- The rows of a subject.
local function figures(s, price)
  local timing, model, meter = require 'datamux.timing', s.model, s.meter
  local out, scores = { {}, {} }, model.scores or {}
  for i, test in ipairs { 'model', 'end-to-end' } do
    local e = out[i]
    e.model, e.n, e.rows, e.length, e.dtype, e.test = s.path, model.n, meter.rows, meter.length, model.dtype, test
    e.texts_per_second, e.sd = timing.spread(i == 1 and meter.rates or meter.whole_rates)
    if i == 1 then e.p50_ms, e.p99_ms = quantile(meter.ms, 0.5), quantile(meter.ms, 0.99) end
    e.device, e.gib = require('datamux.scope').about(), s.gib
    e.accuracy, e.metric, e.value = scores.accuracy, scores.metric, scores.value
    e.dollars_per_million = price and price / 3600 * 1e6 / e.texts_per_second
  end
  return out
end

local names = { 'model', 'N', 'rows', 'seq', 'dtype', 'test', 'texts/s', 'speed-up', 'p50 ms', 'p99 ms', 'GiB',
  'accuracy', '$/1M' }

-- The columns of CSV, named as in JSON.
local fields = { 'model', 'n', 'rows', 'length', 'dtype', 'test', 'texts_per_second', 'sd', 'speed_up', 'p50_ms',
  'p99_ms', 'gib', 'accuracy', 'metric', 'value', 'dollars_per_million', 'device' }

-- What the model scored on its dev set, under the name of its metric where that is another one.
local function score(e)
  if e.accuracy then return ('%.4f'):format(e.accuracy) end
  return e.value and ('%.4f %s'):format(e.value, e.metric) or '-'
end

local function cells(e)
  local function shown(v, form) return v and form:format(v) or '-' end
  return { e.model, ('%d'):format(e.n), ('%d'):format(e.rows), ('%.1f'):format(e.length), e.dtype, e.test,
    ('%.1f ± %.1f'):format(e.texts_per_second, e.sd), shown(e.speed_up, '%.2f'), shown(e.p50_ms, '%.1f'),
    shown(e.p99_ms, '%.1f'), shown(e.gib, '%.2f'), score(e), shown(e.dollars_per_million, '%.4f') }
end

local function markdown(list)
  local rows = { names }
  for _, e in ipairs(list) do rows[#rows + 1] = cells(e) end
  return require('datamux.columns').markdown(rows)
end

function M.run(o)
  local json, about = require 'datamux.json', require('datamux.launch').device(o.device, o.threads)
  local price = tonumber(os.getenv 'DATAMUX_GPU_PRICE')
  local subjects = { o.vs and subject(o.vs, o) or nil }
  subjects[#subjects + 1] = subject(o.model, o, o.int8)
  rounds(subjects, o)
  local list = {}
  for _, s in ipairs(subjects) do
    for _, e in ipairs(figures(s, price)) do list[#list + 1] = e end
  end
  for k, e in ipairs(o.vs and list or {}) do
    e.speed_up = e.texts_per_second / list[(k - 1) % 2 + 1].texts_per_second
  end
  local format = o.json and 'json' or o.format
  if format == 'json' then
    print(json.encode(json.list(list), true))
  elseif format == 'jsonl' then
    for _, e in ipairs(list) do print(json.encode(e)) end
  elseif format == 'csv' then
    io.write(require('datamux.journal').csv(list, fields))
  else
    print(markdown(list))
    local plural = require 'datamux.plural'
    print(('%s, %s after warm-up%s, %s'):format(plural.of(o.texts, 'text'), plural.of(o.repeats, 'measurement'),
      o.vs and ', the models in turns' or '', about))
  end
  return 0
end

return M
