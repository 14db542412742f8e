-- recipe.lua -- from a recipe table and overrides to a checked configuration; every value keeps its origin.
-- Precedence: schema default < recipe < its profile < command line.
local errors = require 'datamux.errors'
local schema = require 'datamux.schema'

local M = {}

local Recipe = {}
Recipe.__index = Recipe

local function fail(message, where) errors.raise(2, message .. (where and '\n  where: ' .. where or '')) end

local function all_paths()
  local list = {}
  schema.each(function(path) list[#list + 1] = path end)
  return list
end

-- -- checking one value --------------------------------------------------------------------------------

local function shown(v) return type(v) == 'string' and ("'%s'"):format(v) or tostring(v) end

local function expectation(e)
  if e.choice then return 'one of ' .. table.concat(e.choice, ', ') end
  local text = ({ integer = 'a whole number', number = 'a number', string = 'text', boolean = 'true or false',
                  list = 'text or a list', column = 'the name or number of a column' })[e.kind]
  if e.min then text = text .. (' >= %g'):format(e.min) end
  if e.max then text = text .. (e.min and ' and' or '') .. (' <= %g'):format(e.max) end
  if e.also then text = text .. (" or '%s'"):format(e.also) end
  return text
end

local function fits(e, v)
  if e.also and v == e.also then return true end
  if e.kind == 'integer' or e.kind == 'number' then
    if type(v) ~= 'number' or v ~= v or math.abs(v) == math.huge then return false end
    if e.kind == 'integer' and v ~= math.floor(v) then return false end
    return (not e.min or v >= e.min) and (not e.max or v <= e.max)
  elseif e.kind == 'list' then
    return type(v) == 'string' or type(v) == 'table'
  elseif e.kind == 'column' then
    return type(v) == 'string' or type(v) == 'number' and v >= 1 and v == math.floor(v)
  elseif type(v) ~= e.kind then
    return false
  end
  if not e.choice then return true end
  for _, c in ipairs(e.choice) do
    if v == c then return true end
  end
  return false
end

local function check_value(path, e, v, where)
  if not fits(e, v) then fail(("'%s' is %s, expected %s"):format(path, shown(v), expectation(e)), where) end
  return v
end

-- -- recipe tables ----------------------------------------------------------------------------------------

-- Line of the recipe file where `key` is set, for messages: "file:line" or the file.
local function place(file, key)
  if not file then return 'the recipe' end
  local n = 0
  local f = io.open(file)
  if not f then return file end
  for line in f:lines() do
    n = n + 1
    if line:find('%f[%w_]' .. key .. '%s*=') then
      f:close()
      return file .. ':' .. n
    end
  end
  f:close()
  return file
end

-- Adds table t (keys as in `entry`) to values; refuses unknown keys and wrong types.
local function add(values, t, entry, path, file, origin)
  if type(t) ~= 'table' then
    fail(("'%s' is %s, expected a table"):format(path or 'recipe', shown(t)), file)
  end
  for k, v in pairs(t) do
    local p = path and path .. '.' .. tostring(k) or tostring(k)
    local e = schema.find(entry, k)
    if not e then
      local names = schema.names(entry)
      local near = errors.nearest(tostring(k), names)
      if not near then
        near = errors.nearest(p, all_paths())
      elseif path then
        near = path .. '.' .. near
      end
      fail(("unknown key '%s'.%s"):format(p, near and (" Did you mean '%s'?"):format(near) or ''),
        place(file, tostring(k)))
    end
    if e.table and type(v) == 'table' then values[p] = { value = e.table, from = origin } end
    if e.entries and (type(v) == 'table' or not e.kind) then
      add(values, v, e, p, file, origin)
    else
      values[p] = { value = check_value(p, e, v, place(file, tostring(k))), from = origin }
    end
  end
end

-- -- overrides: key=value -----------------------------------------------------------------------------------

local suffix = { k = 1e3, M = 1e6, G = 1e9 }

local function parse(path, e, text, where)
  if text == 'none' and not fits(e, text) then          -- 'none' may be one of the choices
    if e.optional then return nil end
    fail(("'%s' cannot be none, expected %s"):format(path, expectation(e)), where)
  end
  if e.also and text == e.also then return text end
  if e.kind == 'integer' or e.kind == 'number' then
    local number, unit = text:match '^([-+%d.eE]+)([kMG]?)$'
    local v = tonumber(number)
    if not v then
      local hint = text:find ',' and ' (one value; lists are not taken here)' or ''
      fail(("'%s' is '%s', expected %s%s"):format(path, text, expectation(e), hint), where)
    end
    return check_value(path, e, v * (suffix[unit] or 1), where)
  elseif e.kind == 'boolean' then
    local v = ({ ['true'] = true, on = true, yes = true, ['false'] = false, off = false, no = false })[text]
    return check_value(path, e, v == nil and text or v, where)
  elseif e.kind == 'list' then
    if not text:find ',' then return text end
    local list = {}
    for item in text:gmatch '[^,]+' do list[#list + 1] = item end
    return list
  end
  return check_value(path, e, text, where)
end

-- The full path of a key: itself, or the only path that ends in it.
local function complete(key, where)
  local leaves, found = {}, {}
  schema.each(function(path, e)
    leaves[path] = e
    if path:sub(-#key - 1) == '.' .. key then found[#found + 1] = path end
  end)
  if leaves[key] then return key, leaves[key] end
  if #found == 1 then return found[1], leaves[found[1]] end
  if #found > 1 then fail(("key '%s' could be %s"):format(key, table.concat(found, ', ')), where) end
  fail(("unknown key '%s'.%s"):format(key, errors.suggest(key, all_paths())), where)
end

-- -- resolving -------------------------------------------------------------------------------------------------

local function nested(values)
  local out = {}
  schema.each(function(path, e)
    local at, target = out, e.at or path
    for part in target:gmatch '([^.]+)%.' do
      at[part] = at[part] or {}
      at = at[part]
    end
    at[target:match '[^.]+$'] = values[path] and values[path].value
  end)
  return out
end

local function cross_checks(c)
  local m = c.model
  if m.width % m.heads ~= 0 then
    fail(('model.heads is %d, expected a divisor of model.width = %d'):format(m.heads, m.width))
  end
  if c.demux.kind ~= 'unbind' and c.demux.key == 'own' then
    fail(("demux.key is 'own' with demux.kind '%s', expected it with 'unbind' only"):format(c.demux.kind))
  end
  if c.demux.rank > m.width then
    fail(('demux.rank is %d, expected at most model.width = %d'):format(c.demux.rank, m.width))
  end
  local prefix = c.demux.kind == 'index' and c.mux.n + 1 or c.demux.read == 'cls' and 1 or 0
  local need = c.data.length + prefix + (m.embed_twice and 2 or 0)
  if need > m.positions then
    fail(('data.length is %d: with the prefix %d positions, expected at most model.positions = %d'):format(
      c.data.length, need, m.positions))
  end
  if m.kind == 'plain' and c.mux.n ~= 1 then
    fail(("mux.n is %d with model.kind 'plain', expected 1"):format(c.mux.n))
  end
end

--- The configuration of a recipe table. o: { overrides = { 'key=value', .. }, file (for messages), cuda (whether a
--- GPU is used, for profile auto) }. Returns the nested configuration, and a list of { path, value, from }.
--- Raises a user error (code 2) for unknown keys, wrong types, values out of range or that do not fit together.
function M.resolve(t, o)
  local values, profiles = {}, t.profiles or {}
  local own = {}
  for k, v in pairs(t) do
    if k ~= 'profiles' then own[k] = v end
  end
  schema.each(function(path, e)
    if e.default ~= nil then values[path] = { value = e.default, from = 'default' } end
  end)
  add(values, own, schema.root, nil, o.file, 'recipe')
  local given, order = {}, {}
  for i, text in ipairs(o.overrides or {}) do
    local where = ('command line, argument %d (%s)'):format(i, text)
    local key, value = text:match '^([%w_.]+)=(.*)$'
    if not key then fail(("'%s' is no key=value"):format(text), where) end
    local path, e = complete(key, where)
    given[path] = { value = parse(path, e, value, where), from = 'command line' }
    order[#order + 1] = path
  end
  local profile = (given.profile or values.profile).value
  if profile == 'auto' and next(profiles) then
    profile = o.cuda and profiles.paper and 'paper' or profiles.small and 'small' or next(profiles)
  end
  for name, part in pairs(profiles) do
    if name ~= 'small' and name ~= 'paper' then
      fail(("unknown profile '%s', expected small or paper"):format(tostring(name)), o.file)
    end
    add(name == profile and values or {}, part, schema.root, nil, o.file, 'profile ' .. name)
  end
  for _, path in ipairs(order) do values[path] = given[path] end
  values.profile = { value = profile, from = given.profile and 'command line' or 'derived' }
  if not (values.task and values.task.value) then
    fail("'task' is missing, expected " .. expectation(schema.find(schema.root, 'task')), o.file)
  end
  if not values['model.inner'] then
    values['model.inner'] = { value = 4 * values['model.width'].value, from = 'derived from model.width' }
  end
  if not values.name then
    values.name = { value = (o.file or 'recipe'):match '([^/]+)$':gsub('%.lua$', ''), from = 'file name' }
  end
  local config = nested(values)
  config.folder = (o.file or ''):match '^.*/'
  cross_checks(config)
  local list = {}
  schema.each(function(path)
    local v = values[path]
    if v and v.value ~= nil then list[#list + 1] = { path = path, value = v.value, from = v.from } end
  end)
  return config, list
end

--- Makes a recipe of its table; keys are checked at once. file: for messages (default: the chunk that calls).
function M.new(t, file)
  local self = setmetatable({ table = t, file = file }, Recipe)
  for level = 2, file and 1 or 12 do
    local info = debug.getinfo(level, 'S')
    if not info then break end
    if info.what == 'main' and info.source:sub(1, 1) == '@' and not info.source:find('datamux/', 1, true) then
      self.file = info.source:sub(2)
      break
    end
  end
  M.resolve(t, { file = self.file })
  return self
end

--- True for what M.new returns.
function M.is(v) return getmetatable(v) == Recipe end

--- The configuration under overrides { 'key=value', .. }; see M.resolve.
function Recipe:resolve(overrides, cuda)
  return M.resolve(self.table, { overrides = overrides, file = self.file, cuda = cuda })
end

--- A session (datamux.train) that writes no files: to step and poke at from the prompt.
function Recipe:session(overrides)
  local config = self:resolve(overrides or {})
  return require('datamux.train').new(config, { log = require('datamux.log').new { mode = 'none' } })
end

function Recipe:__tostring()
  local c = self:resolve({})
  return ('recipe %s: task %s, N = %d, %d layers of %d'):format(c.name, c.task, c.mux.n, c.model.layers, c.model.width)
end

return M
