-- launch.lua -- from words of the command line to a resolved recipe: its file, its overrides, the device it runs on.
local errors = require 'datamux.errors'

local M = {}

-- A recipe that came with the command: recipes/x.lua under share/datamux, where it is not under the working directory.
local function installed(path)
  local prefix = require('datamux.host').exe():match '^(.*)/bin/[^/]+$'
  return prefix and path:find '^recipes/' and ('%s/share/datamux/%s'):format(prefix, path)
end

--- Whether a word of a command line is key=value or key+=value.
function M.is_override(w) return w:find '^[%w_.]+%+?=' ~= nil end

-- Whether a chunk's text does not end with a return: then it is a script, which returns nothing.
local function is_script(text) return loadstring(text:gsub('^#[^\n]*', '') .. '\nreturn') ~= nil end

--- Loads a recipe file: the recipe, or nil when it was a script (does not end with a return). recipes/NAME.lua that is
--- not here is the installed one. `rest` becomes arg. o: { script (it may be one, which runs as any Lua program; a
--- recipe runs in the sandbox), trust (no sandbox), words (key=value, for dm.arg) or config (what dm.arg is told, see
--- recipe.early) }. Raises E207, E208, E222, and what the recipe's own keys raise.
function M.load(path, rest, o)
  o = o or {}
  local sys = require 'datamux.sys'
  local ours = sys.kind(path) ~= 'file' and installed(path)
  if ours and sys.kind(ours) == 'file' then path = ours end
  if sys.kind(path) ~= 'file' then
    local folder, name = path:match '^(.*/)([^/]+)$'
    local recipes = {}
    for _, file in ipairs(sys.list(folder or '.')) do
      if file:find '%.lua$' then recipes[#recipes + 1] = file end
    end
    local near = errors.nearest(name or path, recipes)
    near = near and (folder or '') .. near
    errors.raise('E207', { what = ("no file '%s'"):format(path), near = near,
      fix = near and 'datamux ' .. near or 'datamux new NAME writes a recipe to start from' })
  end
  local chunk, why = loadfile(path)
  if not chunk then errors.raise('E208', { what = why, fix = 'correct that line; a recipe is Lua' }) end
  require('datamux.recipe').early = { words = o.words or {}, asked = {}, config = o.config }
  local script, sandbox = o.script and is_script(sys.read(path)), require 'datamux.sandbox'
  if not (script or o.trust or sandbox.trusted) then setfenv(chunk, sandbox.environment(path)) end
  local old = arg
  _G.arg = { [0] = path, unpack(rest) }         -- what a script expects
  getfenv(chunk).arg = arg
  local ok, recipe = xpcall(function() return chunk(unpack(rest)) end, function(e)
    return errors.is(e) and e or { text = tostring(e), trace = debug.traceback('', 2) }
  end)
  _G.arg = old
  if not ok then
    if errors.is(recipe) then error(recipe, 0) end
    errors.raise('E208', { what = recipe.text, where = path, fix = 'correct that line; --debug shows the calls' })
  end
  if recipe == nil then return nil end
  if script and not sandbox.trusted then
    errors.raise('E208', { what = path .. ' returned a value from inside a block: a recipe ends with its return',
                           fix = 'end the file with: return dm.recipe { ... }' })
  end
  local room = require 'datamux.recipe'
  if room.is(recipe) then
    recipe.file = recipe.file or path
    return recipe
  end
  if type(recipe) ~= 'table' then
    errors.raise('E208', { what = ('%s returned %s, expected dm.recipe { ... }'):format(path, type(recipe)),
                           fix = 'end the file with: return dm.recipe { ... }' })
  end
  return room.new(recipe, path)
end

--- The recipe of parsed options (o.recipe; o.loaded where the dispatcher has read it). Raises E200, E207, E208.
function M.recipe(o)
  if o.loaded then return o.loaded end
  if o.recipe and M.is_override(o.recipe) then     -- key=value before the recipe
    local words = { o.recipe }
    o.recipe = nil
    for _, w in ipairs(o.overrides or {}) do
      if o.recipe or M.is_override(w) then words[#words + 1] = w else o.recipe = w end
    end
    o.overrides = words
  end
  if not o.recipe then
    errors.raise('E200', { what = 'no recipe given', fix = 'datamux recipes/quickstart.lua' })
  end
  local words = {}
  for _, w in ipairs(o.overrides or {}) do words[#words + 1] = M.is_override(w) and w or nil end
  local recipe = M.load(o.recipe, {}, { words = words })
  if not recipe then
    errors.raise('E208', { what = o.recipe .. ' returned nothing: it is a script, not a recipe',
                           fix = 'end the file with: return dm.recipe { ... }' })
  end
  return recipe
end

--- The words key=value of parsed options, with --seed, --device and --name among them.
function M.words(o)
  local words = {}
  if o.device then words[1] = 'device=' .. o.device end
  if o.seed then words[#words + 1] = 'seed=' .. o.seed end
  if o.run_name then words[#words + 1] = 'name=' .. o.run_name end
  for _, w in ipairs(o.overrides or {}) do
    if not M.is_override(w) then
      errors.raise('E200', { what = ("unexpected argument '%s' after the recipe '%s', expected key=value"):format(w,
        o.recipe or 'given'), fix = w:find '^%d+%-%d+' and '--resume=' .. w or w .. '=VALUE' })
    end
    words[#words + 1] = w
  end
  return words
end

--- Opens the device ('auto', 'cpu', 'cuda', 'cuda:1'; nil is auto) and sets the number of CPU threads; returns what
--- the device says of itself. Raises E402.
function M.device(name, threads)
  local scope = require 'datamux.scope'
  if threads then require('datamux.sys').setenv('DATAMUX_THREADS', tostring(threads)) end      -- read when it opens
  local ok, why = pcall(scope.device, name ~= 'auto' and name or nil)
  if not ok then
    errors.raise('E402', { what = tostring(why), fix = 'device=cpu, or device=auto; what can compute here: '
      .. 'datamux --devices' })
  end
  if threads then require('datamux.ffi').C.dm_threads_set(threads) end
  return scope.about()
end

-- What `auto` would most likely take, without opening it: "cuda" or "cpu".
local function likely()
  local said = os.getenv 'DATAMUX_DEVICE' or 'auto'
  if said ~= 'auto' then return said end
  return require('datamux.ffi').C.dm_device_likely() ~= 0 and 'cuda' or 'cpu'
end

-- Raises E202 where a run cannot have a folder of its name.
local function check_name(list)
  for _, e in ipairs(list) do
    if e.path == 'name' and not e.value:find '^[^./%c][^/%c]*$' then
      errors.raise('E202', { what = ("'name' is '%s', expected what can name a folder: no '/', no '.' at the front")
        :format(e.value), where = e.from, fix = 'name=NAME' })
    end
  end
end

--- Resolves a recipe under parsed options, taking the device it names (with --dry-run, of `auto` the likely one, which
--- is not opened): configuration, list of values with origins. more: further words, above the others. Raises what
--- recipe.resolve does, E202 for a name that no folder can have, and E402 where the device is not there.
function M.resolve(recipe, o, more)
  local words, extra = M.words(o), { set = os.getenv 'DATAMUX_SET', configs = o.config }
  for _, w in ipairs(more or {}) do words[#words + 1] = w end
  for _, w in ipairs(more or {}) do             -- a sweep sets what the recipe took from dm.arg: it is read again
    if require('datamux.recipe').early.asked[w:match '^[^=]+'] then
      recipe = M.load(recipe.file, {}, { words = words })
      break
    end
  end
  local config, list = recipe:resolve(words, nil, extra)
  check_name(list)
  local guess = o.dry_run and config.device == 'auto'
  if guess and not next(recipe.table.profiles or {}) then return config, list end            -- nothing depends on it
  local about = guess and likely() or M.device(config.device, o.threads)
  return recipe:resolve(words, about:find '^cuda' ~= nil, extra)
end

--- How progress is shown: 'bar', 'lines' or 'none'.
function M.progress(o)
  local host = require 'datamux.host'
  if o.quiet then return 'none' end
  local said = o.progress or os.getenv 'DATAMUX_PROGRESS' or 'auto'
  if said ~= 'auto' then return said end
  return host.isatty(2) and os.getenv 'TERM' ~= 'dumb' and 'bar' or 'lines'
end

--- The values of a list (see recipe.resolve) as lines for people: key, value, origin.
function M.table_lines(list)
  local out = { ('%-24s %-28s %s'):format('key', 'value', 'from') }
  for _, e in ipairs(list) do
    local v = type(e.value) == 'table' and table.concat(e.value, ',') or tostring(e.value)
    out[#out + 1] = ('%-24s %-28s %s'):format(e.path, v, e.from)
  end
  return out
end

return M
