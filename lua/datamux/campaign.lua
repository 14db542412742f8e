-- campaign.lua -- many trainings, one after the other: what is finished is not trained again, what was stopped goes on.
--
-- An entry is { name, recipe (a file of the recipes folder), words (key=value), .. }. Its run is the newest that has
-- exactly its values, whatever it is called; so a run made by hand counts too.
local cjson = require 'cjson'
local errors = require 'datamux.errors'
local finished = require 'datamux.finished'
local host = require 'datamux.host'
local launch = require 'datamux.launch'
local rundir = require 'datamux.rundir'
local sys = require 'datamux.sys'

local M = {}

--- The path of a recipe of the recipes folder: here, beside the command, or where it is installed. Raises E207.
function M.locate(recipe)
  local exe = host.exe():match '^(.*)/[^/]+$' or '.'
  local looked = {}
  for _, folder in ipairs { 'recipes', exe .. '/../recipes', exe .. '/../share/datamux/recipes' } do
    local path = folder .. '/' .. recipe
    if sys.kind(path) == 'file' then return path end
    looked[#looked + 1] = path
  end
  if sys.kind(recipe) == 'file' then return recipe end
  errors.raise('E207', { what = ("no recipe '%s'"):format(recipe), lines = { 'looked in: ' .. table.concat(looked,
    ', ') }, fix = 'run this where the folder recipes/ is' })
end

-- Runs that are not finished and could go on, with their values.
local function unfinished(root)
  local out = {}
  for _, run in ipairs(rundir.all(root)) do
    local state = run.status.state
    local ok, config = pcall(cjson.decode, sys.read(run.dir .. '/config.json') or '')
    if ok and (state == 'stopped' or state == 'running') then
      run.values = {}
      for path, e in pairs(config) do run.values[path] = e.value end
      out[#out + 1] = run
    end
  end
  return out
end

--- Finds the runs of entries: sets path, list (resolved values), run (see finished.all) and stopped (one that can go
--- on) of each. o: { root, words (further key=value), profile }. Raises what the recipes' keys raise.
function M.find(entries, o)
  local done, open = finished.all(o.root, {}), unfinished(o.root)
  for _, e in ipairs(entries) do
    e.path = M.locate(e.recipe)
    e.all = { 'profile=' .. (o.profile or 'small') }
    for _, list in ipairs { e.words or {}, o.words or {} } do
      for _, w in ipairs(list) do e.all[#e.all + 1] = w end
    end
    e.all[#e.all + 1] = 'name=' .. e.name
    local _, list = launch.load(e.path, {}):resolve(e.all, false)
    e.list, e.run, e.stopped = list, nil, nil
    for _, r in ipairs(done) do
      if finished.same(r.values, list) then e.run = r end
    end
    for _, r in ipairs(open) do
      if r.name == e.name and finished.same(r.values, list) then e.stopped = r end
    end
  end
  return entries
end

--- The command that trains an entry (see find). o: { root, threads, device }.
function M.command(e, o, budget)
  local words = { o.exe or 'datamux', e.path }
  for _, w in ipairs(e.all) do words[#words + 1] = sys.word(w) end
  words[#words + 1] = '--out ' .. sys.word(rundir.root(o.root))
  if o.threads then words[#words + 1] = '-j ' .. o.threads end
  if o.device then words[#words + 1] = '--device ' .. o.device end
  if e.stopped then words[#words + 1] = '--resume=' .. e.stopped.id end
  if budget then words[#words + 1] = ('--stop-after %ds'):format(math.max(1, math.floor(budget))) end
  return table.concat(words, ' ')
end

-- Whether another process trains a run.
local function busy(run)
  local lock = run and sys.lock(run.dir .. '/lock')
  if lock then sys.unlock(lock) end
  return run ~= nil and lock == nil
end

--- Trains the entries that have no finished run, one after the other, each as a process of its own; sets their runs.
--- An entry that cannot be trained (its data are not here) is noted, with the others of its task, and left out. o:
--- { root, words, profile, threads, device, budget (seconds in all, nil: no end), quiet, say = function(text) }.
--- Returns true where all were tried, false where the budget ended or Ctrl-C came; and the exit code of the first that
--- failed for another reason than missing data, or nil.
function M.train(entries, o)
  M.find(entries, o)
  local begun, hopeless, failed = os.time(), {}, nil
  local exe = setmetatable({ exe = sys.word(host.exe()) }, { __index = o })
  for i, e in ipairs(entries) do
    local task, left = nil, o.budget and o.budget - (os.time() - begun)
    for _, v in ipairs(e.list) do task = v.path == 'task' and v.value or task end
    if e.run then
      o.say(('%d of %d %s: finished, %s'):format(i, #entries, e.name, e.run.dir))
    elseif hopeless[task] then
      o.say(('%d of %d %s: left out, the data of %s are not here'):format(i, #entries, e.name, task))
    elseif busy(e.stopped) then
      o.say(('%d of %d %s: another process trains it, %s'):format(i, #entries, e.name, e.stopped.dir))
    elseif left and left <= 0 then
      return false, failed
    else
      o.say(('%d of %d %s: %s'):format(i, #entries, e.name, M.command(e, o)))
      local line = M.command(e, exe, left) .. (o.quiet and ' -q' or ' --progress lines') .. ' > /dev/null'
      local status = os.execute(line)
      local code = status > 255 and math.floor(status / 256) or status
      if code == errors.codes.stopped or code == errors.codes.interrupted or code == 2 and status == 2 then
        return false, failed
      end
      if code == errors.codes.data or code == errors.codes.network then
        hopeless[task] = true
      elseif code ~= 0 then
        failed = failed or code
      end
      if code ~= 0 then o.say(('%s: ended with %d'):format(e.name, code)) end
    end
  end
  M.find(entries, o)
  return true, failed
end

return M
