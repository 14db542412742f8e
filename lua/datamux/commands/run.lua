-- commands/run.lua -- datamux RECIPE.lua: train, select the best, evaluate, report; sweeps of that.
local M = { name = 'run', summary = 'train a recipe, select the best weights, evaluate, report' }

function M.configure(p, take)
  p:usage 'Usage: datamux run RECIPE.lua [key=value ...] [OPTIONS]        (or without the word run)'
  p:argument('recipe', 'a recipe'):args '?'
  p:argument('overrides', 'key=value (all keys: datamux help keys)'):args '*'
  p:option('--resume', 'continue RUN, or the newest unfinished run of the recipe'):argname '[=RUN]'
  p:option('--config', 'a Lua file that returns keys, above the recipe; may be repeated'):argname 'FILE'
    :count '*'
  p:option('--sweep', 'key=a,b or key=1..3, several: every combination as a run, one table'):argname 'KEY=LIST'
    :args '+':count '*':action 'concat'
  p:option('--stop-after', 'save and stop after 90s, 30m, 2h'):argname 'TIME'
    :convert(require('datamux.commands.values').seconds)
  p:option('--name', 'of the run and its folder; the same as name=TEXT'):target 'run_name':argname 'TEXT'
  p:option('--tag', 'a note to find the run by (datamux runs ls --tag KEY=VALUE); may be repeated'):target 'tags'
    :argname 'KEY=VALUE':count '*'
  p:flag('--no-eval', 'train and save, without the final scores')
  take(p, 'out device threads seed dry_run interactive json verbose progress download offline trust')
end

local function banner(config, session, run, version)
  local d = session.data
  local separated = d.tok and ('%s, %s + %s, '):format(config.model.kind, config.demux.kind, config.demux.read) or ''
  local cut = d.tok and (' · vocabulary %d · %d truncated at %d'):format(d.tok.vocab_size, d.train.truncated,
    config.data.length) or ''
  local plural = require 'datamux.plural'
  local lines = {
    ('%s · %s · seed %d'):format(version, require('datamux.scope').about(), config.seed),
    ('model  %s%s, %.2f M parameters (%s)'):format(separated, require('datamux.recipe').words(config),
      session.model:count() / 1e6, config.profile),
    ('data   %s · train %d · dev %d%s'):format(config.task, d.train.n, d.dev.n, cut) }
  local refusal = require('datamux.scope').refusal()
  if refusal then table.insert(lines, 2, refusal) end
  for _, s in ipairs(session.stages) do
    lines[#lines + 1] = ('plan   %s: %s of %s x N %d, lr %g'):format(s.name, plural.of(s.steps, 'step'),
      plural.of(s.loader.o.rows, 'row'), config.mux.n, s.lr)
  end
  if run then lines[#lines + 1] = ('run    %s   (Ctrl-C: stop and save)'):format(run.dir) end
  return lines
end

-- Where the small profile was taken because there is no GPU: a line that says so, and what the other would take.
local function small_profile(recipe, words, config, list, session)
  for _, e in ipairs(list) do
    if e.path == 'profile' and (e.from ~= 'derived' or e.value ~= 'small') then return nil end
  end
  if not (recipe.table.profiles and recipe.table.profiles.paper) then return nil end
  if not session.data.tok then return nil end                    -- estimate counts Transformers
  local more = { 'profile=paper', unpack(words) }
  local paper, estimate = recipe:resolve(more), require 'datamux.estimate'
  local d = session.data
  local facts = { train = d.train.n, length = d.train.offset[d.train.n] / d.train.n, vocab = d.tok.vocab_size }
  local work, rate = estimate.plan(paper, facts), estimate.rate()
  return ('size   small (%d x %d): no GPU is used. profile=paper (%d x %d) would take about %s here (%.1e operations '
    .. 'at %.0f GFLOP/s)'):format(config.model.layers, config.model.width, paper.model.layers, paper.model.width,
    estimate.words(work / rate), work, rate / 1e9)
end

-- The values that -v and -vv show: those that are not defaults, or all.
local function shown_values(list, verbose)
  local launch, chosen = require 'datamux.launch', {}
  for _, e in ipairs(list) do
    if verbose > 1 or e.from ~= 'default' and e.value ~= e.default then chosen[#chosen + 1] = e end
  end
  return launch.table_lines(chosen)
end

local function dry_run(o, list)
  local launch, json = require 'datamux.launch', require 'datamux.json'
  if not o.json then
    print(table.concat(launch.table_lines(list), '\n'))
    return 0
  end
  local out = json.list {}
  for i, e in ipairs(list) do out[i] = { key = e.path, value = e.value, from = e.from } end
  print(json.encode(out, true))
  return 0
end

-- What a person would type again to continue the run `id`; more: the words of this combination of a sweep.
local function resume_command(words, id, more)
  local out, i, word = { 'datamux' }, 1, require('datamux.sys').word
  local function add(w) out[#out + 1] = word(w) end
  while i <= #words do
    local w = words[i]
    if w == '--stop-after' then
      i = i + 1
    elseif w == '--sweep' then
      while words[i + 1] and words[i + 1]:sub(1, 1) ~= '-' do i = i + 1 end
    elseif not (w:find '^%-%-resume' or w:find '^%-%-stop%-after=' or w:find '^%-%-sweep=') then
      add(w)
    end
    i = i + 1
  end
  for _, w in ipairs(more or {}) do add(w) end
  out[#out + 1] = more and '--resume=' .. id or '--resume'
  return table.concat(out, ' ')
end

-- The folder of this run: a new one, or with --resume one that goes on.
local function open_run(recipe, config, list, o, tags, more)
  local rundir = require 'datamux.rundir'
  local function resume(id) return resume_command(o.words, id, more) end
  if o.resume then
    return rundir.find { out = o.out, name = config.name, list = list, run = o.resume ~= '' and o.resume or nil,
                         tags = tags, resume = resume }
  end
  local unfinished = rundir.unfinished(o.out, config.name)
  local run = rundir.create { out = o.out, name = config.name, recipe = recipe.file, list = list, args = o.words,
                              tags = tags, resume = resume }
  return run, unfinished
end

local signals = { [2] = 'Ctrl-C', [10] = 'SIGUSR1', [14] = '--stop-after', [15] = 'SIGTERM' }

-- What is said before the first step; the state of the checkpoint that goes on. run, unfinished: see open_run.
local function begin(session, recipe, o, list, run, unfinished)
  local checkpoint, log, config = require 'datamux.checkpoint', session.log, session.config
  local resumed
  if o.resume and checkpoint.any(run.dir) then
    resumed = checkpoint.load(run.dir, function(text) log:note(text) end)
  elseif o.resume then
    log:note 'no checkpoint was saved yet: from the start'
  end
  if resumed then session:restore(resumed) end
  local lines = banner(config, session, run, require('datamux.cli').version())
  local size = small_profile(recipe, require('datamux.launch').words(o), config, list, session)
  if size then table.insert(lines, 3, size) end
  log:banner(lines)
  if unfinished then
    log:banner { ('note   %s is unfinished (step %s); --resume continues it'):format(unfinished.dir,
      tostring(unfinished.step)) }
  end
  if (o.verbose or 0) > 0 then log:banner(shown_values(list, o.verbose)) end
end

-- Writes the reports of a finished run into its folder; returns the text.
local function write_reports(results, config, dir)
  local json, report, sys = require 'datamux.json', require 'datamux.report', require 'datamux.sys'
  report.complete(results, config, tonumber(os.getenv 'DATAMUX_GPU_PRICE'))
  local text = report.text(results, config, dir)
  sys.write(dir .. '/report.txt', text .. '\n')
  sys.write(dir .. '/report.md', report.markdown(results, config, dir))
  sys.write(dir .. '/report.json', json.encode(report.table(results, config), true) .. '\n')
  return text
end

-- Calls fn; a run in whose folder it fails is closed with the reason.
local function guarded(run, session, fn, ...)
  local errors, rundir = require 'datamux.errors', require 'datamux.rundir'
  local ok, result, more = pcall(fn, ...)
  if ok then return result, more end
  rundir.close(run, 'failed', { step = session.at.global, error = tostring(result),
    code = errors.is(result) and result.code or 1 })
  error(result, 0)
end

--- Trains and reports one resolved recipe. o: parsed options; more: words above the others. Returns exit code, results
--- (see Session:results), folder of the run, and whether a signal asked to stop when the training was over.
function M.train(recipe, o, more)
  local errors, host, launch = require 'datamux.errors', require 'datamux.host', require 'datamux.launch'
  local rundir = require 'datamux.rundir'
  local config, list = launch.resolve(recipe, o, more)
  local tags = rundir.tags(o.tags)
  if o.dry_run then return dry_run(o, list) end
  local session = require('datamux.train').new(config, { no_eval = o.no_eval })
  local run, unfinished = open_run(recipe, config, list, o, tags, more)
  session.run_dir = run.dir
  local signal
  local results, stopped = guarded(run, session, function()
    session.log = require('datamux.log').new { mode = launch.progress(o), columns = host.columns,
                                               every = config.log.every, run = run.dir,
                                               tensorboard = config.log.tensorboard }
    begin(session, recipe, o, list, run, unfinished)
    host.stoppable(true)
    local ok, results, stopped = pcall(session.run, session)
    signal = host.stoppable(false)
    session.log:close()
    if not ok then error(results, 0) end
    return results, stopped
  end)
  if stopped then
    rundir.close(run, 'stopped', { step = session.at.global, code = errors.codes.stopped })
    io.stderr:write(('stopped at %.1f %%, step %d of %s%s. Continue with:\n  %s\n'):format(100 * session:progress(),
      session.at.step, session.stages[session.at.stage].name,
      signals[signal] and (' (%s)'):format(signals[signal]) or '', run.resume))
    return errors.codes.stopped, nil, run.dir
  end
  local text = guarded(run, session, write_reports, results, config, run.dir)
  rundir.close(run, 'finished', { step = session.at.global, code = 0, accuracy = results.accuracy })
  if not more then
    print(o.json and require('datamux.json').encode(require('datamux.report').table(results, config)) or text)
  end
  if not (more or o.json) and launch.progress(o) ~= 'none' then
    io.stdout:flush()                            -- the report comes first, also where both go to one place
    io.stderr:write(('next:  datamux predict %s FILE · datamux plot %s\n'):format(run.dir, run.dir))
  end
  return 0, results, run.dir, signal ~= 0
end

function M.run(o)
  local launch = require 'datamux.launch'
  local recipe = launch.recipe(o)
  if o.interactive then return require('datamux.repl').run { recipe = recipe } end
  if o.stop_after then require('datamux.host').stop_after(o.stop_after) end
  if o.sweep and #o.sweep > 0 then return require('datamux.sweep').run(recipe, o, M.train) end
  return (M.train(recipe, o))
end

return M
