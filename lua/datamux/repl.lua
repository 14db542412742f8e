-- repl.lua -- the prompt: readline where there is one, statements over several lines, results printed, :commands.
--
-- Top-level locals: a statement that begins with `local` makes a variable of the prompt instead, so that it is there
-- on the next line. Code typed here runs without the JIT, so that Ctrl-C stops it (src/main.c); what it calls in the
-- library stays compiled.
local ffi = require 'ffi'
local host = require 'datamux.host'
local errors = require 'datamux.errors'

local M = {}

-- -- line editors ---------------------------------------------------------------------------------------

if not pcall(ffi.typeof, 'struct dm_repl_defined') then
  ffi.cdef [[
    struct dm_repl_defined { int one; };
    char *readline(const char *prompt);
    void add_history(const char *line);
    int read_history(const char *path);
    int write_history(const char *path);
    char **rl_completion_matches(const char *text, char *(*entry)(const char *, int));
    extern char **(*rl_attempted_completion_function)(const char *, int, int);
    extern const char *rl_readline_name;
    extern int rl_completion_append_character;
    extern int rl_attempted_completion_over;
    void free(void *p);
    char *strdup(const char *s);
  ]]
end

local function history_file()
  local state = os.getenv 'XDG_STATE_HOME'
  local dir = (state and state ~= '' and state or (os.getenv 'HOME' or '.') .. '/.local/state') .. '/datamux'
  if not pcall(require('datamux.sys').mkdir, dir) then return nil end
  return dir .. '/history'
end

--- Names that complete `text` in environment env: globals, fields and methods, also through metatables.
function M.completions(env, text)
  local head, sep, tail = text:match '^([%w_.:]*)([.:])([%w_]*)$'
  local scope = env
  if head then
    for part in head:gmatch '[%w_]+' do
      if type(scope) ~= 'table' then return {} end
      local ok, v = pcall(function() return scope[part] end)
      if not ok then return {} end
      scope = v
    end
  else
    tail = text
  end
  local found, seen, list = {}, {}, {}
  local function add(t)
    if type(t) ~= 'table' or seen[t] then return end
    seen[t] = true
    for k in pairs(t) do
      if type(k) == 'string' and k:find '^[%a_][%w_]*$' and k:sub(1, #tail) == tail then found[k] = true end
    end
    local names = rawget(t, 'names')
    if type(names) == 'function' then
      for _, k in ipairs(names()) do
        if k:sub(1, #tail) == tail then found[k] = true end
      end
    end
    local mt = getmetatable(t)
    if type(mt) == 'table' then
      add(rawget(mt, '__index'))
      if rawget(mt, 'complete') then add(mt.complete) end
    end
  end
  add(scope)
  for k in pairs(found) do list[#list + 1] = (head and head .. sep or '') .. k end
  table.sort(list)
  return list
end

-- An editor: read(prompt) -> line or nil at the end, add(statement), close().
local function plain_editor()
  return {
    read = function(prompt)
      io.stdout:write(prompt)
      io.stdout:flush()
      return io.read '*l'
    end,
    add = function() end,
    close = function() end,
  }
end

local function readline_editor(env)
  if not (host.isatty(0) and host.isatty(1)) or os.getenv 'TERM' == 'dumb' then return plain_editor() end
  local lib
  for _, name in ipairs { 'libreadline.so.8', 'libedit.so.2' } do
    local ok, found = pcall(ffi.load, name)
    if ok then
      lib = found
      break
    end
  end
  if not lib then return plain_editor() end
  local matches = {}
  local entry = ffi.cast('char *(*)(const char *, int)', function(_, k)
    local m = matches[k + 1]
    return m and ffi.C.strdup(m) or nil
  end)
  local attempt = ffi.cast('char **(*)(const char *, int, int)', function(text)
    matches = M.completions(env, ffi.string(text))
    if #matches == 0 then return nil end
    lib.rl_completion_append_character = 0
    return lib.rl_completion_matches(text, entry)
  end)
  pcall(function() lib.rl_attempted_completion_function = attempt end)
  local file = history_file()
  if file then lib.read_history(file) end
  local function read(prompt)
    local line = lib.readline(prompt)
    if line == nil then return nil end
    local text = ffi.string(line)
    ffi.C.free(line)
    return text
  end
  jit.off(read)                                  -- it calls back into Lua for completion
  return {
    read = read,
    add = function(statement)
      if statement:find '^%s' then return end
      lib.add_history((statement:gsub('\n', ' ')))
      if file then lib.write_history(file) end
    end,
    close = function() entry:free() end,
  }
end

-- -- printing ---------------------------------------------------------------------------------------------

local function brief(v)
  if type(v) == 'string' then return ('%q'):format(v):gsub('\\\n', '\\n') end
  if type(v) == 'table' then
    local mt = getmetatable(v)
    if mt and mt.__tostring then return (tostring(v):match '^[^\n]*') end
    return ('{ .. %d }'):format(#v)
  end
  return tostring(v)
end

local function show_table(t)
  local out, n = {}, 0
  for i = 1, math.min(#t, 12) do out[i] = brief(t[i]) end
  if #t > 12 then out[#out + 1] = ('.. %d values'):format(#t) end
  local keys = {}
  for k in pairs(t) do
    if not (type(k) == 'number' and k >= 1 and k <= #t) then keys[#keys + 1] = tostring(k) end
  end
  table.sort(keys)
  for _, k in ipairs(keys) do
    n = n + 1
    if n > 20 then
      out[#out + 1] = ('.. %d fields'):format(#keys)
      break
    end
    out[#out + 1] = ('%s = %s'):format(k, brief(t[k]))
  end
  return '{ ' .. table.concat(out, ', ') .. ' }'
end

local function show(v)
  if type(v) == 'table' then
    local mt = getmetatable(v)
    if mt and mt.__tostring then return tostring(v) end
    return show_table(v)
  end
  return type(v) == 'string' and v or brief(v)
end

-- -- help from the sources' own comments ------------------------------------------------------------------

--- The --- comment above the function called `name` (dm.linear, Tensor.fill, Module:param ..), or nil.
function M.help(name)
  local last = name:match '[%w_]+$'
  if not last then return nil end
  local patterns = { '^function [%w_.:]*[.:]' .. last .. '%(', '^function ' .. last .. '%.fwd%(',
                     '^function ' .. last .. '%(' }
  for _, source in ipairs(host.sources()) do
    if source:find '%.lua$' then
      local block = {}
      for line in (host.source(source) .. '\n'):gmatch '([^\n]*)\n' do
        if line:find '^%-%-%-' then
          block[#block + 1] = line:gsub('^%-%-%- ?', '')
        else
          for _, p in ipairs(patterns) do
            if #block > 0 and line:find(p) then
              return ('%s\n  %s\n  %s'):format((line:gsub('^function ', '')), table.concat(block, '\n  '), source)
            end
          end
          block = {}
        end
      end
    end
  end
  return nil
end

-- -- statements ---------------------------------------------------------------------------------------------

local function compile(text, env)
  local code = text:gsub('^%s*=', 'return ')
  local chunk = loadstring('return ' .. code, '=prompt')
  local why
  if not chunk then
    local global = code:gsub('^%s*local%s+function%s', 'function '):gsub('^%s*local%s+([%a_][%w_,%s]*=)', '%1')
      :gsub('^%s*local%s+([%a_][%w_,%s]*)$', '%1 = nil')
    chunk, why = loadstring(global, '=prompt')
  end
  if chunk then
    setfenv(chunk, env)
    jit.off(chunk, true)
  end
  return chunk, why
end

local function message_of(e)
  if errors.is(e) then return 'error: ' .. e.message end
  return 'error: ' .. tostring(e)
end

local function pack(...) return { n = select('#', ...), ... } end

-- Runs a chunk with Ctrl-C enabled; prints its results unless hidden.
local function execute(chunk, env, hide)
  host.interactive(true)
  local r = pack(pcall(chunk))
  host.interactive(false)
  if not r[1] then
    print(message_of(r[2]))
    return
  end
  if r.n > 1 then env._ = r[2] end
  if hide then return end
  for i = 2, r.n do
    local ok, text = pcall(show, r[i])
    if r[i] ~= nil or r.n > 2 then print(ok and text or message_of(text)) end
  end
end

local commands = {}

commands.help = function(_, rest)
  if rest == '' then
    print [[
expression          is printed; `;` at the end hides it; `_` is the last result
:help NAME          what a function does (also ?NAME)
:mem                bytes in use on the device
:time EXPRESSION    median of ten runs
:names              what `dm` offers
:quit               also Ctrl-D]]
    return
  end
  print(M.help(rest) or ("no help for '%s'"):format(rest))
end

commands.mem = function()
  local m = require('datamux.scope').memory()
  local mib = 1048576
  print(('live %.1f MiB   used %.1f MiB   scratch %.1f MiB   peak %.1f MiB   Lua %.1f MiB'):format(
    m.live / mib, m.used / mib, m.scratch / mib, m.peak / mib, collectgarbage 'count' / 1024))
end

commands.time = function(env, rest)
  local chunk, why = compile(rest, env)
  if not chunk then
    print('error: ' .. why)
    return
  end
  local C, times = require('datamux.ffi').C, {}
  for i = 1, 11 do
    local t = C.dm_clock()
    local ok, e = pcall(chunk)
    if not ok then
      print(message_of(e))
      return
    end
    times[i] = C.dm_clock() - t
  end
  table.remove(times, 1)
  table.sort(times)
  print(('%.3f ms (median of 10, %.3f .. %.3f)'):format(1e3 * times[5], 1e3 * times[1], 1e3 * times[10]))
end

commands.names = function() print(table.concat(require('datamux').names(), ' ')) end

--- Runs the prompt until its input ends or :quit. o: { recipe = a recipe to have as `recipe` }. Returns exit code 0.
function M.run(o)
  local env = setmetatable({ dm = require 'datamux', recipe = o.recipe }, {
    __index = function(_, k)
      local v = _G[k]
      if v ~= nil then return v end
      return require('datamux')[k]
    end, complete = _G })
  local editor = readline_editor(env)
  if host.isatty(1) then
    local core = require 'datamux.ffi'
    print(('datamux %s (%s, %s)      :help · Ctrl-D quits'):format(ffi.string(core.C.dm_version()), jit.version,
      ffi.string(core.C.dm_gemm_library())))
    if o.recipe then print(tostring(o.recipe)) end
  end
  local text
  while true do
    host.waiting(true)
    local line = editor.read(text and '..> ' or 'dm> ')
    host.waiting(false)
    if not line then break end
    local command, rest = line:match '^%s*:(%a+)%s*(.-)%s*$'
    if not command then rest = line:match '^%s*%?%s*(%S+)%s*$' end
    if not text and command == 'quit' then break end
    if not text and (command or rest) then
      local fn = commands[command or 'help']
      if fn then
        fn(env, rest)
      else
        local names = { 'help', 'mem', 'time', 'names', 'quit' }
        print(("error: no command ':%s'.%s"):format(command, errors.suggest(command, names)))
      end
      editor.add(line)
    elseif text or line:find '%S' then
      text = text and text .. '\n' .. line or line
      local chunk, why = compile((text:gsub(';%s*$', '')), env)
      if chunk then
        editor.add(text)
        execute(chunk, env, text:find ';%s*$')
        text = nil
      elseif not why:find "'<eof>'" then
        editor.add(text)
        print('error: ' .. why:gsub('^prompt:%d+: ', ''))
        text = nil
      end
    end
  end
  if text then
    local _, why = compile(text, env)
    print('error: ' .. tostring(why))
  end
  editor.close()
  if host.isatty(0) then print() end
  return 0
end

return M
