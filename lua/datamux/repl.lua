-- repl.lua -- the prompt: statements over several lines, results printed, help, :commands; alive after every error.
--
-- Variables: the `local` of an outermost statement is taken away (repl/source.lua), so that what it makes is there on
-- the next line; `:locals off` gives Lua's rule back. Ctrl-C: a hook stops interpreted code; compiled traces do not
-- look at hooks, so what is typed here, and what it loads from files, runs without the JIT, while the library's own
-- code stays compiled: its loops leave their traces at each call that is not compiled, and there the hook is seen.
local ffi = require 'ffi'
local host = require 'datamux.host'
local errors = require 'datamux.errors'
local complete = require 'datamux.repl.complete'
local docs = require 'datamux.repl.docs'
local editors = require 'datamux.repl.editor'
local printing = require 'datamux.repl.show'
local source = require 'datamux.repl.source'
local sys = require 'datamux.sys'
local C = require('datamux.ffi').C

local M = {}

local Prompt = {}
Prompt.__index = Prompt

-- -- statements -----------------------------------------------------------------------------------------------

-- Functions of a recipe, or of the script before it, that are compiled already: from here on they are not.
local function interpret_all(t, depth)
  for _, v in pairs(t) do
    if type(v) == 'function' and debug.getinfo(v, 'S').what ~= 'C' then
      jit.off(v, true)
      jit.flush(v, true)
    elseif type(v) == 'table' and depth > 0 then
      interpret_all(v, depth - 1)
    end
  end
end

-- Code loaded while the prompt is open runs without the JIT, unless it is the library's own.
local function interpret_what_is_loaded()
  local funcinfo = require('jit.util').funcinfo
  local tree = os.getenv 'DATAMUX_LUA'
  local own = tree and '@' .. tree .. '/datamux/'
  jit.attach(function(proto)
    local from = funcinfo(proto).source or ''
    local library = from:find('^@datamux/') or (own and from:sub(1, #own) == own)
    if not library then jit.off(proto) end
  end, 'bc')
end

-- A chunk of text in this prompt's environment; or nil, why, and whether it is only incomplete.
function Prompt:compile(text)
  local code = text:gsub('^%s*=', 'return ')
  local chunk = loadstring('return ' .. code, '=prompt')
  local why
  if not chunk then chunk, why = loadstring(self.keep and source.lasting(code) or code, '=prompt') end
  if not chunk then
    local more = why:find("'<eof>'", 1, true) and not why:find('unfinished string', 1, true)
    return nil, why, more and true or false
  end
  setfenv(chunk, self.env)
  return chunk
end

-- The three lines of `text` around line n, with their numbers.
local function around(text, n)
  local out, number = {}, 0
  for line in (text .. '\n'):gmatch '([^\n]*)\n' do
    number = number + 1
    if math.abs(number - n) <= 1 then
      out[#out + 1] = ('  %s%4d  %s'):format(number == n and '>' or ' ', number, line)
    end
  end
  return #out > 0 and '\n' .. table.concat(out, '\n') or ''
end

-- The sentence for Lua's "attempt to call method 'x' (a nil value)" and its like, or the text itself.
function Prompt:explain(text, code)
  local action, kind, name = text:match "attempt to (%a+) (%a+) '([^']+)' %(a nil value%)"
  if not name then return text end
  if kind == 'upvalue' or kind == 'local' then return text end
  if action == 'call' then
    kind = kind == 'field' and 'function' or kind
  end
  return (complete.about(self.env, code, name, kind))
end

-- What is printed for error e of a statement.
function Prompt:message(e, code)
  if errors.is(e) then return ('error%s: %s'):format(e.id and ('[%s]'):format(e.id) or '', e.message) end
  if type(e) == 'table' and not getmetatable(e) then return 'error: ' .. printing.show(e) end
  local text = tostring(e)
  if text:find 'interrupted$' then return 'interrupted' end
  local file, line, rest = text:match '^(.-):(%d+): (.*)$'
  if not file then return 'error: ' .. text end
  local n = tonumber(line)
  if file == 'prompt' then
    local lines = code:find '\n'
    return ('error: %s%s'):format(self:explain(rest, code), lines and around(code, n) or '')
  end
  local own = not file:find 'datamux/[%w_/]+%.lua$' and sys.kind(file) == 'file' and sys.read(file)
  if not own then return 'error: ' .. text end
  return ('error: %s:%d: %s%s'):format(file, n, self:explain(rest, own), around(own, n))
end

-- _ is the newest result, _1 the one before it, .. _9.
function Prompt:result(v)
  local env = self.env
  for i = 9, 2, -1 do rawset(env, '_' .. i, rawget(env, '_' .. i - 1)) end
  rawset(env, '_1', rawget(env, '_'))
  rawset(env, '_', v)
end

local function pack(...) return { n = select('#', ...), ... } end

local function passive(...)
  host.interactive(false)
  return ...
end

-- What the inner call gave; the outer one's error where Ctrl-C came just before or after the inner.
local function innermost(ok, ...)
  if ok then return ... end
  return ok, ...
end

-- Runs chunk with Ctrl-C enabled, which is on and off within a protected call. Returns what pcall would, packed.
local function guarded(chunk)
  local r = pack(innermost(pcall(function()
    host.interactive(true)
    return passive(pcall(chunk))
  end)))
  host.interactive(false)
  return r
end

-- A nil that a path such as x.shap gave: what may have been meant.
function Prompt:hint(code)
  local path, name = code:match '^%s*([%a_][%w_.:%[%]]*)%.([%a_][%w_]*)%s*$'
  if path and type(complete.value(self.env, path)) == 'table' then
    return '   ' .. complete.about(self.env, code, name, 'field')
  end
  name = code:match '^%s*([%a_][%w_]*)%s*$'
  if name and name ~= 'nil' and rawget(self.env, name) == nil then
    return '   ' .. complete.about(self.env, code, name, 'variable')
  end
  return ''
end

function Prompt:execute(chunk, code, hide)
  local began = C.dm_clock()
  local r = guarded(chunk)
  if not r[1] then
    print(self:message(r[2], code))
    return false
  end
  if r.n > 1 and r[2] ~= nil then self:result(r[2]) end
  if not hide then
    for i = 2, r.n do
      local ok, text = pcall(printing.show, r[i])
      text = ok and text or self:message(text, code)
      print(r[i] == nil and r.n == 2 and 'nil' .. self:hint(code) or text)
    end
  end
  local took = C.dm_clock() - began
  if took > 1 and self.terminal then print(('[%.1f s]'):format(took)) end
  return true
end

-- -- commands --------------------------------------------------------------------------------------------------

local commands = {}

local HELP = [[
expression          is printed; `;` at the end hides it
_, _1 .. _9         the newest result, and those before it
?NAME               what a function, method, C function or recipe key does        (also :help NAME)
??WORD              search names and help
!COMMAND            run a shell command
:time EXPRESSION    ten runs after a warm-up: mean ± standard deviation
:type EXPRESSION    its class and size
:who                the variables of this prompt
:mem                memory in use
:drop               give back memory that no variable holds
:device             what computes
:reload MODULE      read a module again; what exists uses the new functions
:load FILE          run a file here
:save FILE          write this session's statements
:edit               change the last statement in $EDITOR and run it
:history [WORD]     earlier statements
:locals on|off      whether `local` of a whole statement lasts (on)
:names              what `dm` offers
:quit               also Ctrl-D
Tab completes names, methods, files in strings and keys of a recipe; Ctrl-C stops a statement.]]

function commands.help(self, rest)
  if rest == '' then
    print(HELP)
    return
  end
  local value = complete.value(self.env, rest)
  local text = docs.help(rest, value)
  if not text and value ~= nil then text = ('%s is a %s'):format(rest, printing.type(value)) end
  if text then
    print(text)
    return
  end
  local close = errors.nearest(rest:match '[%w_]+$' or rest, require('datamux').names())
  print(("no help for '%s'.%s"):format(rest, close and (" Did you mean '%s'?"):format(close) or ' Try ??' .. rest))
end

local function search(word, terminal)
  local wide = terminal and math.max(host.columns(), 60) - 1 or math.huge
  local hits = docs.search(word)
  if #hits == 0 then print(("nothing has '%s' in its name or help"):format(word)) end
  for i = 1, math.min(#hits, 30) do
    local line = ('%-28s %s'):format(hits[i].name, hits[i].line)
    print(#line > wide and line:sub(1, wide - 2) .. '..' or line)
  end
  if #hits > 30 then print(('.. %d more'):format(#hits - 30)) end
end

function commands.mem()
  local m = require('datamux.scope').memory()
  local mib = 1048576
  print(('live %.1f MiB   used %.1f MiB   scratch %.1f MiB   peak %.1f MiB   Lua %.1f MiB'):format(
    m.live / mib, m.used / mib, m.scratch / mib, m.peak / mib, collectgarbage 'count' / 1024))
end

function commands.drop()
  local scope = require 'datamux.scope'
  local before = scope.memory().live
  collectgarbage()
  collectgarbage()                               -- the first call only queues finalisers of cdata
  print(('%.1f MiB given back'):format((before - scope.memory().live) / 1048576))
end

function commands.device() print((require('datamux.scope').about())) end

-- A time of t seconds, in the unit that suits `scale` seconds.
local function duration(t, scale)
  if scale >= 1 then return ('%.3f s'):format(t) end
  if scale >= 1e-3 then return ('%.3f ms'):format(1e3 * t) end
  return scale >= 1e-6 and ('%.3f us'):format(1e6 * t) or ('%.1f ns'):format(1e9 * t)
end

-- Seconds of `often` runs of chunk, each.
local function seconds(chunk, often)
  local t = C.dm_clock()
  for _ = 1, often do chunk() end
  return (C.dm_clock() - t) / often
end

function commands.time(self, rest)
  if rest == '' then
    print 'error: no expression, expected one: :time dm.randn(64, 64)'
    return
  end
  local chunk, why = self:compile(rest)
  if not chunk then
    print('error: ' .. why:gsub('^prompt:%d+: ', ''))
    return
  end
  local r = guarded(function()
    local often = math.max(1, math.floor(1e-3 / math.max(seconds(chunk, 1), 1e-7)))   -- a clock tick is nothing
    seconds(chunk, often)
    local sum, square, least, most = 0, 0, math.huge, 0
    for _ = 1, 10 do
      local t = seconds(chunk, often)
      sum, square, least, most = sum + t, square + t * t, math.min(least, t), math.max(most, t)
    end
    local mean = sum / 10
    local sd = math.sqrt(math.max(square - 10 * mean * mean, 0) / 9)
    return ('%s ± %s   (mean ± sd of 10 runs%s; %s .. %s)'):format(duration(mean, mean), duration(sd, mean),
      often > 1 and (' of %d'):format(often) or '', duration(least, mean), duration(most, mean))
  end)
  print(r[1] and r[2] or self:message(r[2], rest))
end

function commands.type(self, rest)
  local chunk, why = self:compile(rest)
  if not chunk then
    print('error: ' .. why:gsub('^prompt:%d+: ', ''))
    return
  end
  local r = guarded(chunk)
  if not r[1] then
    print(self:message(r[2], rest))
    return
  end
  local v = r[2]
  local kind = printing.type(v)
  if kind == 'Tensor' then
    print(('Tensor %s[%s], %d bytes'):format(v:dtype(), table.concat(v:shape(), ', '), v:bytes()))
  elseif type(v) == 'table' and v.block then
    print(('%s, %d parameters'):format(kind, v:count()))
  else
    print(kind)
  end
end

function commands.who(self)
  local names = {}
  for k, v in pairs(self.env) do
    if type(k) == 'string' and not k:find '^_%d?$' and not (k == 'dm' and v == require 'datamux') then
      names[#names + 1] = k
    end
  end
  table.sort(names)
  if #names == 0 then print 'no variables yet' end
  for _, k in ipairs(names) do
    local v = self.env[k]
    local ok, text = pcall(printing.brief, v)
    print(('%-16s %-10s %s'):format(k, printing.type(v), ok and text or '(stale)'))
  end
end

-- Puts what the new module has into the old one's table, so that whoever holds that table uses the new functions.
local function renew(old, new)
  if type(old) ~= 'table' or type(new) ~= 'table' then return new end
  for k in pairs(old) do
    if type(rawget(old, k)) == 'function' and rawget(new, k) == nil then old[k] = nil end
  end
  for k, v in pairs(new) do
    if v == new then v = old end                 -- a class is its own __index
    rawset(old, k, v)
  end
  return old
end

function commands.reload(self, rest)
  local name = package.loaded[rest] and rest or package.loaded['datamux.' .. rest] and 'datamux.' .. rest or rest
  if rest == '' then
    print 'error: no module, expected the name of one: :reload datamux.nn.linear'
    return
  end
  local old = package.loaded[name]
  package.loaded[name] = nil
  local r = guarded(function() return require(name) end)
  if not r[1] then
    package.loaded[name] = old
    local text = r[2]
    if type(text) == 'string' and text:find "^module '" then
      local loaded = {}
      for k in pairs(package.loaded) do loaded[#loaded + 1] = k end
      text = ("no module '%s'.%s"):format(rest, errors.suggest(rest, loaded))
    end
    print(self:message(text, rest) .. (old ~= nil and '\n  the old one stays' or ''))
    return
  end
  package.loaded[name] = renew(old, r[2])
  docs.forget()
  print(('%s %s'):format(old ~= nil and 'reloaded' or 'loaded', name))
end

function commands.load(self, rest)
  local chunk, why = loadfile(rest)
  if not chunk then
    print('error: ' .. why)
    return
  end
  self:execute(setfenv(chunk, self.env), sys.read(rest) or '', true)
end

function commands.save(self, rest)
  if rest == '' then
    print 'error: no file, expected a path: :save session.lua'
    return
  end
  local ok, e = pcall(sys.write, rest, table.concat(self.session, '\n') .. (#self.session > 0 and '\n' or ''))
  print(ok and ('%d statements written to %s'):format(#self.session, rest) or self:message(e, rest))
end

function commands.edit(self)
  local file = os.tmpname()
  sys.write(file, (self.session[#self.session] or '') .. '\n')
  io.stdout:flush()
  os.execute(("%s '%s'"):format(os.getenv 'VISUAL' or os.getenv 'EDITOR' or 'vi', file))
  local text = (sys.read(file) or ''):gsub('%s+$', '')
  os.remove(file)
  if text ~= '' then
    print(text)
    self:statement(text)
  end
end

function commands.history(self, rest)
  local list = self.history.list
  local shown = {}
  for i = #list, 1, -1 do
    if rest == '' or list[i]:find(rest, 1, true) then table.insert(shown, 1, list[i]) end
    if #shown == 30 then break end
  end
  for _, statement in ipairs(shown) do print(statement) end
end

function commands.locals(self, rest)
  if rest == 'on' or rest == 'off' then self.keep = rest == 'on' end
  print(self.keep and 'local variables of a whole statement last'
    or "local variables end with their statement: Lua's rule")
end

function commands.names() print(table.concat(require('datamux').names(), ' ')) end

local function command_names()
  local list = { 'quit' }
  for name in pairs(commands) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- -- the loop --------------------------------------------------------------------------------------------------

function Prompt:remember(text)
  if self.history.add(text) then self.editor.remember(text) end
end

-- Runs a line that is a command, ?help or !shell; returns 'quit', true when it was one, or false.
function Prompt:command(line)
  local shell = line:match '^%s*!(.*)$'
  if shell then
    io.stdout:flush()
    os.execute(shell)
    return true
  end
  local word = line:match '^%s*%?%?%s*(.-)%s*$'
  if word then
    if word == '' then print 'error: no word, expected one: ??demux' else search(word, self.terminal) end
    return true
  end
  local name = line:match '^%s*%?%s*(.-)%s*$'
  if name then
    commands.help(self, name)
    return true
  end
  local command, rest = line:match '^%s*:(%a+)%s*(.-)%s*$'
  if not command then return false end
  if command == 'quit' then return 'quit' end
  if commands[command] then
    commands[command](self, rest)
  else
    print(("error: no command ':%s'.%s"):format(command, errors.suggest(command, command_names())))
  end
  return true
end

-- Runs text if it is a whole statement; returns false when more is needed.
function Prompt:statement(text)
  local chunk, why, more = self:compile((text:gsub(';%s*$', '')))
  if not chunk and more then return false end
  self:remember(text)
  if chunk then
    if self:execute(chunk, text, text:find ';%s*$' ~= nil) then self.session[#self.session + 1] = text end
  else
    print(self:message(why, text))
  end
  return true
end

function Prompt:loop()
  local text
  while true do
    self.earlier = text and text .. '\n' or ''
    host.waiting(true)
    local line, interrupted = self.editor.read(text and '..> ' or 'dm> ')
    host.waiting(false)
    if not line then break end
    if interrupted then
      print()
      text = nil
    elseif text or line:find '%S' then
      local done = not text and self:command(line)
      if done == 'quit' then return end
      if done then
        self:remember(line)
      else
        text = text and text .. '\n' .. line or line
        if self:statement(text) then text = nil end
      end
    end
  end
  if text then
    local _, why = self:compile(text)
    print(self:message(why, text))
  end
  if host.isatty(0) or not self.terminal then print() end
end

-- The names of the prompt, then Lua's, then dm's.
local function environment(recipe)
  local dm = require 'datamux'
  local base = { __index = function(_, k)
    local v = _G[k]
    if v ~= nil then return v end
    return dm[k]
  end, globals = _G }
  base.complete = {}
  for _, name in ipairs(dm.names()) do base.complete[name] = true end
  return setmetatable({ dm = dm, recipe = recipe }, base)
end

--- Runs the prompt until its input ends or :quit. o: { recipe = a recipe to have as `recipe` }. Returns exit code 0.
function M.run(o)
  local self = setmetatable({ env = environment(o.recipe), history = editors.history(), session = {}, earlier = '',
                              keep = true, terminal = host.isatty(1) }, Prompt)
  local names = command_names()
  self.editor = editors.new(function(line, word) return complete.offer(self.env, self.earlier, line, word, names) end,
    self.history)
  interpret_what_is_loaded()
  interpret_all(_G, 0)
  interpret_all(o.recipe and o.recipe.table or {}, 3)
  if self.terminal then
    print(('datamux %s (%s, %s)      ?NAME help · :help commands · Ctrl-D quits'):format(
      ffi.string(C.dm_version()), jit.version, ffi.string(C.dm_gemm_library())))
    if o.recipe then print(tostring(o.recipe)) end
  end
  self:loop()
  self.editor.close()
  return 0
end

return M
