-- finished.lua -- finished runs as facts: what they are, what they scored, when and by which command.
local cjson = require 'cjson'
local fit = require 'datamux.models.fit'
local imagemux = require 'datamux.nn.imagemux'
local rundir = require 'datamux.rundir'
local sys = require 'datamux.sys'

local M = {}

local function decode(path)
  local ok, t = pcall(cjson.decode, sys.read(path) or '')
  return ok and type(t) == 'table' and t or nil
end

--- The network of a run in a few words: "4 x 256, hadamard + unbind", "2 x 128, plain", "cnn, nonlinear x 8".
--- values: path -> value.
function M.model_words(values)
  local kind, mux = values['model.kind'], values['mux.kind']
  if fit.images { model = { kind = kind } } then
    return ('%s, %s'):format(kind, mux == 'none' and 'plain' or imagemux.words(mux, values['mux.channels'] or 1))
  end
  local size = ('%d x %d'):format(values['model.layers'], values['model.width'])
  if kind == 'plain' then return size .. ', plain' end
  local demux = values['demux.kind']
  if demux == 'unbind' and values['demux.key'] == 'own' then demux = 'unbind, own keys' end
  return ('%s, %s%s + %s'):format(size, mux, values['mux.learn'] and ' (learned)' or '', demux)
end

local function command_of(env)
  local out = { 'datamux' }
  for _, w in ipairs(env and env.command or {}) do out[#out + 1] = sys.word(tostring(w)) end
  return table.concat(out, ' ')
end

-- One run, or nil where its files are not all there, or nothing was scored.
local function read(run)
  local config, report = decode(run.dir .. '/config.json'), decode(run.dir .. '/report.json')
  if not config or not report or report.no_eval then return nil end
  local values = {}
  for path, e in pairs(config) do values[path] = e.value end
  for k, v in pairs(report) do
    if v == cjson.null then report[k] = nil end
  end
  local y, m, d = run.id:match '^(%d%d%d%d)(%d%d)(%d%d)%-'
  return { dir = run.dir, name = run.name, id = run.id, values = values, report = report, task = values.task,
    n = values['mux.n'], model = M.model_words(values), profile = values.profile, metric = report.metric,
    value = report.value, std = report.std, steps = run.status.step or 0, seconds = report.seconds,
    date = y and ('%s-%s-%s'):format(y, m, d) or '', command = command_of(decode(run.dir .. '/env.json')) }
end

--- Every finished run under a root (see rundir.root), oldest first: { dir, name, id, values (path -> value), report
--- (report.json), task, n, model (words), profile, metric, value, std, steps, seconds, date, command }.
--- which: { task, profile }, each optional: only those. A run by a recipe without profiles ('auto') has any.
function M.all(root, which)
  local out = {}
  local function fits(r)
    return (not which.task or r.task == which.task)
      and (not which.profile or r.profile == which.profile or r.profile == 'auto')
  end
  for _, run in ipairs(rundir.all(root)) do
    local r = run.status.state == 'finished' and read(run)
    if r and fits(r) then out[#out + 1] = r end
  end
  table.sort(out, function(a, b) return a.id < b.id end)
  return out
end

--- The finished run in a folder, or in one that a link (latest, best) stands for; nil where it is none.
function M.read(dir)
  local id = sys.target((dir:gsub('/+$', ''))) or dir
  return read { dir = dir, name = dir:match '([^/]+)/[^/]+/?$' or '', id = id:match '([^/]+)/?$' or '',
                status = rundir.status(dir) or {} }
end

--- Of runs (oldest first) with the same key(run), one that was planned, else the one trained for the most steps, and of
--- those the newest: a choice that does not look at scores. planned: the folders of such runs, folder -> true
--- (optional). Returns the chosen in the order of their first.
function M.longest(runs, key, planned)
  local out, at = {}, {}
  local function before(a, b)
    local one, other = planned and planned[a.dir] or false, planned and planned[b.dir] or false
    if one ~= other then return one end
    return a.steps >= b.steps
  end
  for _, r in ipairs(runs) do
    local k = key(r)
    if k then
      at[k] = at[k] or #out + 1
      if not out[at[k]] or before(r, out[at[k]]) then out[at[k]] = r end
    end
  end
  return out
end

--- What tells one cell of a table from another: task (with the file of one's own), network, N.
function M.cell(r) return ('%s|%s|%s|%d'):format(r.task, r.values['task.dev'] or '', r.model, r.n) end

local free = { '^log%.', '^save%.', '^expect%.', '^name$', '^device$', '^profile$' }

--- Whether a run (values: path -> value) has the values of a resolved list (see recipe.resolve), but for its name, its
--- device, how it reports and what it expects. A key that the run does not know has its default.
function M.same(values, list) return rundir.difference(values, list, free) == nil end

return M
