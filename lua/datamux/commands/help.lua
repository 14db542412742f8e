-- commands/help.lua -- help of a command, the keys of recipes, and the man page; all from the one specification.
local M = { name = 'help', summary = 'help of a command; keys [GROUP]: the keys of a recipe; --man: the man page' }

function M.configure(p, take)
  p:argument('topic', 'a command, or keys'):args '?'
  p:argument('group', 'keys: only those of this group'):args '?'
  p:flag('--man', 'the man page datamux(1), for man -l')
  take(p, 'json')
end

-- The group or key that is meant: the key that ends in this, train.lr before warmup.lr, else the nearest of all.
local function nearest_key(text)
  local override, errors, schema = require 'datamux.override', require 'datamux.errors', require 'datamux.schema'
  local names, found = {}, nil
  for _, e in ipairs(text:find '%.' and {} or schema.root.entries) do names[#names + 1] = e.name end
  for _, path in ipairs(override.paths()) do
    names[#names + 1] = path
    if path:sub(-#text - 1) == '.' .. text then found = path end
  end
  return found or errors.nearest(text, names)
end

local function keys(o)
  local errors, json = require 'datamux.errors', require 'datamux.json'
  local override, schema = require 'datamux.override', require 'datamux.schema'
  local out = json.list {}
  schema.each(function(path, e)
    if not o.group or path == o.group or path:sub(1, #o.group + 1) == o.group .. '.' then
      out[#out + 1] = { key = path, default = e.default, takes = override.expectation(e), meaning = e.doc }
    end
  end)
  if #out == 0 then
    local near = nearest_key(o.group)
    errors.raise('E200', { what = ("no keys in '%s'"):format(o.group), near = near,
                           fix = 'datamux help keys' .. (near and ' ' .. near or '') })
  end
  if o.json then
    print(json.encode(out, true))
    return 0
  end
  for _, e in ipairs(out) do
    print(('%-24s %-12s %s\n%-37s %s'):format(e.key, e.default == nil and '-' or tostring(e.default), e.meaning, '',
      e.takes))
  end
  return 0
end

function M.run(o)
  local errors, commands = require 'datamux.errors', require 'datamux.commands'
  if o.man then
    io.write(require('datamux.commands.man').page())
    return 0
  end
  if o.topic == 'keys' then return keys(o) end
  if not o.topic then
    print(commands.parser():get_help())
    return 0
  end
  local p = commands.parser { o.topic }
  local command = p._commands[1]
  if not command then
    local names = commands.names()
    names[#names + 1] = 'keys'
    local near = errors.nearest(o.topic, names)
    errors.raise('E209', { what = ("no help on '%s'"):format(o.topic), near = near,
                           fix = 'datamux help' .. (near and ' ' .. near or '') })
  end
  print(command:get_help())
  return 0
end

return M
