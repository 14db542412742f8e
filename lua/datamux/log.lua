-- log.lua -- what a run says: one live line on a terminal, plain lines elsewhere, one JSON object a line in a file.
-- Everything goes to stderr; stdout is for results.
local core = require 'datamux.ffi'
local json = require 'datamux.json'
local plural = require 'datamux.plural'
local C = core.C

local Log = {}
Log.__index = Log

local M = {}

-- A file to add lines to; a last line that a killed process left torn is ended first.
local function append(path)
  local old = io.open(path, 'rb')
  local torn = old and (old:seek 'end' or 0) > 0 and old:seek('end', -1) and old:read(1) ~= '\n'
  if old then old:close() end
  local f = assert(io.open(path, 'a'))
  if torn then f:write '\n' end
  return f
end

--- o: { mode = 'bar' | 'lines' | 'none', columns, every = 30 (seconds between plain lines), run = folder of
--- metrics.jsonl and log.txt, or nil, tensorboard (whether tb/ is kept beside them) }.
function M.new(o)
  local self = setmetatable({ mode = o.mode or 'lines', columns = o.columns or 80, every = o.every or 30 }, Log)
  if o.run then
    self.run, self.tensorboard = o.run, o.tensorboard
    self.metrics = append(o.run .. '/metrics.jsonl')
    self.text = append(o.run .. '/log.txt')
    self.metrics:setvbuf 'line'
    self.text:setvbuf 'line'
  end
  return self
end

local function clock(seconds)
  seconds = math.max(0, math.floor(seconds + 0.5))
  local h, m, s = math.floor(seconds / 3600), math.floor(seconds / 60) % 60, seconds % 60
  return h > 0 and ('%d:%02d:%02d'):format(h, m, s) or ('%d:%02d'):format(m, s)
end

local function stamp() return os.date '!%Y-%m-%dT%H:%M:%SZ' end

local function wipe(self)
  if self.mode == 'bar' and self.drawn then
    io.stderr:write '\r\27[K'
    self.drawn = false
  end
end

-- A whole line to the terminal or pipe, and to log.txt.
local function say(self, line)
  if self.text then self.text:write(stamp(), ' ', line, '\n') end
  if self.mode == 'none' then return end
  wipe(self)
  io.stderr:write(self.mode == 'lines' and stamp() .. ' ' or '', line, '\n')
end

local function record(self, kind, fields)
  if not self.metrics then return end
  local out = { t = os.time(), kind = kind }
  for k, v in pairs(fields) do
    if type(v) ~= 'table' then out[k] = v end
  end
  self.metrics:write(json.encode(out), '\n')
  if self.events then self.events:add(out) end
end

--- Lines that open a run.
function Log:banner(lines)
  for _, line in ipairs(lines) do
    if self.text then self.text:write(line, '\n') end
    if self.mode ~= 'none' then io.stderr:write(line, '\n') end
  end
end

--- A stage begins: `total` steps, `done` of them taken before (resume).
function Log:stage(name, total, done)
  self.name, self.total, self.window, self.shown = name, total, {}, nil
  self.began = C.dm_clock()
  say(self, ('%s: %s%s'):format(name, plural.of(total, 'step'), done > 0 and (', from step %d'):format(done) or ''))
  record(self, 'event', { event = done > 0 and 'resume' or 'stage', stage = name, steps = total, from_step = done })
  if self.tensorboard and not self.events then self.events = require('datamux.tensorboard').of_run(self.run) end
end

-- Speed over the last two minutes, evaluation included: steps and examples per second.
local function speed(self, r, now)
  local w = self.window
  w[#w + 1] = { now, r.step, r.examples + (w[#w] and w[#w][3] or 0), r.rows + (w[#w] and w[#w][4] or 0) }
  while #w > 2 and (w[1][1] < now - 120 or #w > 4000) do table.remove(w, 1) end
  local a, b = w[1], w[#w]
  local since = #w > 1 and b[1] - a[1] or now - self.began
  local steps = #w > 1 and b[2] - a[2] or 1
  local examples = #w > 1 and b[3] - a[3] or r.examples
  since = math.max(since, 1e-6)
  return steps / since, examples / since
end

local function smooth(self, key, v)
  if not v then return nil end
  self.mean = self.mean or {}
  local old = self.mean[self.name .. key]
  self.mean[self.name .. key] = old and 0.95 * old + 0.05 * v or v
  return self.mean[self.name .. key]
end

local function bar(fraction, width)
  local full = math.floor(fraction * width + 0.5)
  return ('━'):rep(full) .. ('─'):rep(width - full)
end

--- After each step: { step, loss, task, retrieval, hits, lr, examples, rows }. Losses shown are running means.
function Log:step(r)
  local now = C.dm_clock()
  local per_second, examples = speed(self, r, now)
  local task, retrieval = smooth(self, 'task', r.task), smooth(self, 'retrieval', r.retrieval)
  local hits, loss = smooth(self, 'hits', r.hits), smooth(self, 'loss', r.loss)
  r.ex_s = examples
  if r.step % 10 == 0 or r.step == 1 or r.step == self.total then record(self, 'train', r) end
  local wait = self.mode == 'bar' and 0.1 or self.every
  if self.shown and now - self.shown < wait and r.step < self.total then return end
  self.shown = now
  local parts = { ('step %d/%d'):format(r.step, self.total), ('loss %.4f'):format(loss) }
  if task then parts[#parts + 1] = ('task %.4f'):format(task) end
  if retrieval then parts[#parts + 1] = ('retrieval %.3f (%.1f %% right)'):format(retrieval, 100 * hits) end
  parts[#parts + 1] = ('lr %.1e'):format(r.lr)
  parts[#parts + 1] = ('%.0f ex/s'):format(examples)
  parts[#parts + 1] = 'eta ' .. clock((self.total - r.step) / math.max(per_second, 1e-9))
  local percent = ('%3.0f%% '):format(100 * r.step / self.total)
  local body = self.name .. ' ' .. table.concat(parts, ' · ')
  if self.mode ~= 'bar' then
    say(self, self.name .. ' ' .. percent .. table.concat(parts, '  '))
    return
  end
  local line = percent .. bar(r.step / self.total, 16) .. ' ' .. body
  local width = select(2, line:gsub('[^\128-\191]', ''))
  if width >= self.columns then line = percent .. body:sub(1, self.columns - 6) end
  io.stderr:write('\r\27[K', line)
  io.stderr:flush()
  self.drawn = true
end

--- After an evaluation: { stage, step, metric (its name), value, scored, total, best } or { retrieval, asked }.
function Log:eval(e)
  record(self, 'eval', e)
  if e.metric then
    say(self, ('  step %d: dev %s %.4f (%d of %d scored)%s'):format(e.step, e.metric, e.value, e.scored, e.total,
      e.best and ' best' or ''))
  else
    say(self, ('  step %d: held-out retrieval accuracy %.4f (%s)'):format(e.step, e.retrieval,
      plural.of(e.asked, 'position')))
  end
end

--- Something that happened, with fields for metrics.jsonl.
function Log:event(name, fields)
  fields = fields or {}
  fields.event = name
  record(self, 'event', fields)
end

--- A notice to the person.
function Log:note(text) say(self, text) end

function Log:close()
  wipe(self)
  if self.metrics then
    self.metrics:close()
    self.text:close()
    self.metrics, self.text = nil, nil
    if self.events then self.events:close() end
    self.events = nil
  end
end

return M
