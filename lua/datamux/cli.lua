-- cli.lua -- the command: which sub-command, recipe, script or prompt a command line means, and how errors end.
-- The commands are in datamux.commands. stdout carries results only; progress, notices and errors go to stderr.
-- Exit codes: datamux.errors.
local host = require 'datamux.host'
local errors = require 'datamux.errors'

local M = {}

--- The version line.
function M.version()
  local ffi, C = require 'ffi', require('datamux.ffi').C
  return ('datamux %s (%s, %s)'):format(ffi.string(C.dm_version()), jit.version, ffi.string(C.dm_gemm_library()))
end

local function devices()
  local ffi, C = require 'ffi', require('datamux.ffi').C
  local i = 0
  while C.dm_device_candidate(i) ~= nil do
    print(ffi.string(C.dm_device_candidate(i)))
    i = i + 1
  end
end

-- The environment variables that mean something, and those of the tests.
local variables = { 'DATAMUX_BACKENDS', 'DATAMUX_BF16', 'DATAMUX_CACHE', 'DATAMUX_CHECK', 'DATAMUX_DATA',
  'DATAMUX_DEBUG', 'DATAMUX_DEVICE', 'DATAMUX_DOWNLOAD', 'DATAMUX_GPU_PRICE', 'DATAMUX_LOG', 'DATAMUX_LUA',
  'DATAMUX_OFFLINE', 'DATAMUX_PROFILE', 'DATAMUX_PROGRESS', 'DATAMUX_RUNS', 'DATAMUX_SET', 'DATAMUX_SYNC',
  'DATAMUX_THREADS' }
M.variables = variables

-- A notice for each DATAMUX_ variable that means nothing here: typing errors are common.
local function check_environment()
  local f = io.open('/proc/self/environ', 'rb')
  if not f then return end
  local text, known = f:read '*a', {}
  f:close()
  for _, name in ipairs(variables) do known[name] = true end
  for name in ('\0' .. text):gmatch '%z(DATAMUX_[^=%z]*)=' do
    if not known[name] then
      io.stderr:write(('notice: the environment variable %s means nothing here.%s\n'):format(name,
        errors.suggest(name, variables)))
    end
  end
end

--- Place of the first word that is neither an option nor an option's value; nil where there is none. p: a parser.
function M.first_plain(p, argv)
  local takes = {}
  for _, e in ipairs(p._options) do
    for _, alias in ipairs(e._aliases) do takes[alias] = e._maxargs > 0 end
  end
  local i = 1
  while i <= #argv do
    local w = argv[i]
    if w:sub(1, 1) ~= '-' or w == '-' then return i end
    if w == '--' then return argv[i + 1] and i + 1 or nil end
    i = i + (takes[w] and 2 or 1)
  end
end

-- Options that need no command.
local function alone(o)
  if o.version then
    print(M.version())
    return 0
  elseif o.devices then
    devices()
    return 0
  elseif o.interactive then
    return require('datamux.repl').run {}
  end
  errors.raise('E200', { what = 'no recipe or command given',
                         fix = 'datamux recipes/quickstart.lua, or datamux --help' })
end

local function unknown(word, argv)
  local commands = require 'datamux.commands'
  local ours, names = commands.published(argv), commands.names()
  if ours then commands.refuse_published('no recipe or command given', ours) end
  if word == 'serve' then
    errors.raise('E209', { what = "there is no 'serve': predict is a filter that another program keeps open",
                           fix = 'datamux predict MODEL - --in jsonl --flush 20' })
  end
  names[#names + 1] = 'train'
  local near = errors.nearest(word, names)
  if near == 'train' then near = 'run' end
  errors.raise('E209', { what = ("unknown command '%s'"):format(word), near = near,
    fix = near and 'datamux ' .. near or 'a recipe is a file that ends in .lua; commands: datamux --help' })
end

-- The words of a command, which is `name` and whose own are those of argv from place `from` on: its name first, and the
-- options that stood before it, up to place `before`, last. Of `run`, a bare --resume takes no value, so that the word
-- after it is not taken for one.
local function arrange(argv, name, before, from)
  local words, last = { name }, nil
  local function add(w) words[#words + 1] = name == 'run' and w == '--resume' and '--resume=' or w end
  for i = from, #argv do
    if argv[i] == '--' and not last then last = i end
    if not last then add(argv[i]) end
  end
  for i = 1, before do add(argv[i]) end
  for i = last or #argv + 1, #argv do words[#words + 1] = argv[i] end
  return words
end

-- What must work, whatever the person's own file says.
local helpers = { explain = true, help = true, completion = true, doctor = true }

-- Effects of the options that all commands take, and of the person's own defaults for them. name: the command, if any.
local function apply(o, name)
  if o.debug then errors.tracing = true end
  if o.trust then require('datamux.sandbox').trusted = true end
  if o.download then require('datamux.sys').setenv('DATAMUX_DOWNLOAD', '1') end
  if o.offline then require('datamux.sys').setenv('DATAMUX_OFFLINE', '1') end
  if os.getenv 'HF_HUB_OFFLINE' == '1' and not os.getenv 'DATAMUX_OFFLINE' then
    require('datamux.sys').setenv('DATAMUX_OFFLINE', '1')
  end
  local own = not (helpers[name] or o.version or o.devices) and require('datamux.preferences').apply() or {}
  M.color = o.color or own.color
end

-- Runs a command, whose words (see arrange) came from argv. loaded: its recipe, if read.
local function run_command(name, words, loaded, argv)
  local commands = require 'datamux.commands'
  local o = commands.parser({ name }):parse(words)
  apply(o, name)
  o.words, o.loaded = argv, loaded
  host.stoppable(false)
  return commands.get(name).run(o)
end

local function run_stdin()
  require('datamux.preferences').apply()
  if host.isatty(0) then return require('datamux.repl').run {} end
  local chunk, why = loadstring(io.read '*a', '=stdin')
  if not chunk then errors.raise('E208', { what = why, fix = 'correct that line' }) end
  chunk()
  return 0
end

local function dispatch(argv)
  check_environment()
  if #argv == 0 then return run_stdin() end
  local commands = require 'datamux.commands'
  commands.argv = argv
  local bare = commands.parser {}
  local at = M.first_plain(bare, argv)
  local word = argv[at]
  if not at then
    local o
    for _, w in ipairs(argv) do
      if w == '--help' or w == '-h' then bare = commands.parser() end
    end
    o = bare:parse(argv)
    apply(o)
    return alone(o)
  end
  if word == 'train' then word = 'run' end
  if commands.get(word) then
    return run_command(word, arrange(argv, word, at - 1, at + 1), nil, argv)
  end
  if not word:find '%.lua$' then
    if not require('datamux.launch').is_override(word) then unknown(word, argv) end
    return run_command('run', arrange(argv, 'run', at - 1, at), nil, argv)
  end
  local rest = {}
  for i = at + 1, #argv do rest[#rest + 1] = argv[i] end
  local launch = require 'datamux.launch'
  local words = {}
  for _, w in ipairs(argv) do
    errors.tracing = errors.tracing or w == '--debug'
    if w == '--trust' then require('datamux.sandbox').trusted = true end
    if launch.is_override(w) then words[#words + 1] = w end
  end
  local recipe = launch.load(word, rest, { script = true, words = words })      -- a script gets its arguments untouched
  if not recipe then return 0 end
  return run_command('run', arrange(argv, 'run', at - 1, at), recipe, argv)
end

-- Number and exit code of an error that the engine raised, by its last status.
local function engine_error(message)
  local core = package.loaded['datamux.ffi']
  local status = core and core.last_status
  if core and status == core.C.DM_ENOMEM and message:find 'memory' then return 'E501', errors.codes.memory end
  if core and status == core.C.DM_EDEVICE then return 'E402', errors.codes.environment end
  return 'E101', errors.codes.internal
end

local function caught(e)
  if errors.is(e) then return e end
  local text = tostring(e)
  local id, code = engine_error(text)
  local debugging = os.getenv 'DATAMUX_DEBUG' or errors.tracing
  return { id = id, code = code, message = text,
    trace = debugging and debug.traceback('', 2) or nil }
end

local function colored()
  local said = M.color or 'auto'
  if said ~= 'auto' then return said == 'always' end
  return host.isatty(2) and not os.getenv 'NO_COLOR' and os.getenv 'TERM' ~= 'dumb'
end

--- Writes an error (of errors.raise, or { id, message, trace }) to stderr.
function M.complain(e)
  local head = 'error' .. (e.id and ('[%s]'):format(e.id) or '')
  if colored() then head = '\27[1;31m' .. head .. '\27[0m' end
  io.stdout:flush()
  io.stderr:write(head, ': ', e.message, '\n')
  if e.id and not e.message:find '\n%s*fix:' then
    local page = require('datamux.explain').pages[e.id]
    io.stderr:write('  fix: ', page and page.fix or 'datamux explain ' .. e.id, '\n')
  end
  if e.trace then io.stderr:write((e.trace:gsub('^\n', '')), '\n') end
end

--- Runs the command line (a list); returns the exit code. User errors print one message and no stack trace.
function M.main(argv)
  local words = {}
  for i = 1, #argv do words[i] = argv[i] end
  local ok, code = xpcall(dispatch, caught, words)
  if ok then return code or 0 end
  M.complain(code)
  return code.code
end

return M
