-- recipe.lua -- from a recipe table and overrides to a checked configuration; every value keeps its origin.
-- Precedence: schema default < recipe < its profile < --config files < DATAMUX_SET < command line.
local errors = require 'datamux.errors'
local locate = require 'datamux.locate'
local override = require 'datamux.override'
local plural = require 'datamux.plural'
local schema = require 'datamux.schema'

local M = {}

local Recipe = {}
Recipe.__index = Recipe

-- -- recipe tables ----------------------------------------------------------------------------------------

-- Where a table of keys was written: its file, the lines of its keys, what its values' origin is called.
local function source(file, name)
  local lines
  return {
    place = function(path)
      lines = lines or locate.file(file)
      local line = lines[path]
      return file and line and ('%s:%d'):format(file, line) or file or 'the recipe'
    end,
    origin = function(path)
      lines = lines or locate.file(file)
      return lines[path] and ('%s line %d'):format(name, lines[path]) or name
    end }
end

-- Adds table t (keys as in `entry`) to values; refuses unknown keys and wrong types. within: path of t in its file.
local function add(values, t, entry, path, from, within)
  within = within or ''
  if type(t) ~= 'table' then
    errors.raise('E202', { what = ("'%s' is %s, expected a table"):format(path or 'recipe', tostring(t)),
      where = from.place(within .. (path or '')), fix = ('%s = { ... }'):format(path or 'return dm.recipe') })
  end
  for k, v in pairs(t) do
    local p = path and path .. '.' .. tostring(k) or tostring(k)
    local e = schema.find(entry, k)
    if not e then override.unknown(p, from.place(within .. p), { entry = entry, path = path }) end
    if e.table and type(v) == 'table' then values[p] = { value = e.table, from = from.origin(within .. p) } end
    if e.entries and (type(v) == 'table' or not e.kind) then
      add(values, v, e, p, from, within)
    else
      values[p] = { value = override.check(p, e, v, from.place(within .. p)), from = from.origin(within .. p) }
    end
  end
end

-- -- overrides ----------------------------------------------------------------------------------------------

local function as_list(v) return type(v) == 'table' and v or v ~= nil and { v } or {} end

-- Applies words key=value to values, in order.
local function apply(values, words, from, where)
  for _, word in ipairs(words) do
    local o = override.read(word, ('%s (%s)'):format(where, word))
    if o.reset then
      schema.each(function(path, e)
        if path:sub(1, #o.reset + 1) == o.reset .. '.' then
          values[path] = e.default ~= nil and { value = e.default, from = from } or nil
        end
      end)
    elseif o.append then
      local all = {}
      for _, v in ipairs(as_list(values[o.path] and values[o.path].value)) do all[#all + 1] = v end
      for _, v in ipairs(o.append) do all[#all + 1] = v end
      values[o.path] = { value = all, from = from }
    else
      values[o.path] = { value = o.value, from = from }
    end
  end
end

-- The table that a --config file returns; it runs as a recipe does. Raises E208, E222.
local function config_table(path)
  local sandbox = require 'datamux.sandbox'
  local chunk, why = loadfile(path)
  local ok, t = true, nil
  if chunk and not sandbox.trusted then setfenv(chunk, sandbox.environment(path)) end
  if chunk then ok, t = pcall(chunk) end
  if not ok and errors.is(t) then error(t, 0) end
  if not chunk or not ok or type(t) ~= 'table' then
    errors.raise('E208', { what = ('%s: %s'):format(path, not chunk and why or not ok and tostring(t)
      or ('it returned %s, expected a table of keys'):format(type(t))), where = '--config ' .. path,
      fix = 'return { train = { lr = 1e-4 } }' })
  end
  return M.is(t) and t.table or t
end

local function words_of(text)
  local out = {}
  for w in (text or ''):gmatch '%S+' do out[#out + 1] = w end
  return out
end

-- -- reading early ------------------------------------------------------------------------------------------

--- While a recipe file is loaded: the words key=value of its command line, and the paths that arg was asked for; of one
--- that is loaded for a model that was trained by it, the configuration it had then.
M.early = { words = {}, asked = {}, config = nil }

local function value_at(config, path)
  for part in path:gmatch '[^.]+' do config = type(config) == 'table' and config[part] or nil end
  return config
end

--- What key=value says of a key while the recipe is read: the value of the command line, else of DATAMUX_SET, else
--- `default`. name: as on the command line. Raises E201, E202, E206 as the words themselves do.
function M.arg(name, default)
  local path, entry = override.complete(name, 'dm.arg')
  local value = default
  M.early.asked[path] = true
  if M.early.config then
    value = value_at(M.early.config, entry.at or path)
    if value == nil then value = default end
    return value
  end
  local function look(words, where)
    for _, word in ipairs(words) do
      local o = override.read(word, ('%s (%s)'):format(where, word))
      if o.path == path and o.value ~= nil then value = o.value end
    end
  end
  look(words_of(os.getenv 'DATAMUX_SET'), 'DATAMUX_SET')
  look(M.early.words, 'command line')
  return value
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

local function cross_checks(c, values)
  local fit = require 'datamux.models.fit'
  local why, fix = fit.refuse(c)
  if why then errors.raise('E203', { what = why, fix = fix }) end
  local kind = fit.images(c) and 'images' or 'texts'
  schema.each(function(path, e)
    local v, what = values[path], schema.only(path)
    if not (v and what) or what == kind or v.from == 'default' or v.value == e.default then return end
    errors.raise('E203', { what = ('%s is %s (%s) and says nothing to a network of %s, only to one of %s'):format(path,
      tostring(v.value), v.from, kind, what), fix = 'leave it out' })
  end)
end

-- Which profile holds: as said, or small/paper by what is there and whether a GPU is used.
local function choose_profile(said, profiles, cuda, file)
  for name in pairs(profiles) do
    if name ~= 'small' and name ~= 'paper' then
      errors.raise('E214', { what = ("unknown profile '%s', expected small or paper"):format(tostring(name)),
        where = file, near = errors.nearest(tostring(name), { 'small', 'paper' }),
        fix = 'profiles = { small = { ... } }' })
    end
  end
  if said ~= 'auto' or not next(profiles) then return said end
  return cuda and profiles.paper and 'paper' or profiles.small and 'small' or next(profiles)
end

--- The configuration of a recipe table. o: { overrides = { 'key=value', .. }, set (words as one text, DATAMUX_SET),
--- configs (files that return tables), file (of the recipe, for messages), cuda (whether a GPU is used, for profile
--- auto), alone (what is said above the recipe is not known yet: only names and types are checked) }. Returns the
--- nested configuration, and a list of { path, value, from, default }.
--- Raises a user error (class 2) for unknown keys, wrong types, values out of range or that do not fit together.
function M.resolve(t, o)
  local values, profiles, own, defaults = {}, t.profiles or {}, {}, {}
  for k, v in pairs(t) do
    if k ~= 'profiles' then own[k] = v end
  end
  schema.each(function(path, e)
    defaults[path] = e.default
    if e.default ~= nil then values[path] = { value = e.default, from = 'default' } end
  end)
  local from = source(o.file, 'recipe')
  add(values, own, schema.root, nil, from)
  -- What is said above the profile: first on its own, to know which profile is meant.
  local said = { profile = values.profile }
  local function above(v)
    for _, path in ipairs(o.configs or {}) do add(v, config_table(path), schema.root, nil, source(path, path)) end
    apply(v, words_of(o.set), 'DATAMUX_SET', 'DATAMUX_SET')
    apply(v, o.overrides or {}, 'command line', 'command line')
  end
  above(said)
  local profile = choose_profile(said.profile and said.profile.value or 'auto', profiles, o.cuda, o.file)
  for name, part in pairs(profiles) do
    add(name == profile and values or {}, part, schema.root, nil, source(o.file, 'profile ' .. name),
      ('profiles.%s.'):format(name))
  end
  above(values)
  values.profile = { value = profile, from = said.profile and said.profile.value == profile and said.profile.from
                                             or 'derived' }
  if not (o.alone or values.task and values.task.value) then
    errors.raise('E210', { what = "'task' is missing", where = o.file,
                           fix = "task = 'sst2' in the recipe, or task=sst2" })
  end
  if not values['model.inner'] then
    values['model.inner'] = { value = 4 * values['model.width'].value, from = 'derived from model.width' }
  end
  if o.cuda and values['data.multiple'].from == 'default' then       -- a step is recorded for each padded length
    values['data.multiple'] = { value = 16, from = 'derived from device' }
  end
  if not values.name then
    values.name = { value = (o.file or 'recipe'):match '([^/]+)$':gsub('%.lua$', ''), from = 'file name' }
  end
  local config = nested(values)
  config.folder = (o.file or ''):match '^.*/'
  if not o.alone then cross_checks(config, values) end
  local list = {}
  schema.each(function(path)
    local v = values[path]
    if v and v.value ~= nil then
      list[#list + 1] = { path = path, value = v.value, from = v.from, default = defaults[path] }
    end
  end)
  return config, list
end

--- The network of a configuration in a few words: "N = 20, 4 layers of 256", "N = 8, cnn, nonlinear x 8".
function M.words(c)
  if not require('datamux.models.fit').images(c) then
    return ('N = %d, %s of %d'):format(c.mux.n, plural.of(c.model.layers, 'layer'), c.model.width)
  end
  return ('N = %d, %s, %s'):format(c.mux.n, c.model.kind, require('datamux.nn.imagemux').words(c.mux.kind,
    c.mux.channels))
end

--- Makes a recipe of its table; names and types of keys are checked at once, what fits together when it is resolved.
--- file: for messages (default: the chunk that calls).
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
  M.resolve(t, { file = self.file, alone = true })
  return self
end

--- True for what M.new returns.
function M.is(v) return getmetatable(v) == Recipe end

--- The configuration under overrides { 'key=value', .. }; see M.resolve. more: { set, configs }, optional.
function Recipe:resolve(overrides, cuda, more)
  more = more or {}
  return M.resolve(self.table, { overrides = overrides, file = self.file, cuda = cuda, set = more.set,
                                 configs = more.configs })
end

--- A session (datamux.train) that writes no files: to step and poke at from the prompt.
function Recipe:session(overrides)
  local config = self:resolve(overrides or {})
  return require('datamux.train').new(config, { log = require('datamux.log').new { mode = 'none' } })
end

function Recipe:__tostring()
  local c = self:resolve({})
  return ('recipe %s: task %s, %s'):format(c.name, c.task, M.words(c))
end

return M
