-- rundir.lua -- the folder of a run: never reused, never clobbered; and finding one to continue.
--
--   runs/NAME/20261124-021033-k3f9/   recipe.lua config.json env.json status.json metrics.jsonl log.txt
--                                     checkpoints/ report.txt report.md report.json lock .datamux-run
--   runs/NAME/latest -> the newest that finished, else that can go on, else the newest
local ffi = require 'ffi'
local cjson = require 'cjson'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local json = require 'datamux.json'
local plural = require 'datamux.plural'
local sys = require 'datamux.sys'
local C = core.C

local M = {}

--- Where runs go: `out`, else $DATAMUX_RUNS, else ./runs.
function M.root(out) return out or os.getenv 'DATAMUX_RUNS' or 'runs' end

local function suffix()
  local letters, out = 'abcdefghijklmnopqrstuvwxyz0123456789', {}
  local f = assert(io.open('/dev/urandom', 'rb'))
  for c in f:read(4):gmatch '.' do
    local k = c:byte() % #letters + 1
    out[#out + 1] = letters:sub(k, k)
  end
  f:close()
  return table.concat(out)
end

--- What status.json of a run says, or nil.
function M.status(dir)
  local text = sys.read(dir .. '/status.json')
  local ok, t = pcall(cjson.decode, text or '')
  return ok and t or nil
end

local function take_lock(dir)
  local lock = sys.lock(dir .. '/lock')
  if not lock then
    local s = M.status(dir) or {}
    errors.raise('E204', { what = ('run %s is in use by another process%s'):format(dir,
      s.pid and (' (pid %d on %s)'):format(s.pid, s.host or 'this machine') or ''),
      fix = 'stop it, or start a new run (leave out --resume); after a crash the lock clears by itself' })
  end
  return lock
end

local function first_line(path)
  local text = sys.read(path)
  return text and text:match '[^\n]+'
end

local function is_run(dir) return sys.kind(dir .. '/.datamux-run') == 'file' end

local ranks = { finished = 3, stopped = 2, running = 2, failed = 1 }       -- what was killed says running: it can go on

-- Points `latest` of a folder of runs at the newest of the best rank; removes it where there is no run.
local function point_latest(parent)
  local best, rank
  for _, id in ipairs(sys.list(parent)) do                                 -- oldest first
    local dir = parent .. '/' .. id
    if id ~= 'latest' and id ~= 'best' and is_run(dir) then
      local r = ranks[(M.status(dir) or {}).state] or 0
      if not best or r >= rank then best, rank = id, r end
    end
  end
  if best then sys.link(best, parent .. '/latest') else os.remove(parent .. '/latest') end
end

local function write_status(run, fields)
  fields.pid, fields.host = sys.pid(), first_line '/proc/sys/kernel/hostname'
  fields.resume, fields.at = run.resume, os.date '!%Y-%m-%dT%H:%M:%SZ'
  sys.write(run.dir .. '/status.json', json.encode(fields, true) .. '\n')
  point_latest(run.dir:match '^(.*)/[^/]+$' or '.')
end

-- One line of a command's output, or nil.
local function output(command)
  local f = io.popen(command .. ' 2> /dev/null')
  local line = f and f:read '*l'
  if f then f:close() end
  return line ~= '' and line or nil
end

-- Commit of the checkout that `file` is in, and whether tracked files differ from it; nil outside of one.
local function git(file)
  local dir = sys.quoted(file and file:match '^(.*)/[^/]*$' or '.')
  local commit = output(('git -C %s rev-parse HEAD'):format(dir))
  if not commit then return nil end
  return { commit = commit, dirty = output(('git -C %s status --porcelain -uno'):format(dir)) ~= nil }
end

-- Where and with what a run runs.
local function environment(o)
  local cpu = (sys.read '/proc/cpuinfo' or ''):match 'model name%s*:%s*([^\n]+)'
  return {
    command = json.list(o.args or {}), version = ffi.string(C.dm_version()), luajit = jit.version,
    gemm = ffi.string(C.dm_gemm_library()), device = require('datamux.scope').about(), threads = C.dm_threads(),
    host = first_line '/proc/sys/kernel/hostname', kernel = first_line '/proc/sys/kernel/osrelease', cpu = cpu,
    tags = o.tags, git = git(o.recipe), recipe = o.recipe, folder = require('lfs').currentdir() }
end

--- Tags of words key=value, as name -> value; nil where there are none. Raises E200.
function M.tags(words)
  local out = {}
  for _, w in ipairs(words or {}) do
    local k, v = w:match '^([%w_.-]+)=(.+)$'
    if not k then
      errors.raise('E200', { what = ("--tag is '%s', expected KEY=VALUE"):format(w), fix = '--tag study=lr' })
    end
    out[k] = v
  end
  return next(out) and out or nil
end

-- What env.json of a run says.
local function read_environment(dir)
  local ok, t = pcall(cjson.decode, sys.read(dir .. '/env.json') or '')
  return ok and t or {}
end

--- The tags of a run, name -> value, and as text: "a=1 b=2".
function M.tags_of(dir)
  local tags, out = read_environment(dir).tags or {}, {}
  for k, v in pairs(tags) do out[#out + 1] = k .. '=' .. v end
  table.sort(out)
  return tags, table.concat(out, ' ')
end

-- Gives a run that goes on further tags.
local function add_tags(dir, tags)
  if not tags then return end
  local t = read_environment(dir)
  t.tags = t.tags or {}
  for k, v in pairs(tags) do t.tags[k] = v end
  sys.write(dir .. '/env.json', json.encode(t, true) .. '\n')
end

--- Makes the folder of a new run. o: { out, name, recipe (its file), list (values with origins), args (command
--- line), tags (see tags), resume = function(id) -> the command that continues it }. Returns { dir, lock, resume }.
function M.create(o)
  local parent = ('%s/%s'):format(M.root(o.out), o.name)
  sys.mkdir(parent)
  local id, dir
  repeat
    id = os.date '!%Y%m%d-%H%M%S-' .. suffix()
    dir = parent .. '/' .. id
  until sys.kind(dir) == nil
  sys.mkdir(dir)
  local lock = take_lock(dir)
  sys.write(dir .. '/.datamux-run', 'datamux ' .. ffi.string(C.dm_version()) .. '\n')
  if o.recipe then sys.write(dir .. '/recipe.lua', sys.read(o.recipe)) end
  local config = {}
  for _, e in ipairs(o.list) do config[e.path] = { value = e.value, from = e.from } end
  sys.write(dir .. '/config.json', json.encode(config, true) .. '\n')
  sys.write(dir .. '/env.json', json.encode(environment(o), true) .. '\n')
  local run = { dir = dir, lock = lock, resume = o.resume and o.resume(id) }
  write_status(run, { state = 'running' })
  return run
end

--- All runs under the root: { name, id, dir, status }, oldest first by name. Folders without the marker are no runs.
function M.all(out)
  local list, root = {}, M.root(out)
  for _, name in ipairs(sys.list(root)) do
    for _, id in ipairs(sys.list(root .. '/' .. name)) do
      local dir = ('%s/%s/%s'):format(root, name, id)
      if id ~= 'latest' and id ~= 'best' and is_run(dir) then
        list[#list + 1] = { name = name, id = id, dir = dir, status = M.status(dir) or {} }
      end
    end
  end
  return list
end

--- The run that a person means by `what`: its folder, NAME/latest, NAME (the same), or an id; nil where there is none.
function M.search(out, what)
  local root, found = M.root(out), {}
  for _, path in ipairs { what, what .. '/latest', root .. '/' .. what, root .. '/' .. what .. '/latest' } do
    if is_run(path) then
      local dir = path:gsub('/+$', '')
      local target = require('lfs').symlinkattributes(dir, 'target')
      if target then dir = dir:gsub('[^/]+$', '') .. target end
      return { name = dir:match '([^/]+)/[^/]+$' or '', id = dir:match '[^/]+$', dir = dir,
               status = M.status(dir) or {} }
    end
  end
  for _, run in ipairs(M.all(out)) do
    if run.id == what or run.id:sub(-#what - 1) == '-' .. what then found[#found + 1] = run end
  end
  return #found == 1 and found[1] or nil
end

--- As search. Raises E217 where there is none.
function M.locate(out, what)
  local found = M.search(out, what)
  if found then return found end
  if out and sys.kind(out) ~= 'directory' then
    errors.raise('E217', { what = ("--out is '%s', expected the folder of the runs, which is there"):format(out),
                           fix = ('leave it out; a file to write is -O %s'):format(sys.word(out)) })
  end
  local all, names = M.all(out), {}
  for _, run in ipairs(all) do
    names[#names + 1] = run.id
    names[#names + 1] = run.name
  end
  errors.raise('E217', { what = ("no run '%s' in %s (%s there)"):format(what, M.root(out),
                                                                     plural.of(#all, 'run')),
                         near = errors.nearest(what, names), fix = 'datamux runs ls, or --out DIR' })
end

--- Removes a run that no process works on. Raises E204.
function M.remove(run)
  sys.unlock(take_lock(run.dir))
  sys.remove(run.dir)
  point_latest(run.dir:match '^(.*)/[^/]+$' or '.')
end

--- The newest run of `name` that is not finished: { dir, state, step }, or nil.
function M.unfinished(out, name)
  local parent = ('%s/%s'):format(M.root(out), name)
  local names = sys.list(parent)
  for i = #names, 1, -1 do
    local dir = parent .. '/' .. names[i]
    local s = names[i] ~= 'latest' and M.status(dir)
    if s and s.state ~= 'finished' then return { dir = dir, state = s.state, step = s.step } end
  end
end

local function text_of(v)
  if v == nil then return 'none' end
  return type(v) == 'table' and table.concat(v, ',') or tostring(v)
end

--- Where the values of a run (path -> value) are not those of a resolved list (see recipe.resolve): path, what the run
--- has, what the list has (as text, none for nothing), and where that is from; nil where they agree. A key that the run
--- does not know, for it is of an older version, has its default there. free: patterns of paths that may differ.
function M.difference(values, list, free)
  local seen = {}
  local function may_differ(path)
    for _, pattern in ipairs(free) do
      if path:find(pattern) then return true end
    end
  end
  for _, e in ipairs(list) do
    seen[e.path] = true
    local was = values[e.path]
    if was == nil then was = e.default end
    was = text_of(was)
    if was ~= text_of(e.value) and not may_differ(e.path) then return e.path, was, text_of(e.value), e.from end
  end
  for path, was in pairs(values) do
    if not seen[path] and not may_differ(path) then return path, text_of(was), 'none' end
  end
end

-- Raises E212 where a value differs from the one the run was started with.
local function same_values(dir, list)
  local values = {}
  for path, e in pairs(cjson.decode(sys.read(dir .. '/config.json'))) do values[path] = e.value end
  local path, was, now, from = M.difference(values, list, { '^log%.', '^save%.', '^expect%.' })
  if path then
    errors.raise('E212', { what = ("'%s' is %s, but run %s was started with %s"):format(path, now, dir, was),
      where = from, fix = ('%s=%s, or leave out --resume to start a new run'):format(path, was) })
  end
end

--- The newest run of `name` that is not finished, or the one given by path. o: { out, name, list, run, tags, resume }.
--- Raises E211 when there is none, E212 when its configuration differs from `list`, E204 when it is in use. Returns
--- { dir, lock, resume }.
function M.find(o)
  local parent = ('%s/%s'):format(M.root(o.out), o.name)
  local dir = o.run
  if dir and sys.kind(dir .. '/status.json') ~= 'file' then dir = parent .. '/' .. dir end
  if not o.run then
    local found = M.unfinished(o.out, o.name)
    dir = found and found.dir
  end
  if not dir or sys.kind(dir .. '/config.json') ~= 'file' then
    errors.raise('E211', { what = o.run and ("no run '%s' of %s in %s"):format(o.run, o.name, parent)
      or ('no unfinished run of %s in %s'):format(o.name, parent),
      near = o.run and errors.nearest(o.run, sys.list(parent)) or nil, fix = 'leave out --resume to start one' })
  end
  same_values(dir, o.list)
  local run = { dir = dir, lock = take_lock(dir), resume = o.resume and o.resume(dir:match '[^/]+$') }
  add_tags(dir, o.tags)
  write_status(run, { state = 'running' })
  return run
end

--- Notes how a run ended: state 'finished', 'stopped' or 'failed', and lets its lock go.
function M.close(run, state, fields)
  fields = fields or {}
  fields.state = state
  write_status(run, fields)
  sys.unlock(run.lock)
end

return M
