-- commands/runs.lua -- the runs that are there: list, show, compare, export, remove.
local emit = require('datamux.commands').emit

local M = { name = 'runs', summary = 'list, show, compare, export and remove runs' }

local RUN = 'a folder of a run, NAME/latest, NAME, or an id'

function M.configure(p, take)
  p:command_target 'action'
  take(p, 'out')
  local l = p:command('ls', 'every run with its state and score')
  take(l, 'json')
  l:argument('name', 'only runs of this recipe'):args '?'
  l:option('--tag', 'only runs with this tag; several: with all of them'):target 'tags':argname 'KEY=VALUE':count '*'
  local s = p:command('show', 'state, score, and what differs from the defaults')
  s:argument('run', RUN)
  take(s, 'json')
  local c = p:command('compare', 'the values and scores in which runs differ')
  c:argument('runs', RUN):args '2+'
  take(c, 'json')
  local e = p:command('export', 'the metrics, each step once')
  e:argument('run', RUN)
  e:option('--to', 'csv, jsonl or tensorboard'):choices { 'csv', 'jsonl', 'tensorboard' }:default 'csv'
  e:option('-O --output', 'a file (tensorboard: a folder) instead of standard output'):argname 'PATH'
  local r = p:command('rm', 'remove runs that no process works on')
  r:argument('runs', RUN):args '+'
  take(r, 'dry_run')
end

local function decode(path)
  local sys = require 'datamux.sys'
  local ok, t = pcall(require('cjson').decode, sys.read(path) or '')
  return ok and t or {}
end

local function facts(run)
  local report = decode(run.dir .. '/report.json')
  local s = run.status
  local tags, tagged = require('datamux.rundir').tags_of(run.dir)
  return { name = run.name, id = run.id, dir = run.dir, state = s.state, step = s.step, accuracy = report.accuracy,
           std = report.std, retrieval = report.retrieval, seconds = report.seconds, resume = s.resume, tags = tags,
           tagged = tagged ~= '' and tagged or nil }
end

local actions = {}

function actions.ls(o)
  local columns, rundir, json = require 'datamux.columns', require 'datamux.rundir', require 'datamux.json'
  local wanted, any = rundir.tags(o.tags) or {}, false
  local list, rows = json.list {}, { { 'name', 'id', 'state', 'step', 'accuracy', 'seconds' } }
  for _, run in ipairs(rundir.all(o.out)) do
    local f = (not o.name or run.name == o.name) and facts(run)
    for k, v in pairs(wanted) do f = f and f.tags[k] == v and f end
    if f then
      list[#list + 1] = f
      rows[#rows + 1] = { f.name, f.id, f.state or '-', columns.number(f.step, '%d'), columns.number(f.accuracy),
                          columns.number(f.seconds, '%.1f'), f.tagged }
      any = any or f.tagged ~= nil
    end
  end
  if any then rows[1][7] = 'tags' end
  return emit(o, list, columns.text(rows))
end

-- path -> { value, from } of a run.
local function values(run) return decode(run.dir .. '/config.json') end

function actions.show(o)
  local columns, rundir, schema = require 'datamux.columns', require 'datamux.rundir', require 'datamux.schema'
  local run = rundir.locate(o.out, o.run)
  local f, saved, env = facts(run), values(run), decode(run.dir .. '/env.json')
  local rows, changed = {}, {}
  schema.each(function(path, e)
    local v = saved[path]
    if v and v.from ~= 'default' and v.value ~= e.default then
      changed[path] = v.value
      rows[#rows + 1] = { path, type(v.value) == 'table' and table.concat(v.value, ',') or tostring(v.value), v.from }
    end
  end)
  local head = { { 'run', run.dir }, { 'state', f.state or '-' }, { 'step', columns.number(f.step, '%d') },
                 { 'accuracy', columns.number(f.accuracy) }, { 'device', env.device or '-' } }
  if f.tagged then head[#head + 1] = { 'tags', f.tagged } end
  if f.state == 'stopped' or f.state == 'failed' then head[#head + 1] = { 'continue', f.resume or '-' } end
  f.values, f.env = changed, env
  return emit(o, f, columns.text(head) .. '\n\n' .. columns.text(rows))
end

local others = { 'std', 'retrieval', 'seconds', 'peak', 'best_step', 'parameters' }

-- Names of what reports say: scores of the task, then the others.
local function score_names(runs)
  local out, seen = {}, {}
  for _, run in ipairs(runs) do
    for name in pairs(run.report.metrics or {}) do
      if not seen[name] then out[#out + 1], seen[name] = name, true end
    end
  end
  table.sort(out)
  for _, name in ipairs(others) do out[#out + 1] = name end
  return out
end

local function finite(v) return type(v) == 'number' and v or nil end

-- Whether two reports' main scores differ by more than chance: metric, difference, half the 95 % interval of the
-- difference by the two bootstraps (nil where one has none); nothing where they have no score in common.
local function judged(a, b)
  local x, y = finite(a.value), finite(b.value)
  if not (x and y and a.metric == b.metric) then return nil end
  local function half(r) return type(r.interval) == 'table' and (r.interval.high - r.interval.low) / 2 end
  local p, q = half(a), half(b)
  return a.metric, y - x, p and q and math.sqrt(p * p + q * q) or nil
end

function actions.compare(o)
  local columns, rundir, schema = require 'datamux.columns', require 'datamux.rundir', require 'datamux.schema'
  local json = require 'datamux.json'
  local runs, rows, out = {}, {}, { runs = json.list {}, values = {}, scores = {} }
  local head = { 'key' }
  for i, what in ipairs(o.runs) do
    local run = rundir.locate(o.out, what)
    runs[i] = { values = values(run), report = decode(run.dir .. '/report.json') }
    head[#head + 1], out.runs[i] = run.name .. '/' .. run.id, run.dir
  end
  rows[1] = head
  if #runs == 2 then head[#head + 1] = 'difference' end
  local function text(v) return v == nil and '-' or type(v) == 'table' and table.concat(v, ',') or tostring(v) end
  -- A row where the runs differ. cells: of each run, or nil; form: of numbers.
  local function add(name, cells, form, to)
    local row, differ, list = { name }, false, json.list {}
    for i = 1, #runs do
      local v = cells[i]
      row[i + 1] = form and columns.number(v, form) or text(v)
      list[i] = v == nil and (form and 0 / 0 or 'none') or v
      differ = differ or row[i + 1] ~= row[2]
    end
    if not differ then return end
    local x, y = finite(cells[1]), finite(cells[2])
    if #runs == 2 and x and y then row[#row + 1] = ('%+.6g'):format(y - x) end
    rows[#rows + 1], to[name] = row, list
  end
  schema.each(function(path)
    local cells = {}
    for i, run in ipairs(runs) do cells[i] = run.values[path] and run.values[path].value end
    add(path, cells, nil, out.values)
  end)
  for _, name in ipairs(score_names(runs)) do
    local cells = {}
    for i, run in ipairs(runs) do cells[i] = finite((run.report.metrics or {})[name]) or finite(run.report[name]) end
    add(name, cells, '%.6g', out.scores)
  end
  local verdict = ''
  local metric, d, half
  if #runs == 2 then metric, d, half = judged(runs[1].report, runs[2].report) end
  if metric then
    out.metric, out.difference, out.interval = metric, d, half
    verdict = ('\n\n%s differs by %+.4f'):format(metric, d)
    if half then
      out.beyond_chance = math.abs(d) > half
      local where, what = 'inside', 'no difference shown'
      if out.beyond_chance then where, what = 'outside', 'a difference' end
      verdict = ('%s, %s the 95 %% bootstrap interval of the difference, ±%.4f: %s'):format(verdict, where, half, what)
    else
      verdict = verdict .. '; without bootstrap intervals (eval.bootstrap) nothing is known of chance'
    end
  end
  return emit(o, out, columns.text(rows) .. verdict)
end

function actions.export(o)
  local errors, journal, json = require 'datamux.errors', require 'datamux.journal', require 'datamux.json'
  local rundir, sys = require 'datamux.rundir', require 'datamux.sys'
  local run = rundir.locate(o.out, o.run)
  local list = journal.read(run.dir)
  if o.to == 'tensorboard' then
    if not o.output then
      errors.raise('E200', { what = 'an event file needs a folder', fix = '-O FOLDER' })
    end
    sys.mkdir(o.output)
    local w = require('datamux.tensorboard').open(('%s/events.out.tfevents.%d.datamux'):format(o.output, os.time()))
    for _, r in ipairs(list) do w:add(r) end
    w:close()
    print(w.path)
    return 0
  end
  local text
  if o.to == 'csv' then
    text = journal.csv(list)
  else
    local lines = {}
    for i, r in ipairs(list) do lines[i] = json.encode(r) end
    text = table.concat(lines, '\n') .. '\n'
  end
  if o.output then sys.write(o.output, text) else io.write(text) end
  return 0
end

function actions.rm(o)
  local rundir = require 'datamux.rundir'
  local list = {}
  for i, what in ipairs(o.runs) do list[i] = rundir.locate(o.out, what) end
  for _, run in ipairs(list) do
    if o.dry_run then
      print(run.dir .. '  would go')
    else
      rundir.remove(run)
      io.stderr:write('removed ', run.dir, '\n')
    end
  end
  return 0
end

function M.run(o) return actions[o.action](o) end

return M
