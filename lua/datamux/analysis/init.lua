-- analysis/init.lua -- the analyses by name: what `datamux report NAME` prints and draws.
--
-- An analysis is a file of this folder that returns
--   { summary (one line),
--     plan(o)           the trainings it compares, entries of datamux.campaign (optional; --train runs them),
--     words             true: it takes key=value though it trains nothing (optional),
--     columns           list of { key, title, format }; format '%s' aligns to the left,
--     collect(o)        -> rows (tables by key; a key that is nil is an empty cell), more = { columns (where
--                       others than usual), tables = { { title, columns, rows }, .. }, notes = { sentence, .. }, and
--                       what picture wants } (optional),
--     picture(rows, more, o)  -> what plot.draw takes, without `out`; nil where there is nothing to draw }
-- o: { runs (finished runs, see datamux.finished), entries (of plan, with their runs), paths (models that were named),
--      folders (those of them that are no finished runs), task, profile, groupings, texts, repeats, words (key=value),
--      threads, note = function(text) }.
-- So a new analysis is one file and one name in the list below.
local errors = require 'datamux.errors'
local finished = require 'datamux.finished'
local fit = require 'datamux.models.fit'

local M = {}

--- The names, in the order of the help.
M.names = { 'paper', 'accuracy', 'slots', 'retrieval', 'strategies', 'heads', 'depth', 'width', 'warmup', 'ensemble',
            'neighbours', 'interference', 'throughput', 'frontier' }

--- The analysis of a name. Raises E200.
function M.get(name)
  for _, known in ipairs(M.names) do
    if known == name then return require('datamux.analysis.' .. name) end
  end
  errors.raise('E200', { what = ("no report '%s', expected one of %s"):format(name, table.concat(M.names, ', ')),
    near = errors.nearest(name, M.names), fix = 'datamux report ' .. (errors.nearest(name, M.names) or 'paper') })
end

--- Raises E217: no finished run of o is here. what: of what kind, for the message.
function M.none(o, what)
  errors.raise('E217', { what = ('no finished run%s%s in %s'):format(o.task and ' of ' .. o.task or '', what or '',
    o.root), fix = 'datamux report NAME RUN, --runs DIR, or train one first' })
end

-- The runs, told apart by their folders where they would be rows alike; an undefined score is not a number.
local function apart(list)
  local count, out = {}, {}
  local function row(r) return ('%s|%s|%d'):format(r.task, r.model, r.n) end
  for _, r in ipairs(list) do count[row(r)] = (count[row(r)] or 0) + 1 end
  for i, r in ipairs(list) do
    local model = count[row(r)] > 1 and ('%s (%s)'):format(r.model, r.dir) or nil
    out[i] = setmetatable({ model = model, value = r.value or 0 / 0 }, { __index = r })
  end
  return out
end

--- The runs to show: all that were named, else one for each task, network and N: of the analysis' own plan, or else
--- the longest trained. keep(run): optional, which ones; what: what those have, where a named run must have it too.
--- Raises E217 for what was named and is no run or has it not: these reports show what a run's own report says.
function M.runs(o, keep, what)
  local list = {}
  if o.folders and o.folders[1] then
    errors.raise('E217', { what = ("'%s' is no finished run, and only the report of a run has its figures"):format(
      o.folders[1]), fix = 'name the run directory: datamux runs ls' })
  end
  for _, r in ipairs(o.runs) do
    if not keep or keep(r) then
      list[#list + 1] = r
    elseif what and #o.paths > 0 then
      errors.raise('E217', { what = ('%s is a finished run without %s'):format(r.dir, what),
        fix = 'name another, or none to see all that have it' })
    end
  end
  local planned = {}
  for _, e in ipairs(o.entries or {}) do
    if e.run then planned[e.run.dir] = true end
  end
  list = apart(#o.paths > 0 and list or finished.longest(list, finished.cell, planned))
  table.sort(list, function(a, b)
    if a.task ~= b.task then return a.task < b.task end
    if a.model ~= b.model then return a.model < b.model end
    return a.n < b.n
  end)
  return list
end

--- Whether a run was scored on its task; that score may be undefined.
function M.scored(r) return r.metric ~= nil end

-- The models' places: those that were named, else the runs of texts.
local function places(o, multiplexed)
  local out = {}
  if #o.paths > 0 then
    for i, path in ipairs(o.paths) do out[i] = { path = path } end
    return out
  end
  for _, r in ipairs(M.runs(o, M.scored)) do
    local texts = not fit.images { model = { kind = r.values['model.kind'] } }
    if texts and (r.n > 1 or not multiplexed) then out[#out + 1] = { path = r.dir, run = r } end
  end
  return out
end

--- Calls fn(item) for every model to analyse, one loaded at a time: item = { path, run (or nil), saved (see
--- saved.load), net (the module), set (its dev set, encoded), options (for evaluate), task, n, words }. multiplexed:
--- only N > 1. Raises E217 where there is none.
function M.each(o, multiplexed, fn)
  local saved, score_set = require 'datamux.saved', require 'datamux.score_set'
  local list = places(o, multiplexed)
  if #list == 0 then M.none(o) end
  for _, item in ipairs(list) do
    local model = saved.load(item.path)
    if multiplexed and model.n < 2 then
      errors.raise('E215', ('%s reads one text at a time, expected a multiplexed model'):format(item.path))
    end
    local c = model.config
    item.saved, item.net, item.n, item.task = model, model.model, model.n, c.task
    item.options = saved.options(model)
    item.words = finished.model_words { ['model.kind'] = c.model.kind, ['model.layers'] = c.model.layers,
      ['model.width'] = c.model.width, ['mux.kind'] = c.mux.kind, ['mux.learn'] = c.mux.learn,
      ['demux.kind'] = c.demux.kind, ['demux.key'] = c.demux.key }
    item.set = score_set.open(model, 'dev', {})
    fn(item)
    item.saved, item.net, item.set = nil, nil, nil
    collectgarbage()
  end
end

--- Whether a cell holds a number: it is neither empty nor undefined.
function M.defined(v) return v ~= nil and v == v end

--- Series for plot.draw of rows, without empty or undefined cells: one for each value of label(row), with x and y of
--- keys.
function M.series(rows, label, x, y, spread)
  local out, at = {}, {}
  for _, r in ipairs(rows) do
    local name = label(r)
    if r[x] and M.defined(r[y]) then
      if not at[name] then
        at[name] = { label = name, x = {}, y = {}, error = spread and {} or nil }
        out[#out + 1] = at[name]
      end
      local s = at[name]
      s.x[#s.x + 1], s.y[#s.y + 1] = r[x], r[y]
      if spread then s.error[#s.error + 1] = r[spread] or 0 end
    end
  end
  return out
end

--- The same for bars, where x are names: every series has a place for each name, also where a row is missing.
function M.bars(rows, label, x, y, spread)
  local names, place, out, at = {}, {}, {}, {}
  for _, r in ipairs(rows) do
    if not place[r[x]] then
      names[#names + 1] = r[x]
      place[r[x]] = #names
    end
  end
  for _, r in ipairs(rows) do
    local name = label(r)
    if M.defined(r[y]) and not at[name] then
      at[name] = { label = name, x = names, y = {}, error = spread and {} or nil }
      for k = 1, #names do
        at[name].y[k] = 0 / 0
        if spread then at[name].error[k] = 0 end
      end
      out[#out + 1] = at[name]
    end
    if M.defined(r[y]) then
      at[name].y[place[r[x]]] = r[y]
      if spread then at[name].error[place[r[x]]] = r[spread] or 0 end
    end
  end
  return out
end

--- A picture of series with further fields, or nil where there is no series.
function M.picture(series, fields)
  if #series == 0 then return nil end
  for k, v in pairs(fields) do series[k] = v end
  return series
end

return M
