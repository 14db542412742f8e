-- preferences.lua -- a person's own defaults: $XDG_CONFIG_HOME/datamux/config.lua, else ~/.config/datamux/config.lua, a
-- Lua file that returns a table. It has no keys of recipes: a run must not depend on it.
--
--   return { threads = 8, progress = 'lines', gpu_price = 3 }
--
-- A preference stands for an environment variable that is not set; flags are above both.
local errors = require 'datamux.errors'

local M = {}

local function one_of(...)
  local list = { ... }
  return function(v)
    for _, c in ipairs(list) do
      if v == c then return true end
    end
  end, 'one of ' .. table.concat(list, ', ')
end

local function is_text(v) return type(v) == 'string' and v ~= '' end
local function is_device(v) return v == 'auto' or v == 'cpu' or type(v) == 'string' and v:find '^cuda:?%d*$' ~= nil end
local function is_count(v) return type(v) == 'number' and v >= 1 and v == math.floor(v) end
local function is_price(v) return type(v) == 'number' and v > 0 and v < math.huge end

local function is_map(v)
  if type(v) ~= 'table' then return false end
  for from, to in pairs(v) do
    if not (type(from) == 'string' and from:find '^https?://' and type(to) == 'string' and to:find '^%a+://') then
      return false
    end
  end
  return true
end

local function entry(check, expected, example, variable)
  return { check = check, expected = expected, example = example, variable = variable }
end

local function choice(example, variable, ...)
  local check, expected = one_of(...)
  return entry(check, expected, example, variable)
end

local known = {
  device = entry(is_device, 'auto, cpu, cuda or cuda:N', "'cpu'", 'DATAMUX_DEVICE'),
  threads = entry(is_count, 'a whole number >= 1', '4', 'DATAMUX_THREADS'),
  out = entry(is_text, 'a folder', "'runs'", 'DATAMUX_RUNS'),
  progress = choice("'lines'", 'DATAMUX_PROGRESS', 'auto', 'bar', 'lines', 'none'),
  color = choice("'never'", nil, 'auto', 'always', 'never'),
  gpu_price = entry(is_price, 'dollars an hour', '3', 'DATAMUX_GPU_PRICE'),
  mirrors = entry(is_map, 'addresses by the beginning of those they replace',
    "{ ['https://huggingface.co'] = 'https://hub.example' }"),
}

--- Where the file is looked for.
function M.path()
  local xdg = os.getenv 'XDG_CONFIG_HOME'
  return (xdg and xdg ~= '' and xdg or (os.getenv 'HOME' or '.') .. '/.config') .. '/datamux/config.lua'
end

-- What is wrong with a key that is not known.
local function unknown(path, key)
  local names, schema = {}, require 'datamux.schema'
  for name in pairs(known) do names[#names + 1] = name end
  table.sort(names)
  local group, recipe_key = key:match '^[^.]+', false
  for _, e in ipairs(schema.root.entries) do recipe_key = recipe_key or e.name == group end
  local what = recipe_key and "'%s' is a key of recipes, and a run must not depend on this file: expected one of %s"
    or "unknown key '%s', expected one of %s"
  errors.raise('E221', { what = what:format(key, table.concat(names, ', ')), where = path,
    near = not recipe_key and errors.nearest(key, names) or nil,
    fix = recipe_key and 'put it into the recipe, or a file for --config' or 'leave it out' })
end

--- The preferences: a table, empty where there is no file. Raises E221 for a file that is no Lua (with the line), and
--- for keys and values that are none.
function M.read()
  local path = M.path()
  local f = io.open(path)
  if not f then return {} end
  local text = f:read '*a'
  f:close()
  local chunk, why = loadstring(text or '', '@' .. path)
  local ok, t
  if chunk then ok, t = pcall(setfenv(chunk, setmetatable({}, { __index = _G }))) end
  if not ok or type(t) ~= 'table' then
    errors.raise('E221', { what = why or not ok and tostring(t)
      or ('%s returned %s, expected a table'):format(path, type(t)), fix = "return { threads = 4 }" })
  end
  for key, v in pairs(t) do
    local e = known[key]
    if not e then unknown(path, tostring(key)) end
    if not e.check(v) then
      errors.raise('E221', { what = ("'%s' is %s, expected %s"):format(key, type(v) == 'string' and "'" .. v .. "'"
        or tostring(v), e.expected), where = path, fix = ('%s = %s'):format(key, e.example) })
    end
  end
  return t
end

-- Raises E202 for an environment variable that has no value of its preference.
local function check_variables()
  for _, e in pairs(known) do
    local said = e.variable and os.getenv(e.variable) or ''
    if said ~= '' and not e.check(said) and not e.check(tonumber(said)) then
      errors.raise('E202', { what = ("%s is '%s', expected %s"):format(e.variable, said, e.expected),
        where = 'environment', fix = ('%s=%s, or unset it'):format(e.variable, e.example:gsub("'", '')) })
    end
  end
end

--- Reads the preferences and lets them hold: environment variables that are not set get them. Returns them. Raises E202
--- for a variable whose value none may have.
function M.apply()
  check_variables()
  local t = M.read()
  for key, e in pairs(known) do
    if t[key] ~= nil and e.variable and not os.getenv(e.variable) then
      require('datamux.sys').setenv(e.variable, tostring(t[key]))
    end
  end
  if t.mirrors then require('datamux.data.download').mirrors = t.mirrors end
  return t
end

return M
