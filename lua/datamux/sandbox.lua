-- sandbox.lua -- where a recipe's code runs: it reads what it likes, and neither writes files nor runs programs.
--
-- A recipe describes a run, and people run those of others. So its globals are the library, Lua's own functions, files
-- to read and the clock; `require` gives the library and files beside the recipe. What is left out raises E222, with
-- the line that wanted it. This keeps a recipe to its business; it is no prison for code that was written to break out.
local errors = require 'datamux.errors'
local sys = require 'datamux.sys'

local M = {}

--- Whether recipes run with everything Lua has (--trust).
M.trusted = false

local plain = {
  '_VERSION', 'assert', 'collectgarbage', 'error', 'getmetatable', 'ipairs', 'next', 'pairs', 'pcall', 'print',
  'rawequal', 'rawget', 'rawset', 'select', 'setmetatable', 'tonumber', 'tostring', 'type', 'unpack', 'xpcall' }

local whole = { 'bit', 'coroutine', 'math', 'string', 'table' }                   -- tables given as copies

local parts = { os = { 'clock', 'date', 'difftime', 'getenv', 'time' }, debug = { 'traceback' },
                io = { 'lines', 'read', 'stderr', 'stdin', 'stdout', 'type', 'write' } }

local absent = { 'ffi', 'getfenv', 'jit', 'module', 'newproxy', 'package', 'setfenv' }

local modules = { cjson = true, ['cjson.safe'] = true }                           -- that are not ours

-- Rooms of the library that write files, run programs or reach the engine itself.
local closed = { 'campaign', 'cli', 'commands', 'data.download', 'ffi', 'hub', 'launch', 'pack', 'repl', 'rundir',
                 'sandbox', 'sys', 'testing' }

-- "file:line" of the innermost function of this environment.
local function place(env)
  for level = 3, 60 do
    local info = debug.getinfo(level, 'Slf')
    if not info then return nil end
    if info.what ~= 'C' and getfenv(info.func) == env then return ('%s:%d'):format(info.short_src, info.currentline) end
  end
end

local function refuse(env, what)
  errors.raise('E222', { what = what .. ' is not for recipes: they read files and describe a run', where = place(env),
    fix = '--trust, if you trust this file and what it requires' })
end

-- A table with these members of `t`, which refuses the others that `t` has.
local function some(env, name, t, members)
  local out = {}
  for _, k in ipairs(members) do out[k] = t[k] end
  return setmetatable(out, { __index = function(_, k)
    if t[k] ~= nil then refuse(env, ('%s.%s'):format(name, tostring(k))) end
  end })
end

local function copy(t)
  local out = {}
  for k, v in pairs(t) do out[k] = v end
  return out
end

-- A chunk of text in the environment; bytecode is none.
local function compile(env, text, name)
  if text:byte() == 27 then return nil, 'bytecode is not for recipes' end
  local chunk, why = loadstring((text:gsub('^#[^\n]*', '')), name)
  return chunk and setfenv(chunk, env), why
end

-- require: the library, and files beside the recipe.
local function requirer(env, folder)
  local loaded = {}
  return function(name)
    local room = name:match '^datamux%.(.*)$'
    for _, prefix in ipairs(room and closed or {}) do
      if room == prefix or room:sub(1, #prefix + 1) == prefix .. '.' then refuse(env, ("require '%s'"):format(name)) end
    end
    if room or name == 'datamux' or modules[name] then return require(name) end
    if type(rawget(env, name)) == 'table' and name ~= '_G' then return env[name] end
    if loaded[name] ~= nil then return loaded[name] end
    for _, ending in ipairs { '.lua', '/init.lua' } do
      local path = folder .. name:gsub('%.', '/') .. ending
      local text = sys.kind(path) == 'file' and sys.read(path)
      if text then
        local chunk, why = compile(env, text, '@' .. path)
        if not chunk then error(why, 2) end
        loaded[name] = true
        local value = chunk(name)
        if value ~= nil then loaded[name] = value end
        return loaded[name]
      end
    end
    if package.loaded[name] or package.preload[name] then refuse(env, ("require '%s'"):format(name)) end
    error(("module '%s' is neither the library's nor a file beside the recipe (%s)"):format(name,
      folder ~= '' and folder or './'), 2)
  end
end

--- The globals of a recipe in this file: io.open only reads; loadstring, load, loadfile and dofile take text, which
--- then has these globals too.
function M.environment(file)
  local env = { dm = require 'datamux' }
  env._G = env
  for _, k in ipairs(plain) do env[k] = _G[k] end
  for _, k in ipairs(whole) do env[k] = copy(_G[k]) end
  for name, members in pairs(parts) do env[name] = some(env, name, _G[name], members) end
  function env.io.open(path, mode)
    if mode and not mode:find '^rb?$' then refuse(env, ("io.open(..., '%s')"):format(tostring(mode))) end
    return io.open(path, mode)
  end
  function env.loadstring(text, name) return compile(env, text, name) end
  function env.load(text, name)
    if type(text) == 'function' then
      local out = {}
      for piece in text do
        if piece == '' then break end
        out[#out + 1] = piece
      end
      text = table.concat(out)
    end
    return compile(env, text, name)
  end
  function env.loadfile(path)
    local text, why = sys.read(path)
    if not text then return nil, why end
    return compile(env, text, '@' .. path)
  end
  function env.dofile(path) return assert(env.loadfile(path))() end
  env.require = requirer(env, file:match '^.*/' or '')
  local refused = {}
  for _, k in ipairs(absent) do refused[k] = true end
  return setmetatable(env, { __index = function(_, k)
    if refused[k] then refuse(env, tostring(k)) end
  end })
end

return M
