-- log.lua -- what a run says: one live line on a terminal, plain lines elsewhere, one JSON object a line in a file.
-- Everything goes to stderr; stdout is for results.
local columns = require 'datamux.columns'
local core = require 'datamux.ffi'
local json = require 'datamux.json'
local outlier = require 'datamux.outlier'
local plural = require 'datamux.plural'
local scope = require 'datamux.scope'
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

local PLAIN = 160                  -- columns of a plain line at most

--- o: { mode = 'bar' | 'lines' | 'none', columns = function that gives the width of the terminal, every = 30 (seconds
--- between plain lines), run = folder of metrics.jsonl and log.txt, or nil, tensorboard (whether tb/ is kept beside
--- them) }. log.txt gets the plain lines in every mode.
function M.new(o)
  local self = setmetatable({ mode = o.mode or 'lines', columns = o.columns or function() return 80 end,
                              every = o.every or 30, watches = {} }, Log)
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

-- A whole line to the terminal or pipe.
local function show(self, line)
  if self.mode == 'none' then return end
  wipe(self)
  io.stderr:write(self.mode == 'lines' and stamp() .. ' ' or '', line, '\n')
end

-- A whole line to log.txt, and where wanted to the terminal or pipe.
local function tell(self, line, shown)
  if self.text then self.text:write(stamp(), ' ', line, '\n') end
  if shown then show(self, line) end
end

local function say(self, line) tell(self, line, true) end

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
  self.name, self.total, self.window = name, total, {}
  self.shown, self.told = nil, nil
  self.began = C.dm_clock()
  say(self, ('%s: %s%s'):format(name, plural.of(total, 'step'), done > 0 and (', from step %d'):format(done) or ''))
  record(self, 'event', { event = done > 0 and 'resume' or 'stage', stage = name, steps = total, from_step = done })
  if self.tensorboard and not self.events then self.events = require('datamux.tensorboard').of_run(self.run) end
end

-- Speed over the last two minutes, evaluation included: steps, examples and rows per second.
local function speed(self, r, now)
  local w = self.window
  w[#w + 1] = { now, r.step, r.examples + (w[#w] and w[#w][3] or 0), r.rows + (w[#w] and w[#w][4] or 0) }
  while #w > 2 and (w[1][1] < now - 120 or #w > 4000) do table.remove(w, 1) end
  local a, b = w[1], w[#w]
  if #w == 1 then a = { self.began, r.step - 1, 0, 0 } end
  local since = math.max(b[1] - a[1], 1e-6)
  return (b[2] - a[2]) / since, (b[3] - a[3]) / since, (b[4] - a[4]) / since
end

local function smooth(self, key, v)
  if not v then return nil end
  self.mean = self.mean or {}
  local old = self.mean[self.name .. key]
  self.mean[self.name .. key] = old and 0.95 * old + 0.05 * v or v
  return self.mean[self.name .. key]
end

-- Bytes that the device holds now.
local function memory()
  local m = scope.memory()
  return m.live + m.scratch
end

-- A notice where the loss or the norm of the gradients leaps, once for each leap.
local function watch(self, r)
  for _, key in ipairs { 'loss', 'grad_norm' } do
    local name = self.name .. ' ' .. key
    self.watches[name] = self.watches[name] or outlier.new()
    local z, mean
    if r[key] then z, mean = self.watches[name]:see(r[key]) end
    if z then
      record(self, 'event', { event = 'spike', of = key, stage = self.name, step = r.step, value = r[key], mean = mean,
                              z = z })
      say(self, ('notice: %s is %.4g at step %d, %.1f standard deviations above its running mean %.4g'):format(
        key == 'loss' and 'loss' or 'norm of the gradients', r[key], r.step, z, mean))
    end
  end
end

-- -- a line of parts -------------------------------------------------------------------------------------------------

-- Texts of parts { text, rank }, joined: those of the highest rank are left out until the line has room; rank 0 stays.
local function fit(parts, separator, room)
  local kept = { unpack(parts) }
  while true do
    local texts, last = {}, 1
    for i, p in ipairs(kept) do
      texts[i] = p[1]
      if p[2] >= kept[last][2] then last = i end
    end
    local line = table.concat(texts, separator)
    if columns.width(line) <= room or kept[last][2] == 0 then return line end
    table.remove(kept, last)
  end
end

local function short(v) return v >= 10000 and ('%.1fk'):format(v / 1000) or ('%.0f'):format(v) end

local function bar(fraction, width)
  local full = math.floor(fraction * width + 0.5)
  return ('━'):rep(full) .. ('─'):rep(width - full)
end

-- The plain line: key and value in turn.
local function plain(self, now)
  local r, parts = now.r, {}
  local function add(rank, form, ...) parts[#parts + 1] = { form:format(...), rank } end
  add(0, '%s %.1f%%', self.name, 100 * r.step / self.total)
  add(0, 'step %d/%d', r.step, self.total)
  if r.epoch then add(4, 'epoch %.2f', r.epoch) end
  add(0, 'loss %.4f', now.loss)
  if now.task then add(6, 'task %.4f', now.task) end
  if now.retrieval then add(5, 'retr %.3f %.1f%%', now.retrieval, 100 * now.hits) end
  add(1, 'lr %.1e', r.lr)
  add(0, 'ex/s %.0f', r.ex_s)
  add(2, 'rows/s %.0f', r.rows_s)
  add(3, 'mem %s', columns.binary(now.memory))
  add(0, 'eta %s', clock(now.left))
  return fit(parts, ' ', PLAIN - #stamp() - 1)
end

-- The live line.
local function live(self, now)
  local r, parts, room = now.r, {}, self.columns() - 1
  local function add(rank, form, ...) parts[#parts + 1] = { form:format(...), rank } end
  add(3, '%3.0f%% %s %s', 100 * r.step / self.total, bar(r.step / self.total, room < 100 and 10 or 24), self.name)
  add(0, '%s/%s', columns.grouped(r.step), columns.grouped(self.total))
  if r.epoch then add(7, 'epoch %.2f', r.epoch) end
  add(0, 'loss %.4f', now.loss)
  if now.task then add(8, 'task %.4f', now.task) end
  if now.retrieval then add(9, 'retr %.3f %.1f%%', now.retrieval, 100 * now.hits) end
  add(4, 'lr %.1e', r.lr)
  add(1, '%s ex/s', short(r.ex_s))
  add(5, '%s rows/s', short(r.rows_s))
  add(6, '%s', columns.binary(now.memory))
  add(2, 'eta %s', clock(now.left))
  return fit(parts, ' · ', room)
end

--- After each step: { step, epoch (where the stage has epochs), loss, task, retrieval, hits, lr, grad_norm (where it is
--- known), examples, rows }. Losses shown are running means.
function Log:step(r)
  local now = C.dm_clock()
  local per_second
  per_second, r.ex_s, r.rows_s = speed(self, r, now)
  local seen = { r = r, loss = smooth(self, 'loss', r.loss), task = smooth(self, 'task', r.task),
                 retrieval = smooth(self, 'retrieval', r.retrieval), hits = smooth(self, 'hits', r.hits),
                 left = (self.total - r.step) / math.max(per_second, 1e-9) }
  self.last = seen
  if r.step % 10 == 0 or r.step == 1 or r.step == self.total then
    r.mem = memory()
    record(self, 'train', r)
  end
  watch(self, r)
  local ends = r.step == self.total
  local function due(last, wait) return not last or now - last >= wait or ends end
  if due(self.told, self.every) then
    self.told, seen.memory = now, memory()
    tell(self, plain(self, seen), self.mode == 'lines')
  end
  if self.mode == 'bar' and due(self.shown, 0.1) then
    self.shown, seen.memory = now, seen.memory or memory()
    io.stderr:write('\r\27[K', live(self, seen))
    io.stderr:flush()
    self.drawn = true
  end
end

-- -- evaluations -----------------------------------------------------------------------------------------------------

-- A row of the table of evaluations, below a head where it has other columns than the row before.
local function row(self, e)
  local seen, heads, cells = self.last, {}, {}
  local function add(rank, width, head, form, v)
    if not v then return end
    heads[#heads + 1] = { ('%' .. width .. 's'):format(head), rank }
    cells[#cells + 1] = { ('%' .. width .. 's'):format(form and form:format(v) or v), rank }
  end
  add(2, 6, 'epoch', '%.2f', seen.r.epoch)
  add(0, 7, 'step', nil, columns.grouped(e.step))
  add(1, 7, 'loss', '%.4f', seen.loss)
  add(4, 7, 'task', '%.4f', seen.task)
  add(5, 7, 'retr', '%.4f', seen.retrieval)
  add(3, 8, 'lr', '%.1e', seen.r.lr)
  local name = e.metric and 'dev ' .. e.metric or 'held-out retrieval'
  add(0, #name, name, nil, columns.number(e.value or e.retrieval))
  add(0, 9, 'best', nil, e.highest and columns.number(e.highest) .. (e.best and '*' or ' '))
  add(6, 9, 'ex/s', nil, columns.grouped(seen.r.ex_s))
  add(1, 8, 'time', nil, clock(e.seconds))
  local head = fit(heads, ' ', self.columns() - 1)
  if head ~= self.head then
    self.head = head
    show(self, head)
  end
  show(self, fit(cells, ' ', self.columns() - 1))
end

--- After an evaluation: { stage, step, seconds (of the run so far), metric (its name), value, highest (best so far),
--- scored, total, best (whether it is this one) } or { stage, step, seconds, retrieval, asked }. On a terminal a row of
--- a table, else a line.
function Log:eval(e)
  record(self, 'eval', e)
  local line = e.metric and ('dev %s %s (%d of %d scored) best %s'):format(e.metric, columns.number(e.value), e.scored,
    e.total, e.best and 'yes' or 'no') or ('held-out retrieval %.4f (%s)'):format(e.retrieval,
    plural.of(e.asked, 'position'))
  tell(self, ('eval  step %d %s'):format(e.step, line), self.mode == 'lines')
  if self.mode == 'bar' then row(self, e) end
end

--- A checkpoint was written: { name, reason, bytes, seconds }. A terminal shows the one that ends a run.
function Log:saved(s)
  if s.reason == 'time' then return end              -- as often as every second
  tell(self, ('save  %s reason=%s %s %.1f s'):format(s.name, s.reason, columns.binary(s.bytes), s.seconds),
    self.mode == 'lines')
  if self.mode == 'bar' and s.reason == 'stop' then show(self, ('saved %s (%.1f s)'):format(s.name, s.seconds)) end
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
