-- capture.lua -- a step that is recorded once for each shape of its inputs, and replayed: on a GPU the host then asks
-- for one thing instead of several hundred.
--
-- The first time an input of some shape comes the step runs as it is written, and grows what has to grow; the second
-- time it is recorded; from then on it is replayed. That is right because a step's tensors have the same addresses
-- every time (see datamux.scope), and seed, step and learning rate are read from the device's memory. What cannot be
-- recorded (a value read on the host, new memory) raises. Where the device does not record, every step runs as it is
-- written.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local scope = require 'datamux.scope'
local Tensor = require 'datamux.tensor'
local C, check = core.C, core.check

local M = {}
local Recorder = {}
Recorder.__index = Recorder

local LIMIT = 32                 -- recordings that are kept, those used last: inputs take turns in two places
local SEEN = 256                 -- shapes that are remembered

--- A recorder for one model's steps. on: false runs everything as it is written; so does DATAMUX_PROFILE.
function M.new(on)
  return setmetatable({ on = on and scope.records() and not os.getenv 'DATAMUX_PROFILE', entries = {}, turn = 0,
                        recorded = 0, replayed = 0 }, Recorder)
end

local function address(t) return tonumber(ffi.cast('intptr_t', t.c.data)) end

-- Appends what the device's work depends on: shapes, types and addresses of the tensors in t, and its numbers.
local function describe(t, out)
  local names = {}
  for k in pairs(t) do names[#names + 1] = k end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, k in ipairs(names) do
    local v = t[k]
    if type(v) == 'number' or type(v) == 'boolean' then
      out[#out + 1] = ('%s=%s'):format(k, tostring(v))
    elseif type(v) == 'table' and v.c then
      out[#out + 1] = ('%s:%d[%s]@%x'):format(k, v.c.dtype, table.concat(v:shape(), ','), address(v))
    elseif type(v) == 'table' and k ~= 'batch' then
      out[#out + 1] = k .. '{'
      describe(v, out)
      out[#out + 1] = '}'
    end
  end
  return out
end

local function drop(e)
  if e.graph then check(C.dm_device_capture(scope.device(), C.DM_CAPTURE_FORGET, e.graph)) end
  e.graph = nil
end

--- Forgets all recordings.
function Recorder:forget()
  for _, e in pairs(self.entries) do drop(e) end
  self.entries = {}
end

-- Makes room: drops the recording that was used longest ago where there are LIMIT, and all shapes where there are many.
local function thin(self)
  local n, graphs, oldest = 0, 0, nil
  for _, e in pairs(self.entries) do
    n = n + 1
    if e.graph then
      graphs = graphs + 1
      if not oldest or e.used < oldest.used then oldest = e end
    end
  end
  if graphs >= LIMIT then drop(oldest) end
  if n >= SEEN then self:forget() end
end

-- A place in the step's memory: one before and one after what is recorded.
local function mark() return Tensor.new({ 1 }, 'i32') end

-- Records fn and runs the recording. Collections wait: one may free memory, which a recording does not allow.
local function record(self, e, fn, ...)
  local device, graph = scope.device(), ffi.new 'void *[1]'
  local first = mark()
  local used = scope.used()
  collectgarbage 'stop'
  check(C.dm_device_capture(device, C.DM_CAPTURE_BEGIN, nil))
  core.last_status = C.DM_OK
  local ok, out = pcall(fn, ...)
  local status = C.dm_device_capture(device, C.DM_CAPTURE_END, ok and graph or nil)
  collectgarbage 'restart'
  if not ok then
    error(core.last_status == C.DM_ECAPTURE and tostring(out) .. '\n  fix: capture=false' or out, 0)
  end
  check(status)
  local last = mark()
  e.graph, e.out, e.address, e.bytes = graph, out, address(first), address(last) - address(first)
  check(C.dm_device_replay(device, graph[0]))
  self.recorded = self.recorded + 1
  -- In memory that is not one piece, the next step's tensors may lie elsewhere.
  if e.bytes ~= scope.used() - used then drop(e) end
  return out
end

-- Runs a recording on the memory it was made for: nil where that is not what the step gets now.
local function replay(self, e)
  local room = Tensor.new({ e.bytes / 256, 64 }, 'i32')        -- no dimension beyond 2^31 - 1
  if address(room) ~= e.address then
    drop(e)
    return nil
  end
  check(C.dm_device_replay(scope.device(), e.graph[0]))
  for _, t in pairs(e.out) do
    if t.c then t.c.gen = room.c.gen end        -- they live again
  end
  self.replayed = self.replayed + 1
  return e.out
end

--- Runs fn(q, ...) inside a step. q: the step's inputs, a table of tensors (of any depth; q.batch is the host's);
--- tag: text for what else fn depends on. fn returns a table whose tensors are read after it; it must do nothing else
--- that lasts outside of the device's memory, and not read q.batch. Raises (CAPTURE) for what cannot be recorded.
function Recorder:run(tag, fn, q, ...)
  if not self.on then return fn(q, ...) end
  local moves = scope.memory().moves
  if moves ~= self.moves then
    self:forget()
    self.moves = moves
  end
  local key = tag .. ' ' .. table.concat(describe(q, {}), ' ')
  local e = self.entries[key]
  self.turn = self.turn + 1
  if not e then
    thin(self)
    mark()
    local out = fn(q, ...)                       -- takes all the memory of a recording, which may take none
    mark()
    self.entries[key] = { used = self.turn }
    return out
  end
  e.used = self.turn
  if e.graph then return replay(self, e) or fn(q, ...) end
  thin(self)
  self.entries[key] = nil                        -- where this fails, the next one is run as it is written
  local out = record(self, e, fn, q, ...)
  self.entries[key] = e
  return out
end

return M
