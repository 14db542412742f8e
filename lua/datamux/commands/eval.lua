-- commands/eval.lua -- datamux eval MODEL [DATA]: the full report of a finished model.
local M = { name = 'eval', summary = 'score a finished model: the full report' }

local whole = require('datamux.commands.values').whole

local function floor(text)
  local name, value = text:match '^([%w_]+)=([%d.eE+-]+)$'
  if tonumber(value) then return { name, tonumber(value) } end
  return nil, 'METRIC=NUMBER, as accuracy=0.80'
end

function M.configure(p, take)
  p:argument('model', 'a run (folder, name or id), RUN:best, RUN:last, RUN:step-N, or a model folder')
  p:argument('data', 'dev (the default), another split of the model\'s task, glue/TASK:SPLIT, or a file'):args '?'
  p:option('--text', 'a file\'s column of the text (as in the recipe, else sentence; 1 for conll)'):argname 'COLUMN'
  p:option('--pair', 'a file\'s column of the second text'):argname 'COLUMN'
  p:option('--label', 'a file\'s column of the label (label; the last for conll); of images, the IDX file of labels')
    :argname 'COLUMN'
  p:option('--in', 'the file\'s format (default: by its name)'):target 'input'
    :choices { 'tsv', 'csv', 'jsonl', 'conll' }
  p:option('--mates', 'groupings with other neighbours that scores are averaged over'):convert(whole(1)):argname 'K'
  p:option('--ensemble', 'read each text in K slots and average'):convert(whole(1)):default '1':argname 'K'
  p:flag('--int8', 'products in 8-bit integers (CPU)')
  p:flag('--bf16', 'the network in bf16 (CUDA; CPU with AVX512-BF16)')
  p:option('--protocol', 'which score counts: all examples, or as the published scripts, which drop the tail')
    :choices { 'full', 'paper' }:default 'full'
  p:option('--bootstrap', 'samples of the 95 % interval'):convert(whole(0)):default '1000':argname 'SAMPLES'
  p:option('--fail-under', 'exit with 10 where the score is lower; several times for several'):target 'floors'
    :convert(floor):count '*':argname 'METRIC=X'
  take(p, 'device threads json download offline trust')
end

-- Texts per second and memory of the run.
local function costs(r)
  local scope = require 'datamux.scope'
  r.examples_per_second, r.peak, r.device = #r.groupings * r.total / r.seconds, scope.memory().peak, scope.about()
end

-- Floors that are not met, as sentences; raises (E205) for a metric that the task has not.
local function below(floors, r, o)
  local errors, out = require 'datamux.errors', {}
  for _, f in ipairs(floors) do
    local value = r.metrics[f[1]]
    if o.protocol == 'paper' then value = f[1] == r.metric and r.paper.value or nil end
    if not value then
      errors.raise('E205', { what = ("--fail-under: '%s' is not scored with --protocol %s"):format(f[1], o.protocol),
        fix = ('--fail-under %s=%g'):format(r.metric, f[2]) })
    end
    if value < f[2] then out[#out + 1] = ('%s is %.4f, below %g'):format(f[1], value, f[2]) end
    if value ~= value then out[#out + 1] = ('%s is undefined, expected at least %g'):format(f[1], f[2]) end
  end
  return out
end

local function check_floors(floors, task)
  local errors = require 'datamux.errors'
  for _, f in ipairs(floors) do
    local known = false
    for _, name in ipairs(task.metrics) do known = known or name == f[1] end
    if not known then
      local near = errors.nearest(f[1], task.metrics)
      errors.raise('E205', { what = ("--fail-under: '%s' is no metric of this task, expected one of %s"):format(f[1],
        table.concat(task.metrics, ', ')), near = near,
        fix = ('--fail-under %s=%g'):format(near or task.metrics[1], f[2]) })
    end
  end
end

function M.run(o)
  local evaluate, report, json = require 'datamux.evaluate', require 'datamux.report', require 'datamux.json'
  require('datamux.launch').device(o.device, o.threads)
  local fit, saved = require 'datamux.models.fit', require 'datamux.saved'
  local model = saved.load(o.model, { int8 = o.int8, bf16 = o.bf16 })
  local set = require('datamux.score_set').open(model, o.data or 'dev', o)
  local floors = o.floors or {}
  check_floors(floors, set.task)
  local options = saved.options(model)
  options.ensemble, options.bootstrap = o.ensemble, o.bootstrap
  local r = evaluate.score(model.model, set, options, o.mates or (model.n > 1 and model.config.eval.groupings or 1))
  options.ensemble = 1
  if model.n > 1 then r.paper = evaluate.paper(model.model, set, options) end
  if model.n > 1 and model.model.retrieve and fit.retrieves(model.config) and not set.task.foreign then
    r.retrieval, r.retrieval_asked = evaluate.retrieval(model.model, set, options)
  end
  costs(r)
  r.data, r.model, r.step, r.notices = set.name, model.path, model.step, set.notices
  if o.json then
    print(json.encode(report.table(r, model.config)))
  else
    print(report.scores(r, model))
  end
  io.stdout:flush()                              -- before what stderr says of it
  local low = below(floors, r, o)
  for _, text in ipairs(low) do io.stderr:write('quality gate: ', text, '\n') end
  return #low > 0 and require('datamux.errors').codes.gate or 0
end

return M
