-- commands/complete.lua -- what may stand at the end of a command line: the words that the Tab key of a shell offers,
-- from the one specification and from the runs, models and data sets that are here.
local commands = require 'datamux.commands'

local M = {}

local function each(list, field)
  local out = {}
  for i, e in ipairs(list) do out[i] = e[field] end
  return out
end

-- NAME, NAME/latest and ids of the runs.
local function runs()
  local out, seen = {}, {}
  for _, run in ipairs(require('datamux.rundir').all()) do
    if not seen[run.name] then out[#out + 1], seen[run.name] = run.name, true end
    out[#out + 1] = run.id
  end
  return out
end

local function recipes_of_runs() return require('datamux.sys').list(require('datamux.rundir').root()) end

local function models()
  local out = recipes_of_runs()
  for _, m in ipairs(require('datamux.hub').list()) do out[#out + 1] = m.name end
  return out
end

local function cached() return each(require('datamux.hub').list(), 'name') end

local function tasks()
  local out = {}
  for _, name in ipairs(require('datamux.override').entry('task').choice) do
    if name ~= 'own' then out[#out + 1] = name end
  end
  return out
end

local function sets()
  local out = { 'conll2003', unpack(require('datamux.data.glue').names()) }
  for folder in pairs(require('datamux.data.download').sets) do out[#out + 1] = folder end
  return out
end

-- Values of key=, where they can be listed, else the keys.
local function overrides(word)
  local override = require 'datamux.override'
  local key = word:match '^([%w_.]+)%+?='
  local ok, _, e = pcall(override.complete, key or '')
  local values = key and ok and (e.choice or e.kind == 'boolean' and { 'true', 'false' }) or {}
  local out, before = {}, word:match '^.-='
  for i, v in ipairs(values) do out[i] = before .. v end
  if key then return out end
  for i, path in ipairs(override.paths()) do out[i] = path .. '=' end
  return out
end

local function groups()
  local override, out, seen = require 'datamux.override', {}, {}
  for _, path in ipairs(override.paths()) do
    for _, name in ipairs { path:match '^[^.]+', path } do
      if not seen[name] then out[#out + 1], seen[name] = name, true end
    end
  end
  return out
end

-- Recipes, and folders on the way to one.
local function recipes(word)
  local sys = require 'datamux.sys'
  local folder, out = word:match '^.*/' or '', {}
  for _, name in ipairs(sys.list(folder == '' and '.' or folder)) do
    local path = folder .. name
    if name:find '%.lua$' then
      out[#out + 1] = path
    elseif name:sub(1, 1) ~= '.' and sys.kind(path) == 'directory' then
      out[#out + 1] = path .. '/'
    end
  end
  return out
end

local function topics()
  local out = commands.names()
  out[#out + 1] = 'keys'
  return out
end

-- What stands for an option or argument: by command and name, else by name alone.
local offers = {
  run = runs, runs = runs, ['runs ls name'] = recipes_of_runs, model = models, ['--vs'] = models,
  ['model get names'] = cached, ['model rm names'] = cached, names = sets, ['data add name'] = sets, task = tasks,
  ['--task'] = tasks, recipe = recipes, overrides = overrides, rest = overrides, ['--sweep'] = overrides,
  topic = topics, group = groups,
  report = function() return require('datamux.analysis').names end,
  number = function() return require('datamux.explain').numbers() end,
  ['--device'] = function() return { 'auto', 'cpu', 'cuda' } end,
}

local function of(p, e, word)
  local name = e._aliases and e._aliases[#e._aliases] or e._name
  local list = e.offers or offers[p:_get_fullname(true) .. ' ' .. name] or offers[name] or {}
  return type(list) == 'function' and list(word) or list
end

-- The option of this name that p or a parser above it has.
local function option(p, name)
  while p do
    for _, e in ipairs(p._options) do
      for _, alias in ipairs(e._aliases) do
        if alias == name then return e end
      end
    end
    p = p._parent
  end
end

local function option_names(p)
  local out = {}
  while p do
    for _, e in ipairs(p._options) do
      for _, alias in ipairs(e._aliases) do out[#out + 1] = alias end
    end
    p = p._parent
  end
  return out
end

-- What may stand at the last of these words, after a command (a parser), beginning with it or not.
local function after(p, words)
  local argument, waiting = 1, nil
  for i = 1, #words - 1 do
    local w = words[i]
    local e = w:sub(1, 1) == '-' and option(p, w)
    if waiting then
      waiting = nil
    elseif e then
      waiting = e._maxargs > 0 and not w:find '=' and e or nil
    elseif w:sub(1, 1) ~= '-' then
      local sub
      for _, c in ipairs(p._commands) do sub = sub or c._name == w and c end
      if sub then p = sub else argument = argument + 1 end
    end
  end
  local word = words[#words]
  if waiting then return of(p, waiting, word) end
  local name, value = word:match '^(%-%-[^=]+)=(.*)$'
  if name then
    local out = {}
    for i, v in ipairs(option(p, name) and of(p, option(p, name), value) or {}) do out[i] = name .. '=' .. v end
    return out
  end
  if word:sub(1, 1) == '-' then return option_names(p) end
  if #p._commands > 0 then return each(p._commands, '_name') end
  local e = p._arguments[math.min(argument, #p._arguments)]
  return e and (argument <= #p._arguments or e._maxargs > 1) and of(p, e, word) or {}
end

local function candidates(words)
  local bare = commands.parser {}
  local before = { unpack(words, 1, #words - 1) }
  local at = require('datamux.cli').first_plain(bare, before)
  local word = words[#words]
  if not at then
    local e = option(bare, words[#words - 1])
    if e and e._maxargs > 0 then return of(bare, e, word) end
    if word:sub(1, 1) == '-' then return option_names(bare) end
    local out = recipes(word)
    for _, name in ipairs(commands.names()) do out[#out + 1] = name end
    return out
  end
  local name, from = words[at], at + 1
  if name == 'train' then name = 'run' end
  if not commands.get(name) then name, from = 'run', at end                  -- a recipe, or key=value before it
  return after(commands.parser({ name })._commands[1], { unpack(words, from) })
end

--- The words that may stand in place of the last of `line`, a command line with the name of the command and up to the
--- cursor; sorted. Empty where nothing is known, which leaves the names of files.
function M.words(line)
  local words = {}
  for w in (line:match '^%s*%S+%s+(.*)$' or ''):gmatch '%S+' do words[#words + 1] = w end
  if #words == 0 or line:find '%s$' then words[#words + 1] = '' end
  local word, out, seen = words[#words], {}, {}
  for _, w in ipairs(candidates(words)) do
    if w:sub(1, #word) == word and not seen[w] then out[#out + 1], seen[w] = w, true end
  end
  table.sort(out)
  return out
end

return M
