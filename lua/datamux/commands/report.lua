-- commands/report.lua -- datamux report NAME: an analysis as a table and a picture, from finished runs.
local M = { name = 'report', summary = 'tables and pictures of finished runs: the paper\'s, and analyses' }

local values = require 'datamux.commands.values'
local whole, seconds = values.whole, values.seconds

local function picture(text)
  if text:find '%.svg$' or text:find '%.png$' or text:find '%.txt$' then return text end
  return nil, 'a name that ends in .svg, .png or .txt'
end

function M.configure(p, take)
  local names = require('datamux.analysis').names
  p:argument('report', 'one of ' .. table.concat(names, ', ')):argname 'NAME'
  p:argument('rest', 'models (run directories, model folders) in place of all finished runs; key=value for --train')
    :args '*':argname 'MODEL'
  p:option('--runs', 'where finished runs are (default: as --out)'):argname 'DIR'
  p:option('--task', 'only this task'):argname 'TASK'
  p:option('--profile', 'small or paper: of trainings, and which finished runs are shown'):choices { 'small', 'paper' }
  p:flag('--train', 'train what is missing, one run after the other; what was stopped goes on')
  p:option('--budget', 'let --train take 20m, 2h; called again, it goes on'):convert(seconds):argname 'TIME'
  p:option('--groupings', 'random groupings that scores are averaged over'):convert(whole(1)):default '5':argname 'K'
  p:option('--texts', 'texts of one measurement of speed'):convert(whole(1)):default '2000':argname 'T'
  p:option('--repeats', 'measurements of speed, after one that warms up'):convert(whole(1)):default '3':argname 'K'
  p:option('--rows', 'rows of a batch in measurements of speed'):convert(whole(1)):argname 'R'
  p:option('--format', 'the table as text, md, or csv (or --json)'):choices { 'text', 'md', 'csv' }:default 'text'
  p:option('--picture', 'draw it into FILE.svg, .png or .txt'):convert(picture):argname 'FILE'
  p:option('--to', 'write NAME.md, NAME.json and NAME.svg into a folder'):argname 'DIR'
  take(p, 'out device threads json dry_run download offline trust')
end

-- -- tables -----------------------------------------------------------------------------------------------------------

local function cells(columns, rows)
  local out = { {} }
  for i, c in ipairs(columns) do out[1][i] = c[2] end
  for k, row in ipairs(rows) do
    out[k + 1] = {}
    for i, c in ipairs(columns) do
      local v = row[c[1]]
      out[k + 1][i] = v == nil and '' or v ~= v and 'undefined' or c[3]:format(v)
    end
  end
  return out
end

local function left_of(columns)
  local out = {}
  for i, c in ipairs(columns) do out[i] = c[3] == '%s' end
  return out
end

local function csv(list)
  local out = {}
  for i, row in ipairs(list) do
    local line = {}
    for k, cell in ipairs(row) do
      line[k] = cell:find '[,"\n]' and '"' .. cell:gsub('"', '""') .. '"' or cell
    end
    out[i] = table.concat(line, ',')
  end
  return table.concat(out, '\n')
end

-- The whole report in one of the formats.
local function shown(r, format)
  local columns, out = require 'datamux.columns', {}
  local function add(title, list)
    local body = cells(list.columns, list.rows)
    if title then out[#out + 1] = (format == 'md' and '### ' or '') .. title end
    out[#out + 1] = format == 'md' and columns.markdown(body, left_of(list.columns)) or format == 'csv' and csv(body)
      or columns.text(body)
  end
  if format == 'csv' then
    add(nil, r)
    return out[1]
  end
  out[1] = ('%s%s'):format(format == 'md' and '## ' or '', r.title)
  add(nil, r)
  for _, t in ipairs(r.tables) do add(t.title, t) end
  for _, note in ipairs(r.notes) do out[#out + 1] = note end
  out[#out + 1] = ('%s, %s: %s'):format(r.date, r.device, format == 'md' and '`' .. r.command .. '`' or r.command)
  return table.concat(out, '\n\n')
end

local function json_of(r)
  local json = require 'datamux.json'
  local function list(columns, rows)
    local names = json.list {}
    for i, c in ipairs(columns) do names[i] = c[1] end
    return { columns = names, rows = json.list(rows) }
  end
  local out = list(r.columns, r.rows)
  out.schema, out.report, out.title, out.date, out.command, out.device = 1, r.name, r.title, r.date, r.command, r.device
  out.notes, out.planes, out.tables = json.list(r.notes), r.more.planes, json.list {}
  for i, t in ipairs(r.tables) do
    out.tables[i] = list(t.columns, t.rows)
    out.tables[i].title = t.title
  end
  return json.encode(out, true)
end

-- -- the command ------------------------------------------------------------------------------------------------------

-- Words of the rest that are key=value, and those that are models.
local function split(rest)
  local words, paths, is_override = {}, {}, require('datamux.launch').is_override
  for _, w in ipairs(rest or {}) do
    if is_override(w) then words[#words + 1] = w else paths[#paths + 1] = w end
  end
  return words, paths
end

-- Raises for a task that is none, and for a folder of runs that is not there.
local function check(o)
  local errors, names = require 'datamux.errors', require('datamux.data.task').names()
  local known = not o.task
  for _, name in ipairs(names) do known = known or name == o.task end
  if not known then
    errors.raise('E200', { what = ("--task is '%s', expected one of %s"):format(o.task, table.concat(names, ', ')),
      near = errors.nearest(o.task, names), fix = 'leave out --task' })
  end
  if o.runs and not o.train and require('datamux.sys').kind(o.runs) ~= 'directory' then
    errors.raise('E217', { what = ("--runs is '%s', which is no folder"):format(o.runs), fix = 'leave out --runs' })
  end
end

-- What an analysis gets (see datamux.analysis).
local function settings(o)
  local launch = require 'datamux.launch'
  check(o)
  local words, paths = split(o.rest)
  local s = { root = require('datamux.rundir').root(o.runs or o.out), paths = paths, words = words, task = o.task,
    profile = o.profile, groupings = o.groupings, texts = o.texts, repeats = o.repeats, rows = o.rows,
    threads = o.threads, device = o.device, budget = o.budget, quiet = o.quiet }
  function s.say(text)
    if not o.quiet then io.stderr:write(text, '\n') end
  end
  for _, w in ipairs(words) do
    if w:find '^name=' then
      require('datamux.errors').raise('E200', { what = ("'%s': the trainings of a report have names of their own")
        :format(w), fix = 'leave it out' })
    end
  end
  s.device_words = launch.device(o.device, o.threads)
  return s
end

-- -n: each training, finished or the command that would do it.
local function show_plan(entries, s)
  local campaign, json = require 'datamux.campaign', require 'datamux.json'
  local out = json.list {}
  for i, e in ipairs(campaign.find(entries, s)) do
    out[i] = { name = e.name, run = e.run and e.run.dir, command = campaign.command(e, s) }
  end
  return out
end

local function dry_run(o, entries, s)
  local list = show_plan(entries, s)
  if o.json then
    print(require('datamux.json').encode(list, true))
  else
    for _, e in ipairs(list) do print(e.run and ('%s: finished, %s'):format(e.name, e.run) or e.command) end
  end
  return 0
end

-- Finished runs to show, of the named folders, or all; and what was named and is no finished run.
local function runs_of(s)
  local finished = require 'datamux.finished'
  if #s.paths == 0 then return finished.all(s.root, { task = s.task, profile = s.profile }), {} end
  local out, folders, sys = {}, {}, require 'datamux.sys'
  for _, path in ipairs(s.paths) do
    local run = finished.read(sys.kind(path .. '/.datamux-run') and path or path .. '/latest')
    table.insert(run and out or folders, run or path)
  end
  return out, folders
end

local function save(r, o)
  local plot, sys = require 'datamux.plot', require 'datamux.sys'
  local function draw(path)
    if not r.picture then
      if not o.quiet then io.stderr:write('no picture: the table has nothing to draw\n') end
      return
    end
    r.picture.out = path
    plot.draw(r.picture)
    if not o.quiet then io.stderr:write('wrote ', path, '\n') end
  end
  if o.to then
    sys.mkdir(o.to)
    local base = o.to .. '/' .. r.name
    sys.write(base .. '.md', shown(r, 'md') .. '\n')
    sys.write(base .. '.json', json_of(r) .. '\n')
    draw(base .. '.svg')
  end
  if o.picture then draw(o.picture) end
end

function M.run(o)
  local errors, campaign = require 'datamux.errors', require 'datamux.campaign'
  local analysis = require('datamux.analysis').get(o.report)
  local s = settings(o)
  local entries = analysis.plan and analysis.plan(s)
  if not entries and (o.train or o.dry_run) then
    errors.raise('E200', { what = ("report %s trains nothing"):format(o.report), fix = 'leave out --train' })
  end
  if not (entries or analysis.words) and s.words[1] then
    errors.raise('E215', { what = ("'%s': report %s trains nothing that could have this value"):format(s.words[1],
      o.report), fix = 'leave it out' })
  end
  if o.dry_run then return dry_run(o, entries, s) end
  local whole_plan, failed = true, nil
  if o.train then
    whole_plan, failed = campaign.train(entries, s)
    if not whole_plan then s.say 'the plan is not finished; the same command goes on' end
  elseif entries then
    campaign.find(entries, s)
  end
  s.entries, s.runs, s.folders = entries or {}, runs_of(s)
  local rows, more = analysis.collect(s)
  more = more or {}
  local notes = {}
  for k = 1, 8 do
    local note = (more.notes or {})[k]
    if note then notes[#notes + 1] = note end
  end
  local r = { name = o.report, title = analysis.summary, columns = more.columns or analysis.columns, rows = rows,
    more = more, tables = more.tables or {}, notes = notes, date = os.date '!%Y-%m-%d', device = s.device_words,
    command = 'datamux ' .. table.concat(o.words, ' ') }
  if o.to or o.picture then r.picture = analysis.picture(rows, more, s) end
  if o.json then print(json_of(r)) else print(shown(r, o.format)) end
  save(r, o)
  return failed or whole_plan and 0 or errors.codes.stopped
end

return M
