-- repl/complete.lua -- what the Tab key offers: variables, fields and methods (through metatables), keys of a recipe,
-- files in strings, commands and modules.
local errors = require 'datamux.errors'
local host = require 'datamux.host'
local source = require 'datamux.repl.source'
local schema = require 'datamux.schema'
local sys = require 'datamux.sys'

local M = {}

--- The value that a path such as dm.nn, x[1] or model.head names in env; nil where there is none. Calls nothing but
--- metamethods of indexing.
function M.value(env, path)
  local head, rest = path:match '^([%a_][%w_]*)(.*)$'
  if not head then return nil end
  local ok, v = pcall(function()
    local at = env[head]
    while rest ~= '' do
      local name, after = rest:match '^[.:]([%a_][%w_]*)(.*)$'
      local index
      if not name then index, after = rest:match '^%[(%d+)%](.*)$' end
      if not name and not index then return nil end
      at, rest = at[name or tonumber(index)], after
    end
    return at
  end)
  if ok then return v end
end

--- The names under value v, sorted: its keys and those that its metatables lead to; of functions only with `calls`.
function M.names(v, calls)
  local found, seen, list = {}, {}, {}
  local function add(t)
    if type(t) ~= 'table' or seen[t] then return end
    seen[t] = true
    for k, x in pairs(t) do
      local name = type(k) == 'string' and k:find '^[%a_][%w_]*$' and not k:find '^__'
      if name and (not calls or type(x) == 'function') then found[k] = true end
    end
    if type(rawget(t, 'names')) == 'function' and not calls then
      for _, k in ipairs(t.names()) do found[k] = true end
    end
    local mt = debug.getmetatable(t)
    if type(mt) == 'table' then
      add(rawget(mt, '__index'))
      if type(rawget(mt, 'complete')) == 'table' then
        for k in pairs(mt.complete) do found[k] = true end
      end
      add(rawget(mt, 'globals'))
    end
  end
  add(type(v) == 'string' and string or v)
  for k in pairs(found) do list[#list + 1] = k end
  table.sort(list)
  return list
end

local keywords = { 'and', 'break', 'do', 'else', 'elseif', 'end', 'false', 'for', 'function', 'goto', 'if', 'in',
                   'local', 'nil', 'not', 'or', 'repeat', 'return', 'then', 'true', 'until', 'while' }

local function starting(list, with, before)
  local out = {}
  for _, name in ipairs(list) do
    if name:sub(1, #with) == with then out[#out + 1] = (before or '') .. name end
  end
  return out
end

--- Names that complete `text` in environment env: globals, fields and methods, also through metatables.
function M.completions(env, text)
  local before, path = text:match '^(.-)([%a_][%w_.:%[%]]*)$'
  if not path then return {} end
  local inner = path:match '.*%[([%a_][%w_.:]*)$'        -- inside the brackets of an index
  if inner then before, path = before .. path:sub(1, #path - #inner), inner end
  local head, sep, tail = path:match '^(.*)([.:])([%w_]*)$'
  if not head then
    local list = M.names(env)
    if before == '' then
      for _, k in ipairs(keywords) do list[#list + 1] = k end
      table.sort(list)
    end
    return starting(list, path, before)
  end
  local v = M.value(env, head)
  if v == nil then return {} end
  return starting(M.names(v, sep == ':'), tail, before .. head .. sep)
end

-- Files whose path begins with text; folders end in a slash.
local function files(text)
  local folder, tail = text:match '^(.*/)([^/]*)$'
  if not folder then folder, tail = '', text end
  local place, out = folder:gsub('^~/', (os.getenv 'HOME' or '~') .. '/'), {}
  for _, name in ipairs(sys.list(place == '' and '.' or place)) do
    if name:sub(1, #tail) == tail and (tail ~= '' or name:sub(1, 1) ~= '.') then
      out[#out + 1] = folder .. name .. (sys.kind(place .. name) == 'directory' and '/' or '')
    end
  end
  return out
end

-- The group or leaf of the schema that keys lead to, nil where they lead nowhere.
local function entry_of(keys, from)
  local at = schema.root
  for i = from, #keys do
    if keys[i] == 'profiles' then return nil end
    at = at.entries and schema.find(at, keys[i])
    if not at then return nil end
  end
  return at
end

-- Keys of a recipe that are outside of any recipe: the words of session{ } and resolve{ }.
local function override(text)
  local list = {}
  schema.each(function(path) list[#list + 1] = path .. '=' end)
  return starting(list, text)
end

local function in_string(place)
  local text = place.string
  if place.call:find '[.:]session$' or place.call:find '[.:]resolve$' then
    local list = override(text)
    if #list > 0 then return list end
  end
  if place.call:find 'recipe$' and place.key then
    local keys = { unpack(place.keys, 2) }
    keys[#keys + 1] = place.key
    local e = entry_of(keys, 1)
    if e and e.choice then return starting(e.choice, text) end
  end
  return files(text)
end

-- Modules that :reload takes.
local function modules(text)
  local list = {}
  for name in pairs(package.loaded) do list[#list + 1] = name end
  for _, file in ipairs(host.sources()) do
    local name = file:match '^(.*)%.lua$'
    name = name and name:gsub('/init$', ''):gsub('/', '.')
    if name and not package.loaded[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return starting(list, text)
end

--- What completes the end of `line`, after the lines `earlier` of the same statement: words that replace its last word
--- `text`. commands: the names of the prompt's commands.
function M.offer(env, earlier, line, text, commands)
  if earlier == '' then
    local name = line:match '^%s*:(%a*)$'
    if name then return starting(commands, name, ':') end
    local command = line:match '^%s*:(%a+)%s'
    if command == 'reload' then return modules(text) end
    if command == 'load' or command == 'save' or line:find '^%s*!' then return files(text) end
  end
  local place = source.place(earlier .. line)
  if place.string then
    if #place.string < #text then return {} end
    local cut = #place.string - #text                    -- readline replaces only the last word of the string
    local out = {}
    for _, word in ipairs(in_string(place)) do out[#out + 1] = word:sub(cut + 1) end
    return out
  end
  if #place.keys > 0 and place.call:find 'recipe$' and not place.key and text:find '^[%a_]*$' then
    local e = entry_of(place.keys, 2)
    if e and e.entries then
      local list = schema.names(e)
      if #place.keys == 1 then list[#list + 1] = 'profiles' end
      return starting(list, text, '')
    end
  end
  return M.completions(env, text)
end

-- The nearest other name; a single letter is near to everything.
local function suggestion(name, list)
  local near = #name > 1 and errors.nearest(name, list)
  return near and near ~= name and (" Did you mean '%s'?"):format(near) or ''
end

--- A sentence about the name that an error or a nil is about, with the nearest one that exists; nil where nothing is
--- known. code: what was typed; name: the name; kind: 'method', 'field', 'global' ...
function M.about(env, code, name, kind)
  if kind == 'global' or kind == 'variable' then
    local list = M.names(env)
    return ("'%s' is not defined.%s"):format(name, suggestion(name, list))
  end
  local path = code:match('([%a_][%w_.:%[%]]*)[.:]' .. name .. '%f[^%w_]')
  local v = path and M.value(env, path)
  local list = v ~= nil and M.names(v, kind == 'method') or M.names(require 'datamux.tensor', true)
  local mt = debug.getmetatable(v)
  local class = type(v) == 'table' and (rawget(v, 'class') or (type(mt) == 'table' and mt.class)) or nil
  if type(mt) == 'table' and mt == package.loaded['datamux.tensor'] then class = 'Tensor' end
  return ("'%s' is not a %s%s.%s"):format(name, kind, path and (' of %s'):format(class or path) or '',
    suggestion(name, list))
end

return M
