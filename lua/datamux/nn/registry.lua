-- registry.lua -- class Registry: strategies by name; the library's own are loaded at first use, recipes add theirs.
local errors = require 'datamux.errors'
local raise = require('datamux.fault').raise

local Registry = {}
Registry.__index = Registry

--- what: 'multiplexer', for messages; room: module path that the built-in names complete; names: list of built-ins;
--- fields: what a spec must have, { name = type }. `names` is kept and grows, so that whoever holds it sees all.
function Registry.new(what, room, names, fields)
  local self = setmetatable({ what = what, room = room, names = names, fields = fields, specs = {},
                              following = {} }, Registry)
  self.own = {}
  for _, name in ipairs(names) do self.own[name] = true end
  return self
end

local function append(list, name)
  for _, there in ipairs(list) do
    if there == name then return end
  end
  list[#list + 1] = name
end

--- Appends all names to `list`, each once, now and whenever one is registered.
function Registry:follow(list)
  for _, name in ipairs(self.names) do append(list, name) end
  self.following[#self.following + 1] = list
end

--- Adds a strategy; a name a recipe registered before is replaced. Raises for a name of the library, or a spec that
--- lacks a field.
function Registry:register(name, spec)
  if type(name) ~= 'string' or not name:find '^[%a_][%w_]*$' then
    raise(('register: name of the %s is %s, expected letters, digits and _'):format(self.what, tostring(name)))
  end
  if self.own[name] then
    raise(("register: '%s' is a %s of the library, expected another name"):format(name, self.what))
  end
  if type(spec) ~= 'table' then
    raise(("register: spec of %s '%s' is %s, expected a table"):format(self.what, name, tostring(spec)))
  end
  for field, kind in pairs(self.fields) do
    if type(spec[field]) ~= kind then
      raise(("register: %s of %s '%s' is %s, expected a %s"):format(field, self.what, name, tostring(spec[field]),
        kind))
    end
  end
  append(self.names, name)
  for _, list in ipairs(self.following) do append(list, name) end
  self.specs[name] = spec
end

--- Raises what is wrong with a field of a strategy that a recipe registered, and where the field is written.
function Registry:fault(name, field, why)
  local f = self:get(name)[field]
  local at = type(f) == 'function' and debug.getinfo(f, 'S')
  errors.raise('E208', { what = ("%s of %s '%s' %s"):format(field, self.what, name, why),
    where = at and ('%s:%d'):format(at.source:gsub('^@', ''), at.linedefined) or nil,
    fix = ("correct %s in the spec of '%s'; docs/extending.md has examples"):format(field, name) })
end

--- What a field of a strategy returns for these arguments; what it raises is a fault of it.
function Registry:call(name, field, ...)
  local ok, a, b = pcall(self:get(name)[field], ...)
  if ok then return a, b end
  if errors.is(a) then error(a, 0) end
  self:fault(name, field, 'raises: ' .. tostring(a))
end

--- Whose a strategy of this name is: 'library', 'recipe', or nil where there is none.
function Registry:whose(name) return self.own[name] and 'library' or self.specs[name] and 'recipe' or nil end

--- The spec of a name; raises with the list where there is none.
function Registry:get(name)
  local spec = self.specs[name]
  if spec then return spec end
  if not self.own[name] then
    raise(("%s is '%s', expected one of %s"):format(self.what, tostring(name), table.concat(self.names, ', ')))
  end
  spec = require(self.room .. name)
  self.specs[name] = spec
  return spec
end

return Registry
