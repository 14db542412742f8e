-- cli.lua -- the command: recipes and their overrides, options, and the way to the prompt.
-- stdout carries results only; progress, notices and errors go to stderr. Exit codes: datamux.errors.
local host = require 'datamux.host'
local errors = require 'datamux.errors'

local M = {}

local commands = { 'run' }

local function parser()
  local argparse = require 'argparse'
  local p = argparse('datamux', 'Train multiplexed Transformers from Lua recipes; without arguments, a prompt.')
  p:usage [[
datamux RECIPE.lua [key=value ...] [options]
       datamux run RECIPE.lua [key=value ...] [options]
       datamux SCRIPT [args]          run a Lua script
       datamux -e CODE                run Lua code
       datamux                        prompt, or Lua from standard input]]
  p:argument('recipe', 'a recipe, and overrides key=value (see the recipe and --dry-run)'):args '*'
  p:option('--resume', 'continue the newest unfinished run of the recipe, or RUN'):args '?':argname 'RUN'
  p:flag('-n --dry-run', 'print every value with its origin, and do nothing')
  p:option('-o --out', 'where runs go (default ./runs, or $DATAMUX_RUNS)'):argname 'DIR'
  p:option('-d --device', 'auto, cpu, cuda or cuda:N'):argname 'DEVICE'
  p:option('-j --threads', 'CPU threads (default: physical cores)'):convert(tonumber):argname 'N'
  p:option('--seed', 'the same as seed=N'):argname 'N'
  p:option('--progress', 'auto, bar, lines or none'):choices { 'auto', 'bar', 'lines', 'none' }:default 'auto'
  p:flag('-q --quiet', 'no progress')
  p:flag('-i --interactive', 'a prompt with `recipe` after loading it')
  p:flag('--json', 'the report as JSON on stdout')
  p:flag('--devices', 'list what can compute here, and why the rest cannot')
  p:flag('-v --version', 'print the version')
  p:flag('--debug', 'a stack trace with errors')
  function p.error(_, message) errors.raise(2, message .. '\n' .. p:get_usage()) end
  return p
end

local function version()
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

local function is_cuda() return require('datamux.scope').about():find '^cuda' ~= nil end

-- Loads a recipe file: the recipe, or nil when it was a script (returned nothing). `rest` becomes arg.
local function load_recipe(path, rest)
  local sys = require 'datamux.sys'
  if sys.kind(path) ~= 'file' then
    local folder, name = path:match '^(.*/)([^/]+)$'
    local near = errors.nearest(name or path, sys.list(folder or '.'))
    errors.raise(2, ("no file '%s'.%s"):format(path,
      near and (" Did you mean '%s%s'?"):format(folder or '', near) or ''))
  end
  local chunk, why = loadfile(path)
  if not chunk then errors.raise(2, why) end
  local old = arg
  _G.arg = { [0] = path, unpack(rest) }         -- what a script expects
  local recipe = chunk(unpack(rest))
  _G.arg = old
  if recipe == nil then return nil end
  local room = require 'datamux.recipe'
  if room.is(recipe) then
    recipe.file = recipe.file or path
    return recipe
  end
  if type(recipe) ~= 'table' then
    errors.raise(2, ('%s returned %s, expected dm.recipe { ... }'):format(path, type(recipe)))
  end
  return room.new(recipe, path)
end

local function banner(config, session, run)
  local d = session.data
  local lines = {
    ('%s · %s · seed %d'):format(version(), require('datamux.scope').about(), config.seed),
    ('model  %s, N = %d, %s + %s, %d layers of %d, %.1f M parameters (%s)'):format(config.model.kind, config.mux.n,
      config.demux.kind, config.demux.read, config.model.layers, config.model.width, session.model:count() / 1e6,
      config.profile),
    ('data   %s · train %d · dev %d · vocabulary %d · %d truncated at %d'):format(config.task, d.train.n, d.dev.n,
      d.tok.vocab_size, d.train.truncated, config.data.length) }
  for _, s in ipairs(session.stages) do
    lines[#lines + 1] = ('plan   %s: %d steps of %d rows x N %d, lr %g'):format(s.name, s.steps, s.loader.o.rows,
      config.mux.n, s.lr)
  end
  if run then lines[#lines + 1] = ('run    %s   (Ctrl-C: stop and save)'):format(run.dir) end
  return lines
end

-- Where the small profile was taken because there is no GPU: a line that says so, and what the other would take.
local function small_profile(recipe, overrides, config, list, session)
  for _, e in ipairs(list) do
    if e.path == 'profile' and (e.from ~= 'derived' or e.value ~= 'small') then return nil end
  end
  if not (recipe.table.profiles and recipe.table.profiles.paper) then return nil end
  local words = { 'profile=paper' }
  for _, w in ipairs(overrides) do words[#words + 1] = w end
  local paper, estimate = recipe:resolve(words), require 'datamux.estimate'
  local d = session.data
  local facts = { train = d.train.n, length = d.train.offset[d.train.n] / d.train.n, vocab = d.tok.vocab_size }
  local work, rate = estimate.plan(paper, facts), estimate.rate()
  return ('size   small (%d x %d): no GPU is used. profile=paper (%d x %d) would take about %s here (%.1e operations '
    .. 'at %.0f GFLOP/s)'):format(config.model.layers, config.model.width, paper.model.layers, paper.model.width,
    estimate.words(work / rate), work, rate / 1e9)
end

local function progress_mode(o)
  if o.quiet then return 'none' end
  if o.progress ~= 'auto' then return o.progress end
  return host.isatty(2) and os.getenv 'TERM' ~= 'dumb' and 'bar' or 'lines'
end

local function dry_run(list)
  for _, e in ipairs(list) do
    local v = type(e.value) == 'table' and table.concat(e.value, ',') or tostring(e.value)
    print(('%-24s %-28s %s'):format(e.path, v, e.from))
  end
  return 0
end

-- What a person would type again to continue.
local function resume_command(argv)
  local words = { 'datamux' }
  for i = 1, #argv do
    local w = argv[i]
    if not w:find '^%-%-resume' then words[#words + 1] = w:find ' ' and ("'%s'"):format(w) or w end
  end
  words[#words + 1] = '--resume'
  return table.concat(words, ' ')
end

local function train(recipe, overrides, o, argv)
  local sys, rundir = require 'datamux.sys', require 'datamux.rundir'
  local scope, checkpoint = require 'datamux.scope', require 'datamux.checkpoint'
  if o.seed then overrides[#overrides + 1] = 'seed=' .. o.seed end
  if o.device then overrides[#overrides + 1] = 'device=' .. o.device end
  local device = recipe:resolve(overrides).device
  scope.device(device ~= 'auto' and device or nil)
  if o.threads then require('datamux.ffi').C.dm_threads_set(o.threads) end
  local config, list = recipe:resolve(overrides, is_cuda())
  if o.dry_run then return dry_run(list) end
  local session = require('datamux.train').new(config, {})
  local run, resumed
  if o.resume then
    run = rundir.find { out = o.out, name = config.name, list = list, run = o.resume[1] }
  else
    run = rundir.create { out = o.out, name = config.name, recipe = recipe.file, list = list, args = argv }
  end
  local log = require('datamux.log').new { mode = progress_mode(o), columns = host.columns(), every = config.log.every,
                                           run = run.dir }
  if o.resume then resumed = checkpoint.load(run.dir, function(text) log:note(text) end) end
  session.run_dir, session.log = run.dir, log
  if resumed then session:restore(resumed) end
  local lines = banner(config, session, run)
  local size = small_profile(recipe, overrides, config, list, session)
  if size then table.insert(lines, 3, size) end
  log:banner(lines)
  local ok, results, stopped = pcall(session.run, session)
  log:close()
  if not ok then
    rundir.close(run, 'failed', { step = session.at.global })
    error(results, 0)
  end
  if stopped then
    rundir.close(run, 'stopped', { step = session.at.global })
    io.stderr:write(('stopped at step %d of %s. Continue with:\n  %s\n'):format(session.at.step,
      session.stages[session.at.stage].name, resume_command(argv)))
    return errors.codes.stopped
  end
  local report, json = require 'datamux.report', require 'datamux.json'
  local text = report.text(results, config, run.dir)
  sys.write(run.dir .. '/report.txt', text .. '\n')
  sys.write(run.dir .. '/report.json', json.encode(report.table(results, config), true) .. '\n')
  rundir.close(run, 'finished', { step = session.at.global, accuracy = results.accuracy })
  print(o.json and json.encode(report.table(results, config)) or text)
  return 0
end

-- The recipe argument and its overrides, in any order.
local function split_words(words)
  local recipe, overrides = nil, {}
  if words[1] == 'run' or words[1] == 'train' then table.remove(words, 1) end
  for _, w in ipairs(words) do
    if w:find '^[%w_.]+=' then
      overrides[#overrides + 1] = w
    elseif not recipe then
      recipe = w
    else
      errors.raise(2, ("unexpected argument '%s' after the recipe '%s', expected key=value"):format(w, recipe))
    end
  end
  return recipe, overrides
end

local function dispatch(argv)
  if #argv == 0 then
    if host.isatty(0) then return require('datamux.repl').run {} end
    local chunk, why = loadstring(io.read '*a', '=stdin')
    if not chunk then errors.raise(2, why) end
    chunk()
    return 0
  end
  local p = parser()
  if argv[1] == '--help' or argv[1] == '-h' or argv[1] == 'help' then
    print(p:get_help())
    return 0
  end
  local first = argv[1]
  if first:find '%.lua$' and not first:find '=' then      -- a script gets its arguments untouched
    local rest = {}
    for i = 2, #argv do rest[#rest + 1] = argv[i] end
    local recipe = load_recipe(first, rest)
    if not recipe then return 0 end
    local o = p:parse(rest)
    local _, overrides = split_words(o.recipe)
    if o.interactive then return require('datamux.repl').run { recipe = recipe } end
    return train(recipe, overrides, o, argv)
  end
  local o = p:parse(argv)
  if o.debug then M.debug = true end
  if o.version then
    print(version())
    return 0
  end
  if o.devices then
    devices()
    return 0
  end
  local name, overrides = split_words(o.recipe)
  if not name then
    if o.interactive then return require('datamux.repl').run {} end
    errors.raise(2, 'no recipe given\n' .. p:get_usage())
  end
  if not name:find '%.lua$' then
    local near = errors.nearest(name, commands)
    errors.raise(2, ("unknown command '%s'.%s"):format(name, near and (" Did you mean '%s'?"):format(near) or
      ' A recipe is a file that ends in .lua; see datamux --help'))
  end
  local recipe = load_recipe(name, {})
  if not recipe then errors.raise(2, name .. ' returned nothing: it is a script, not a recipe') end
  if o.interactive then return require('datamux.repl').run { recipe = recipe } end
  return train(recipe, overrides, o, argv)
end

-- Exit code of an engine error by its last status.
local function code_of(message)
  local core = package.loaded['datamux.ffi']
  local status = core and core.last_status
  if status == 0 or not core then return errors.codes.internal end
  if status == core.C.DM_ENOMEM and tostring(message):find 'memory' then return errors.codes.memory end
  return status == core.C.DM_EDEVICE and errors.codes.environment or errors.codes.internal
end

--- Runs the command line (a list); returns the exit code. User errors print one message and no stack trace.
function M.main(argv)
  local words = {}
  for i = 1, #argv do words[i] = argv[i] end
  local ok, code = xpcall(dispatch, function(e)
    if errors.is(e) then return e end
    local debugging = os.getenv 'DATAMUX_DEBUG' or M.debug
    return { message = debugging and debug.traceback(tostring(e), 2) or tostring(e), code = code_of(e) }
  end, words)
  if ok then return code or 0 end
  io.stderr:write('error: ', code.message, '\n')
  return code.code
end

return M
