-- pictures.lua -- what the pictures of runs show: from their metrics.jsonl and report.json to series for plot.draw.
local cjson = require 'cjson'
local errors = require 'datamux.errors'
local journal = require 'datamux.journal'
local plural = require 'datamux.plural'
local sys = require 'datamux.sys'

local M = {}

--- The pictures by name, in the order in which they are drawn.
M.names = { 'loss', 'score', 'retrieval', 'slots', 'n', 'frontier' }

local SMOOTH = 0.95

-- -- runs ------------------------------------------------------------------------------------------------------

-- Steps counted over all stages go into field `at` of each record; returns { { stage, from } .. }.
local function count_steps(records)
  local stages, last, offset, stage = {}, 0, 0, nil
  for _, r in ipairs(records) do
    if r.stage and r.stage ~= stage then
      local known
      for _, s in ipairs(stages) do known = known or (s.stage == r.stage and s) end
      if not known then
        offset = last
        stages[#stages + 1] = { stage = r.stage, from = offset }
      else
        offset = known.from
      end
      stage = r.stage
    end
    if r.stage and type(r.step) == 'number' then
      r.at = offset + r.step
      last = math.max(last, r.at)
    end
  end
  return stages
end

--- A run to draw. run: of rundir.locate. Returns { label, records, stages, report (empty while there is none), dir }.
function M.read(run)
  local records = journal.read(run.dir)
  local text = sys.read(run.dir .. '/report.json')
  local ok, report = pcall(cjson.decode, text or '{}')
  if not ok then
    errors.raise('E220', { what = run.dir .. '/report.json is no JSON', fix = 'datamux eval ' .. run.dir })
  end
  return { name = run.name, label = run.name, id = run.id, dir = run.dir, state = run.status.state, records = records,
           stages = count_steps(records), report = report }
end

--- Gives runs of one name labels that differ: by N where that is enough, else by the end of their id.
function M.label(runs)
  local names, both = {}, {}
  local function with_n(r) return r.report.n and ('%s, N = %d'):format(r.name, r.report.n) or r.name end
  for _, r in ipairs(runs) do
    names[r.name], both[with_n(r)] = (names[r.name] or 0) + 1, (both[with_n(r)] or 0) + 1
  end
  for _, r in ipairs(runs) do
    if names[r.name] > 1 then
      r.label = both[with_n(r)] == 1 and with_n(r) or ('%s %s'):format(r.name, r.id:match '[^-]+$')
    end
  end
end

-- -- series ----------------------------------------------------------------------------------------------------

-- Values of `key` in records of a kind, by step; nil where there are none.
local function curve(run, kind, key, label, o)
  local s = { label = label, x = {}, y = {} }
  for _, r in ipairs(run.records) do
    if r.kind == kind and type(r[key]) == 'number' and r.at then
      s.x[#s.x + 1], s.y[#s.y + 1] = r.at, r[key]
    end
  end
  if #s.y == 0 then return nil end
  for k, v in pairs(o or {}) do s[k] = v end
  return s
end

-- Where a stage after the first begins, if it is the same step in all runs.
local function stage_lines(runs)
  local out = {}
  for k = 2, #runs[1].stages do
    local first = runs[1].stages[k]
    for _, r in ipairs(runs) do
      local s = r.stages[k]
      if not s or s.from ~= first.from or s.stage ~= first.stage then return nil end
    end
    out[#out + 1] = { x = first.from, label = first.stage }
  end
  return out
end

local function by_step(series, runs, y, title)
  if #series == 0 then return nil end
  series.x, series.y, series.title, series.limits = 'step', y, title, stage_lines(runs)
  return series
end

-- The metric that selects the best weights.
local function metric_of(run)
  if run.report.metric then return run.report.metric end
  for _, r in ipairs(run.records) do
    if r.kind == 'eval' and r.metric then return r.metric end
  end
  return 'accuracy'
end

local function one_metric(runs)
  local name = metric_of(runs[1])
  for _, r in ipairs(runs) do
    if metric_of(r) ~= name then return 'score' end
  end
  return name
end

-- The score of a report (nil where it is undefined: null there), and its spread over groupings.
local function score(report)
  local value = report.value or report.accuracy
  return type(value) == 'number' and value or nil, report.std or 0
end

local draw = {}

function draw.loss(runs)
  local series = {}
  local function put(s) series[#series + 1] = s end
  if #runs == 1 then
    put(curve(runs[1], 'train', 'retrieval', 'retrieval (training)', { smooth = SMOOTH }))
    put(curve(runs[1], 'train', 'task', 'task (training)', { smooth = SMOOTH }))
    put(curve(runs[1], 'eval', 'loss', 'task (dev)'))
  end
  if #series == 0 then
    for _, r in ipairs(runs) do put(curve(r, 'train', 'loss', #runs > 1 and r.label or 'loss', { smooth = SMOOTH })) end
  end
  return by_step(series, runs, 'cross-entropy loss (nats)', 'Loss')
end

function draw.score(runs)
  local series, name = {}, one_metric(runs)
  for _, r in ipairs(runs) do
    series[#series + 1] = curve(r, 'eval', 'value', #runs > 1 and r.label or nil)
      or curve(r, 'eval', 'accuracy', #runs > 1 and r.label or nil)
  end
  return by_step(series, runs, ('%s (dev, one grouping)'):format(name), 'Score while training')
end

function draw.retrieval(runs)
  local series = {}
  for _, r in ipairs(runs) do
    series[#series + 1] = curve(r, 'eval', 'retrieval', #runs > 1 and r.label or 'held-out text')
  end
  if #runs == 1 then series[#series + 1] = curve(runs[1], 'train', 'hits', 'training', { smooth = SMOOTH }) end
  return by_step(series, runs, 'retrieval accuracy', 'Retrieval of the mixed tokens')
end

function draw.slots(runs)
  local series, name = { kind = 'bars', values = '%.3f', limits = {} }, one_metric(runs)
  for _, r in ipairs(runs) do
    local list = r.report.per_index
    if list and #list > 1 and score(r.report) then
      series[#series + 1] = { label = #runs > 1 and r.label or nil, y = list }
    end
  end
  if #series == 0 then return nil end
  local report = runs[1].report
  if #runs == 1 then series.limits[1] = { y = (score(report)), label = ('mean %.3f'):format((score(report))) } end
  if name == 'accuracy' and report.label_names then
    local k = #report.label_names
    table.insert(series.limits, { y = 1 / k, label = ('chance, 1 of %d'):format(k) })
  end
  series.x, series.y, series.title = 'index: place in the mixture', name .. ' (dev)', 'Score by index'
  return series
end

-- Points of finished runs, in a series for each task: x from fn(report).
local function points(runs, fn)
  local series, of = {}, {}
  for _, r in ipairs(runs) do
    local x, value, spread = fn(r.report), score(r.report)
    if x and value then
      local task = r.report.task or 'run'
      if not of[task] then
        of[task] = { rows = {} }
        series[#series + 1] = of[task]
        of[task].label = task
      end
      table.insert(of[task].rows, { x, value, spread or 0, r.report.n or 1 })
    end
  end
  for _, s in ipairs(series) do
    table.sort(s.rows, function(a, b) return a[1] < b[1] end)
    s.x, s.y, s.error, s.text = {}, {}, {}, {}
    for i, row in ipairs(s.rows) do
      s.x[i], s.y[i], s.error[i], s.text[i] = row[1], row[2], row[3], ('N = %d'):format(row[4])
    end
  end
  if #series == 1 then series[1].label = nil end
  return #series > 0 and series or nil
end

function draw.n(runs)
  local series = points(runs, function(report) return report.n end)
  local different = {}
  for _, s in ipairs(series or {}) do
    for _, x in ipairs(s.x) do different[x] = true end
    s.text = nil
  end
  if not next(different, (next(different))) then return nil end
  series.x, series.x_log, series.y = 'N (instances per row)', 2, one_metric(runs) .. ' (dev)'
  series.title = 'Score by number of mixed instances (bars: ± sd over groupings)'
  return series
end

function draw.frontier(runs)
  local series = points(runs, function(report) return report.examples_per_second end)
  if not series then return nil end
  local least, most = math.huge, 0
  for _, s in ipairs(series) do
    least, most = math.min(least, s.x[1]), math.max(most, s.x[#s.x])
    s.error = nil
  end
  if most > 10 * least then series.x_log = 10 end
  series.kind, series.x, series.y = 'points', 'throughput (texts per second)', one_metric(runs) .. ' (dev)'
  series.title = 'Score against throughput'
  return series
end

-- -- choosing -----------------------------------------------------------------------------------------------------

-- Keys of records that can be drawn by step.
local function keys_of(runs)
  local seen, list = {}, {}
  for _, run in ipairs(runs) do
    for _, r in ipairs(run.records) do
      for k, v in pairs(r) do
        if type(v) == 'number' and r.at and not seen[k] and k ~= 'at' and k ~= 'step' and k ~= 't' then
          seen[k] = true
          list[#list + 1] = k
        end
      end
    end
  end
  table.sort(list)
  return list
end

local function recorded(runs, key)
  local series = {}
  for _, kind in ipairs { 'eval', 'train' } do
    for _, r in ipairs(runs) do
      series[#series + 1] = curve(r, kind, key, #runs > 1 and r.label or nil)
    end
    if #series > 0 then return by_step(series, runs, key .. (kind == 'eval' and ' (dev)' or ' (training)')) end
  end
end

local units = { lr = 'learning rate', ex_s = 'texts per second' }

--- The picture called `name` (of M.names, or any value that the runs recorded), as the table that plot.draw takes.
--- Raises E205 for a name that is neither, E220 where the runs have nothing to draw it from.
function M.picture(runs, name)
  local fn = draw[name]
  local o = fn and fn(runs) or nil
  if not fn then
    o = recorded(runs, name)
    if o and units[name] then o.y = units[name] end
  end
  if o then return o end
  if fn then
    local r = runs[1]
    errors.raise('E220', { what = ("%s %s nothing to draw '%s' from"):format(r.dir, #runs > 1 and 'and the others have'
      or 'has', name), where = ('state %s, %s, %s'):format(r.state or 'unknown', plural.of(#r.records, 'record'),
      next(r.report) and 'a report' or 'no report yet') })
  end
  local known = {}
  for _, k in ipairs(M.names) do known[#known + 1] = k end
  for _, k in ipairs(keys_of(runs)) do known[#known + 1] = k end
  errors.raise('E205', { what = ("the runs recorded no '%s'"):format(name), near = errors.nearest(name, known),
                         lines = { 'there are: ' .. table.concat(known, ', ') }, fix = '-m ' .. known[1] })
end

--- Every picture that the runs have values for: a list of { name, picture }. Those that compare runs (n, frontier) are
--- drawn of two runs or more. Raises E220 when there is none.
function M.all(runs)
  local out = {}
  for _, name in ipairs(M.names) do
    local alone = #runs == 1 and (name == 'n' or name == 'frontier')
    local o = not alone and draw[name](runs) or nil
    if o then out[#out + 1] = { name = name, picture = o } end
  end
  if #out == 0 then
    errors.raise('E220', { what = runs[1].dir .. ' has no metrics', where = runs[1].dir .. '/metrics.jsonl' })
  end
  return out
end

return M
