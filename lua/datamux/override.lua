-- override.lua -- key=value: a key completed by the schema, a value of the type that the schema gives it.
-- The text is never evaluated. Numbers 5e-5, 64k, 2G; seconds 90s, 10m, 2h; true on yes, false off no; lists a,b or
-- JSON; none unsets; @FILE reads the value from a file.
local errors = require 'datamux.errors'
local schema = require 'datamux.schema'

local M = {}

local HELP = 'datamux help keys'

local function shown(v) return type(v) == 'string' and ("'%s'"):format(v) or tostring(v) end

--- What a key takes, in words.
function M.expectation(e)
  if e.choice then return 'one of ' .. table.concat(e.choice, ', ') end
  local text = ({ integer = 'a whole number', number = 'a number', string = 'text', boolean = 'true or false',
                  list = 'text or a list', column = 'the name or number of a column' })[e.kind]
  if e.min then text = text .. (' >= %g'):format(e.min) end
  if e.max then text = text .. (e.min and ' and' or '') .. (' <= %g'):format(e.max) end
  if e.also then text = text .. (" or '%s'"):format(e.also) end
  return text
end

-- How to give the key a value that it takes, the nearest if one is. A number without a default has no example: any
-- would change the run.
local function remedy(path, e, near)
  local value = near or e.default
  if value == nil and (e.kind == 'integer' or e.kind == 'number') then
    return ('a number, or leave %s out'):format(path)
  end
  if value == nil then value = e.choice and e.choice[1] or e.kind == 'boolean' and 'true' or 'NAME' end
  return ('%s=%s'):format(path, tostring(value))
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

--- Returns v where the key takes it; raises E202 where not.
function M.check(path, e, v, where)
  if not fits(e, v) then
    local near = e.choice and type(v) == 'string' and errors.nearest(v, e.choice) or nil
    errors.raise('E202', { what = ("'%s' is %s, expected %s"):format(path, shown(v), M.expectation(e)), where = where,
      near = near, fix = remedy(path, e, near) })
  end
  return v
end

local multiple = { k = 1e3, M = 1e6, G = 1e9 }
local seconds = { s = 1, m = 60, h = 3600, d = 86400 }

-- A number with its unit, or nil.
local function number(e, text)
  local digits, unit = text:match '^([-+%d.eE]+)(%a?)$'
  local v = tonumber(digits)
  if not v then return nil end
  if unit == '' then return v end
  local factor = e.unit == 's' and seconds[unit] or multiple[unit]
  return factor and v * factor
end

local function list(text, path, where)
  if text:sub(1, 1) == '[' then
    local ok, v = pcall(require('cjson').decode, text)
    if ok then return v end
    errors.raise('E202', { what = ("'%s' is %s, which is no JSON list"):format(path, text), where = where,
                           fix = path .. '=a,b' })
  end
  if not text:find ',' then return text end
  local out = {}
  for item in text:gmatch '[^,]+' do out[#out + 1] = item end
  return out
end

local booleans = { ['true'] = true, on = true, yes = true, ['false'] = false, off = false, no = false }

--- The value of `text` for the key `path`, whose schema entry is e; nil for 'none'. Raises E202, E213.
function M.parse(path, e, text, where)
  local file = text:match '^@(.+)$'
  if file then
    local f, why = io.open(file)
    if not f then
      errors.raise('E202', { what = ("'%s' is to be read from a file: %s"):format(path, why), where = where,
                             fix = ('%s=VALUE, or @ and a file that is there'):format(path) })
    end
    text = (f:read '*a' or ''):gsub('%s+$', '')
    f:close()
  end
  if text == 'none' and not fits(e, text) then          -- 'none' may be one of the choices
    if e.optional then return nil end
    errors.raise('E202', { what = ("'%s' cannot be none, expected %s"):format(path, M.expectation(e)), where = where,
                           fix = remedy(path, e) })
  end
  if e.also and text == e.also then return text end
  if e.kind == 'list' then return list(text, path, where) end
  if e.kind ~= 'string' and text:find ',' then
    errors.raise('E213', { what = ("'%s' is '%s', expected one value: %s"):format(path, text, M.expectation(e)),
                           where = where, fix = ('--sweep %s=%s runs each'):format(path, text) })
  end
  if e.kind == 'integer' or e.kind == 'number' then
    local v = number(e, text)
    return M.check(path, e, v == nil and text or v, where)
  elseif e.kind == 'boolean' then
    local v = booleans[text]
    return M.check(path, e, v == nil and text or v, where)
  end
  return M.check(path, e, text, where)
end

--- All full paths.
function M.paths()
  local out = {}
  schema.each(function(path) out[#out + 1] = path end)
  return out
end

-- What other programmes call the last part of a key.
local elsewhere = { learning_rate = 'lr', batch_size = 'rows', weight_decay = 'decay', num_train_epochs = 'epochs',
                    max_steps = 'steps', max_seq_length = 'length', seq_len = 'length', num_instances = 'n',
                    hidden_size = 'width', num_layers = 'layers', num_heads = 'heads' }

-- The keys that are meant by another programme's name: those of the same group, else of any.
local function renamed(key)
  local group, last = key:match '^(.-)([^.]+)$'
  local inside, any = {}, {}
  for _, path in ipairs(elsewhere[last] and M.paths() or {}) do
    if path:match '[^.]+$' == elsewhere[last] then
      any[#any + 1] = path
      if group ~= '' and path:sub(1, #group) == group then inside[#inside + 1] = path end
    end
  end
  return #inside > 0 and inside or any
end

--- Raises E201 for a key that is not there. prefix: the group it was looked for in, if any; value: the text it was
--- given, if any.
function M.unknown(key, where, prefix, value)
  local near = prefix and errors.close(key:match '[^.]+$', schema.names(prefix.entry), 3) or {}
  for i, name in ipairs(near) do near[i] = prefix.path and prefix.path .. '.' .. name or name end
  if #near == 0 then near = renamed(key) end
  if #near == 0 then near = errors.close(key, M.paths(), 3) end
  if #near == 0 then                                    -- by the last part alone: learning_rate, or n for N
    local last, leaves = key:match '[^.]+$', {}
    for _, path in ipairs(M.paths()) do
      local leaf = path:match '[^.]+$'
      if #leaf > 2 and errors.nearest(last, { leaf }) and #leaves < 3 then leaves[#leaves + 1] = path end
    end
    near = leaves
  end
  errors.raise('E201', { what = ("unknown key '%s'"):format(key), where = where,
    near = #near > 0 and table.concat(near, ', ') or nil,
    fix = near[1] and ('%s=%s      (all keys: %s)'):format(near[1], value or 'VALUE', HELP) or 'all keys: ' .. HELP })
end

--- The schema entry of a full path.
function M.entry(path)
  local found
  schema.each(function(p, e) found = p == path and e or found end)
  return found
end

local function group_at(path)
  local at = schema.root
  for part in path:gmatch '[^.]+' do
    at = at.entries and schema.find(at, part)
    if not at then return nil end
  end
  return at.entries and at or nil
end

--- The full path of a key and its entry: itself, or the only path that ends in it, also in other case (N for mux.n).
--- value: the text it is given, for the message. Raises E201 or E206.
function M.complete(key, where, value)
  local leaves, found, loose = {}, {}, {}
  schema.each(function(path, e)
    leaves[path] = e
    if path:sub(-#key - 1) == '.' .. key then found[#found + 1] = path end
    if ('.' .. path):lower():sub(-#key - 1) == '.' .. key:lower() then loose[#loose + 1] = path end
  end)
  if leaves[key] then return key, leaves[key] end
  if #found == 0 then found = loose end
  if #found == 1 then return found[1], leaves[found[1]] end
  if #found > 1 then
    local last = found[#found]                           -- the last that takes the value: a fix that works
    for _, path in ipairs(found) do
      if value and pcall(M.parse, path, leaves[path], value) then last = path end
    end
    errors.raise('E206', { what = ("key '%s' could be %s"):format(key, table.concat(found, ', ')), where = where,
                           fix = ('%s=%s'):format(last, value or 'VALUE') })
  end
  M.unknown(key, where, nil, value)
end

--- Reads one word: { path, value, entry } | { reset = group path } | { path, append = list, entry }. Raises E200, E201,
--- E202, E206, E213.
function M.read(word, where)
  local key, plus, text = word:match '^([%w_.]+)(%+?)=(.*)$'
  if not key then
    errors.raise('E200', { what = ("'%s' is no key=value"):format(word), where = where,
                           fix = ('%s=VALUE, or %s'):format(word, HELP) })
  end
  if text == 'default' and group_at(key) then return { reset = key } end
  local path, e = M.complete(key, where, text)
  if plus == '+' then
    if e.kind ~= 'list' then
      errors.raise('E202', { what = ("'%s' takes one value, += is for lists"):format(path), where = where,
                             fix = ('%s=%s'):format(path, text) })
    end
    local v = M.parse(path, e, text, where)
    return { path = path, entry = e, append = type(v) == 'table' and v or { v } }
  end
  return { path = path, entry = e, value = M.parse(path, e, text, where) }
end

return M
