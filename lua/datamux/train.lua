-- train.lua -- a session: what a recipe's configuration becomes, and the loop that trains it.
--
-- Two stages over the same loop: retrieval warm-up, then the task. Everything a step does is a function of
-- (seed, step): order of the data, dropout, which instances live, which are asked for. So a run that was cut off
-- continues to the same bits from its last checkpoint.
local core = require 'datamux.ffi'
local scope = require 'datamux.scope'
local tape = require 'datamux.tape'
local point = require 'datamux.ops.point'
local Module = require 'datamux.nn.module'
local Optimiser = require 'datamux.optim'
local schedule = require 'datamux.schedule'
local evaluate = require 'datamux.evaluate'
local metrics = require 'datamux.metrics'
local assemble = require 'datamux.assemble'
local errors = require 'datamux.errors'
local estimate = require 'datamux.estimate'
local ahead = require 'datamux.ahead'
local capture = require 'datamux.capture'
local checkpoint = require 'datamux.checkpoint'
local conll = require 'datamux.data.conll'
local fit = require 'datamux.models.fit'
local json = require 'datamux.json'
local saved = require 'datamux.saved'
local C = core.C

local Session = {}
Session.__index = Session

local M = {}

--- The parts a configuration names, ready to train: tokenizer, data, model, optimiser, stages.
--- o: { run = run directory or nil (nothing is written), log = log, resume = state of a checkpoint or nil, room = bytes
--- of memory there are (default: what the device says), no_eval = whether the final scores are left out }.
--- Raises a user error (with an exit code) before any work when data are missing or do not fit, and when a step would
--- take more memory than there is.
function M.new(config, o)
  local self = setmetatable({ config = config, run_dir = o.run, log = o.log, no_eval = o.no_eval }, Session)
  scope.precision(config.precision)
  self.data = assemble.data(config)
  local model = assemble.model(config, self.data)
  self.stages = assemble.stages(config, self.data)
  estimate.fit(config, model, self.data, self.stages, o.room or scope.room())
  self.model = Module.build(model, config.seed)
  if self.model.encoder then self.model.encoder:recomputes(config.train.recompute) end
  self.optimiser = Optimiser.new(self.model, { kind = config.train.optimiser })
  self.recorder = capture.new(config.capture)
  self.inputs = ahead.new(function(...) return self:prepare(...) end)
  self.at = { stage = 1, step = 0, global = 0, update = 0, seconds = 0, best = nil, history = {} }
  if o.resume then self:restore(o.resume) end
  return self
end

-- -- one step ------------------------------------------------------------------------------------------

-- Instances mixed in at this step: from N/8 to N over the first `grow` of the stage.
local function alive(stage, step, n)
  if stage.grow <= 0 then return n end
  local k = n / 8 + (n - n / 8) * (step - 1) / (stage.grow * stage.steps)
  return math.max(1, math.min(n, math.ceil(k)))
end

-- Forward pass and loss of a prepared batch; returns the loss tensor and the model's outputs.
local function objective(model, q, stage)
  local out = model:forward(q)
  local loss
  if out.task and out.retrieval then
    loss = point.add(point.scale(out.task, 1 - stage.alpha), point.scale(out.retrieval, stage.alpha))
  else
    loss = out.task or out.retrieval
  end
  return point.scale(loss, 1 / stage.accumulate), out
end

-- Passes over the training set after `step` updates; nil in the warm-up, which counts steps.
local function epoch_of(stage, step)
  return stage.task and step * stage.accumulate / stage.loader:steps_per_epoch() or nil
end

--- Gradients of a prepared batch, which stay in the parameters' block: what is recorded where the device can. stage:
--- { alpha, accumulate }. Returns { loss, task, retrieval, hits (tensors), written (parameters that have a gradient) }.
function M.differentiate(q, model, stage)
  local loss, out = tape.recording(objective, model, q, stage)
  tape.backward(loss)
  local written = {}
  for _, e in ipairs(model.block.list) do
    if e.tensor.grad then written[#written + 1] = e.tensor end
  end
  return { loss = loss, task = out.task, retrieval = out.retrieval, hits = out.hits, written = written }
end

--- The inputs of part `part` (from 0) of a stage's step, number `global` of all batches.
function Session:prepare(stage, step, part, global)
  local per_epoch = stage.loader:steps_per_epoch()
  local index = (step - 1) * stage.accumulate + part
  local batch = stage.loader:batch(math.floor(index / per_epoch), index % per_epoch)
  return self.model:prepare(batch, {
    seed = self.config.seed, step = global, task = stage.task, alive = alive(stage, step, self.config.mux.n),
    retrieval = (not stage.task or stage.alpha > 0) and stage.targets or 0 })
end

-- After a part was asked for: while it runs, the inputs of the next one of the stage are made.
local function leave(self, stage, step, part)
  if part + 1 < stage.accumulate then
    self.inputs:leave(stage, step, part + 1, self.at.global + 1)
  elseif step < stage.steps then
    self.inputs:leave(stage, step + 1, 0, self.at.global + 1)
  else
    self.inputs:leave()
  end
end

local function gradients(self, stage, step, part)
  local q = self.inputs:take(stage, step, part, self.at.global)
  local out = self.recorder:run(stage.name .. (part == 0 and '' or ', added'), M.differentiate, q, self.model, stage)
  local batch = q.batch
  leave(self, stage, step, part)
  for _, t in ipairs(out.written) do t.grad = t.store end
  if part + 1 == stage.accumulate then self.optimiser:measure() end       -- reading the loss waits for both
  local r = { loss = out.loss:item() * stage.accumulate, examples = batch.n, rows = batch.B }
  if out.task then r.task = out.task:item() end
  if out.retrieval then
    r.retrieval = out.retrieval:item()
    local hits = out.hits:host()
    r.hits = hits[0] / math.max(hits[1], 1)
  end
  return r
end

-- Raises E601 for a value that is no number, or infinite.
local function finite(what, v, stage, step)
  if v == v and math.abs(v) < math.huge then return end
  errors.raise('E601', ('%s became %s at step %d of %s\n  try: a lower lr (now %g), or a smaller clip (now %g)'):format(
    what, tostring(v), step, stage.name, stage.lr, stage.clip))
end

--- One update of the stage at `step` (from 1). Returns { loss, task, retrieval, hits, examples, rows, lr, epoch (of the
--- task), grad_norm (where it clips) }.
function Session:step(stage, step)
  local total = { loss = 0, examples = 0, rows = 0 }
  local lr = stage.lr * schedule.factor(stage.schedule, step, stage.steps, stage.warmup)
  self.model:train(true)
  for _, e in ipairs(self.model.block.list) do e.tensor.grad = nil end      -- that a step left which failed
  for part = 0, stage.accumulate - 1 do
    self.at.global = self.at.global + 1
    scope.knobs { seed = self.config.seed, step = self.at.global, lr = lr, update = step }
    local r = scope.step(gradients, self, stage, step, part)
    for k, v in pairs(r) do
      total[k] = (k == 'examples' or k == 'rows') and total[k] + v or (total[k] or 0) + v / stage.accumulate
    end
  end
  total.grad_norm = self.optimiser:gradient_norm()
  finite('loss', total.loss, stage, step)
  finite('norm of the gradients', total.grad_norm or 0, stage, step)
  self.optimiser:step()
  total.lr, total.step, total.epoch = lr, step, epoch_of(stage, step)
  return total
end

-- -- the loop ------------------------------------------------------------------------------------------

-- How batches of an evaluation are made, for evaluate.score.
function Session:evaluation_options()
  local c = self.config
  return { rows = self.data.eval_rows, group = c.mux.n, length = c.data.length, pad = self.data.pad,
           multiple = c.data.multiple, fixed = c.data.fixed, bucket = c.data.bucket }
end

-- Evaluates the running stage; the task stage keeps the best. began: when the step that came before did.
function Session:evaluate(stage, step, began)
  local o = self:evaluation_options()
  local e = { stage = stage.name, step = step, split = 'dev' }
  if stage.task then
    o.detail = false
    local r = evaluate.score(self.model, self.data.dev, o, 1)
    for name, value in pairs(r.metrics) do e[name] = value end
    e.metric, e.value, e.scored, e.total = r.metric, r.value, r.scored, r.total
    local best = self.at.best
    e.best = not best or metrics.better(r.metric, r.value, best.value)
    if e.best then
      self.at.best = { metric = r.metric, value = r.value, accuracy = r.accuracy, step = step,
                       epoch = epoch_of(stage, step) }
    end
    e.highest = self.at.best.value
  else
    e.retrieval, e.asked = evaluate.retrieval(self.model, self.data.held_out, o)
  end
  self.at.history[#self.at.history + 1] =
    { stage = stage.name, step = step, metric = e.metric, value = e.value, accuracy = e.accuracy,
      retrieval = e.retrieval }
  e.seconds = self.at.seconds + C.dm_clock() - began
  self.log:eval(e)
  return e
end

--- Saves model, optimiser and position as a checkpoint; reason 'best', 'time', 'stop' or 'end' (of a stage). Nothing
--- without a run directory.
function Session:save(reason)
  if not self.run_dir then return end
  local began = C.dm_clock()
  local name, bytes = checkpoint.save(self.run_dir, self.at.global, {
    model = self.model:named(), optimiser = self.optimiser:state(), state = self.at, reason = reason,
    keep = self.config.save.keep })
  self.saved_at = C.dm_clock()
  self.save_took = self.saved_at - began
  self.log:saved { name = name, reason = reason, bytes = bytes, seconds = self.save_took }
end

--- Part of the plan that is done, 0 .. 1.
function Session:progress()
  local all, done = 0, 0
  for k, stage in ipairs(self.stages) do
    all = all + stage.steps
    done = done + (k < self.at.stage and stage.steps or k == self.at.stage and self.at.step or 0)
  end
  return all > 0 and done / all or 1
end

--- Seconds from one checkpoint to the next. every: save.every, or nil; took: seconds of the last one, or nil. What is
--- not said is 50 times what the last one took, at least 1 and at most 600: saving takes no more than 2 % of the time,
--- and a run that is killed loses little more than it must.
function M.interval(every, took) return every or math.min(600, math.max(1, 50 * (took or 0))) end

--- Continues from what checkpoint.load returned.
function Session:restore(from)
  checkpoint.copy(from.model, self.model:named(), 'model')
  self.model:refresh()
  checkpoint.copy(from.optimiser, self.optimiser:state(), 'optimiser')
  self.at = from.state
  self.at.history = self.at.history or {}
end

-- Runs a stage from where it stands; returns 'stopped' when a signal asked for it, however early that came.
function Session:run_stage(stage)
  local at, log = self.at, self.log
  self.optimiser.o.beta1, self.optimiser.o.beta2 = stage.beta1, stage.beta2
  self.optimiser.o.eps, self.optimiser.o.decay, self.optimiser.o.clip = stage.eps, stage.decay, stage.clip
  if at.step == 0 then self.optimiser:reset() end
  log:stage(stage.name, stage.steps, at.step)
  self.saved_at = C.dm_clock()
  while at.step < stage.steps do
    local t = C.dm_clock()
    local r = self:step(stage, at.step + 1)
    at.step = at.step + 1
    r.stage = stage.name
    log:step(r)
    local done = false
    if at.step % stage.every == 0 or at.step == stage.steps then
      local e = self:evaluate(stage, at.step, t)
      at.seconds = at.seconds + C.dm_clock() - t
      t = C.dm_clock()
      if e.best then self:save 'best' end
      done = stage.stop and e.retrieval and e.retrieval >= stage.stop
      if stage.patience and self.at.best and (at.step - self.at.best.step) / stage.every >= stage.patience then
        done = true
      end
    end
    at.seconds = at.seconds + C.dm_clock() - t
    if C.dm_interrupted() > 0 or self.stop_asked then
      C.dm_interrupt_clear()
      self:save 'stop'
      return 'stopped'
    end
    if C.dm_clock() - self.saved_at > M.interval(self.config.save.every, self.save_took) then self:save 'time' end
    if done then break end
  end
  at.stage, at.step = at.stage + 1, 0
  self:save 'end'
end

--- Trains all stages, then reports. Returns results (see results), or nil, 'stopped' after Ctrl-C (state saved).
function Session:run()
  if self.run_dir then saved.begin(self) end
  while self.at.stage <= #self.stages do
    if self:run_stage(self.stages[self.at.stage]) == 'stopped' then return nil, 'stopped' end
  end
  local results = self:results()
  if self.run_dir then saved.finish(self, results) end
  return results
end

--- Final scores, with the best weights where a run directory holds them: what evaluate.score returns, and where asked
--- for { paper (see evaluate.paper), ensemble = { k, value, metrics } }, where it was trained { retrieval,
--- retrieval_asked, retrieval_all }, and { seconds (of the run), peak, best_step, best_epoch, parameters, device,
--- examples_per_second, history, notices (what was done to the data), no_eval (true where nothing was scored) }.
function Session:results()
  local o = self:evaluation_options()
  local best, why
  if self.run_dir and self.at.best then best, why = checkpoint.load_best(self.run_dir) end
  if why then self.log:note(why .. ': the last weights are scored') end
  if best then
    checkpoint.copy(best.model, self.model:named(), 'model')
    self.model:refresh()
  end
  local r, wish, dev = {}, self.config.eval, self.data.dev
  if self.at.best and not self.no_eval then
    o.bootstrap = wish.bootstrap
    r = evaluate.score(self.model, dev, o, wish.groupings)
    r.examples_per_second = wish.groupings * r.total / r.seconds
    if wish.protocol == 'paper' then r.paper = evaluate.paper(self.model, dev, o) end
    if wish.ensemble > 1 then
      o.ensemble, o.detail = wish.ensemble, false
      local e = evaluate.score(self.model, dev, o, 1)
      r.ensemble = { k = wish.ensemble, value = e.value, metrics = e.metrics }
    end
  end
  if self.at.best then r.best_step, r.best_epoch = self.at.best.step, self.at.best.epoch end
  if fit.retrieves(self.config) and not self.no_eval then
    r.retrieval, r.retrieval_asked = evaluate.retrieval(self.model, self.data.held_out, o)
    o.all = true
    if wish.retrieval == 'all' then r.retrieval_all = evaluate.retrieval(self.model, self.data.held_out, o) end
  end
  r.seconds, r.history = self.at.seconds, self.at.history
  r.peak, r.parameters = scope.memory().peak, self.model:count()
  r.device, r.no_eval = scope.about(), self.no_eval or nil
  local task = self.data.task
  r.notices = json.list { conll.converted(task.train.scheme) or conll.converted(task.dev.scheme) }
  return r
end

M.Session = Session
return M
