-- scope.lua -- who owns memory: the device, the step's arena, lasting blocks; and the step's knobs.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local C, check = core.C, core.check

local M = {}

local device                 -- dm_device *, opened on first use
local step_arena             -- dm_arena * of the step, made once
local current                -- step_arena while a step runs, else nil
local pressure = 0           -- bytes of lasting memory handed out since the last collection
local out_device, out_arena = ffi.new 'dm_device *[1]', ffi.new 'dm_arena *[1]'
local knobs = ffi.new 'dm_knobs'
local memory = ffi.new 'dm_memory'

M.compute = 'f32'            -- type of activations and of the weights that ops read: Tensor.new's default

--- The device in use: `name` ('auto', 'cpu', 'cuda', 'cuda:1') opens it, and is only allowed before first use.
--- Default: DATAMUX_DEVICE, else auto. Raises with the reason where it cannot run.
function M.device(name)
  if not device then
    check(C.dm_device_open(out_device, name or os.getenv 'DATAMUX_DEVICE' or 'auto'))
    device = out_device[0]
  elseif name then
    check(C.dm_device_open(out_device, name))
    if out_device[0] ~= device then
      core.raise(('device: %s is in use already, expected %s from the start'):format(
        ffi.string(C.dm_device_name(device)), name))
    end
  end
  return device
end

--- "cpu (2 threads, AVX-512)"
function M.about()
  local d = M.device()
  return ('%s (%s)'):format(ffi.string(C.dm_device_name(d)), ffi.string(C.dm_device_about(d)))
end

--- Why 'auto' took the CPU although a CUDA backend is there, or nil.
function M.refusal()
  local text = ffi.string(C.dm_device_refusal())
  return text ~= '' and text or nil
end

--- Sets the compute type: 'f32', or 'bf16' where the device takes it; before the model is built. Raises where it does
--- not.
function M.precision(name)
  if name ~= 'f32' and name ~= 'bf16' then
    core.raise(("precision: '%s', expected f32 or bf16"):format(tostring(name)))
  end
  check(C.dm_device_computes(M.device(), core.dtypes[name]))
  M.compute = name
end

local function collect_if_needed(bytes)
  pressure = pressure + bytes
  if pressure < 256e6 then return end
  check(C.dm_device_memory(M.device(), memory))
  if pressure > memory.live / 4 then
    pressure = 0
    collectgarbage()
    collectgarbage()         -- the first call only queues finalisers of cdata
  end
end

--- Storage for descriptor c: from the step's arena inside a step, else (or with `lasting`) a block of its own.
--- Returns the owner to keep beside c, nil inside a step.
function M.alloc(c, lasting)
  if current and not lasting then
    check(C.dm_tensor_alloc(c, current))
    return nil
  end
  collect_if_needed(C.dm_tensor_bytes(c))
  check(C.dm_arena_new(out_arena, M.device()))
  local arena = ffi.gc(out_arena[0], C.dm_arena_free)
  local status = C.dm_tensor_alloc(c, arena)
  if status == C.DM_ENOMEM then
    collectgarbage()
    collectgarbage()
    status = C.dm_tensor_alloc(c, arena)
  end
  check(status)
  return arena
end

--- Frees a lasting block now instead of at the next collection.
function M.free(owner)
  if owner then C.dm_arena_free(ffi.gc(owner, nil)) end
end

--- Runs fn(...) as a step: tensors made inside live until it returns. Nested steps give back only their own.
--- Returns what fn returns (numbers and tables; a tensor must be kept with :keep()). Errors pass through.
function M.step(fn, ...)
  if not step_arena then
    check(C.dm_arena_new(out_arena, M.device()))
    step_arena = out_arena[0]
  end
  local outer = current
  local mark = outer and C.dm_arena_mark(step_arena)
  current = step_arena
  local ok, a, b, c = pcall(fn, ...)
  current = outer
  if outer then
    check(C.dm_arena_release(step_arena, mark))
  else
    check(C.dm_arena_reset(step_arena))
  end
  if not ok then error(a, 0) end
  return a, b, c
end

-- -- ahead of the step ------------------------------------------------------------------------------------------------

local places, turn = {}, 0       -- two arenas for the inputs of later steps, and whose turn it was last

--- Runs fn(...) ahead of the step that follows, beside the one that runs, where the device does both (see records):
--- tensors made inside live until the turn after the next. Returns what fn returns and the place, for arrive and leave.
function M.ahead(fn, ...)
  turn = 1 - turn
  local place = turn
  if not places[place] then
    check(C.dm_arena_new(out_arena, M.device()))
    places[place] = out_arena[0]
  end
  check(C.dm_device_ahead(M.device(), C.DM_AHEAD_BEGIN, place))
  local outer = current
  current = places[place]
  local status = C.dm_arena_reset(current)
  local ok, result = pcall(fn, ...)
  current = outer
  local ended = C.dm_device_ahead(M.device(), C.DM_AHEAD_END, place)
  if not ok then error(result, 0) end
  check(status)
  check(ended)
  return result, place
end

--- What is asked for from here on comes after the work of a place.
function M.arrive(place) check(C.dm_device_ahead(M.device(), C.DM_AHEAD_USE, place)) end

--- A place is given back: its next turn comes after what was asked for so far.
function M.leave(place) check(C.dm_device_ahead(M.device(), C.DM_AHEAD_DONE, place)) end

-- -- questions ------------------------------------------------------------------------------------------------------

--- Whether the device can record a step and replay it (see datamux.capture).
function M.records() return ffi.string(C.dm_device_name(M.device())) ~= 'cpu' end

--- Bytes that the device can still hand out; 0 where that is not known.
function M.room() return C.dm_device_room(M.device()) end

--- Bytes of the running step so far.
function M.used() return C.dm_arena_used(step_arena) end

--- True inside a step.
function M.inside() return current ~= nil end

--- Sets what changes from step to step: { seed, step, lr, update }; absent fields keep their value.
function M.knobs(o)
  if o.seed then
    knobs.seed[0] = o.seed % 4294967296
    knobs.seed[1] = math.floor(o.seed / 4294967296)
  end
  if o.step then knobs.step = o.step end
  if o.lr then knobs.lr = o.lr end
  if o.update then knobs.update = o.update end
  check(C.dm_device_knobs(M.device(), knobs))
end

--- Bytes: { live, used, scratch, peak }, and how often: { allocs, moves }; see dm_memory in the header.
function M.memory()
  check(C.dm_device_memory(M.device(), memory))
  return { live = memory.live, used = memory.used, scratch = memory.scratch, peak = memory.peak,
           allocs = memory.allocs, moves = memory.moves }
end

return M
