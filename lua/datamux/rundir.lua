-- rundir.lua -- the folder of a run: never reused, never clobbered; and finding one to continue.
--
--   runs/NAME/20261124-021033-k3f9/   recipe.lua config.json env.json status.json metrics.jsonl log.txt
--                                     checkpoints/ report.txt report.json lock .datamux-run
--   runs/NAME/latest -> the newest
local ffi = require 'ffi'
local cjson = require 'cjson'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local json = require 'datamux.json'
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

local function take_lock(dir)
  local lock = sys.lock(dir .. '/lock')
  if not lock then
    errors.raise(2, ('run %s is in use by another process\n  fix: stop it, or start a new run (leave out --resume)')
      :format(dir))
  end
  return lock
end

local function status(dir, fields)
  fields.pid = sys.pid()
  sys.write(dir .. '/status.json', json.encode(fields, true) .. '\n')
end

--- Makes the folder of a new run. o: { out, name, recipe (its file), list (values with origins), args (command
--- line) }. Returns { dir, lock }.
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
  sys.write(dir .. '/env.json', json.encode({
    command = json.list(o.args or {}), version = ffi.string(C.dm_version()), gemm = ffi.string(C.dm_gemm_library()),
    device = require('datamux.scope').about(), threads = C.dm_threads() }, true) .. '\n')
  sys.link(id, parent .. '/latest')
  status(dir, { state = 'running' })
  return { dir = dir, lock = lock }
end

--- The newest run of `name` that is not finished, or the one given by path; raises (code 2) when there is none or its
--- configuration differs from `list`. Returns { dir, lock }.
function M.find(o)
  local parent = ('%s/%s'):format(M.root(o.out), o.name)
  local dir = o.run
  if dir and sys.kind(dir .. '/status.json') ~= 'file' then dir = parent .. '/' .. dir end
  if not o.run then
    local names = sys.list(parent)
    for i = #names, 1, -1 do
      local text = names[i] ~= 'latest' and sys.read(('%s/%s/status.json'):format(parent, names[i]))
      if text and cjson.decode(text).state ~= 'finished' then
        dir = parent .. '/' .. names[i]
        break
      end
    end
  end
  local text = dir and sys.read(dir .. '/config.json')
  if not text then
    errors.raise(2, ('no unfinished run of %s in %s\n  fix: leave out --resume to start one'):format(o.name, parent))
  end
  local saved = cjson.decode(text)
  for _, e in ipairs(o.list) do
    local was = saved[e.path] and saved[e.path].value
    if type(e.value) ~= 'table' and was ~= e.value and not e.path:find '^log%.' and not e.path:find '^save%.' then
      errors.raise(2, ("'%s' is %s, but run %s was started with %s\n  fix: give the same values, or start a new run")
        :format(e.path, tostring(e.value), dir, tostring(was)))
    end
  end
  local lock = take_lock(dir)
  status(dir, { state = 'running' })
  return { dir = dir, lock = lock }
end

--- Notes how a run ended: state 'finished', 'stopped' or 'failed', and lets its lock go.
function M.close(run, state, fields)
  fields = fields or {}
  fields.state = state
  status(run.dir, fields)
  sys.unlock(run.lock)
end

return M
