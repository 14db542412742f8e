-- profile.lua -- where a run's time goes, op by op: DATAMUX_PROFILE=1 prints a table to stderr when the command ends.
--
-- The door to the engine (datamux.ffi) then hands out wrapped functions; without the variable nothing is wrapped and
-- nothing is paid. Columns: calls; wall and processor time (all threads), in ms; the share of the wall time between
-- the first call and the last; the rate of the op's matrix products, and its time over their time at the rate of the
-- best product here (the floor). What is left after the ops is the host: Lua, batches, files.
-- On a GPU, wall is the device's own time between two moments around the op (dm_device_mark), and steps run as they are
-- written, not from recordings.
local ffi = require 'ffi'
local C = ffi.C

local M = {}

local function size(t)
  local n = 1
  for i = 0, t.ndim - 1 do n = n * t.shape[i] end
  return n
end

local function wanted(...)
  local n = 0
  for i = 1, select('#', ...) do n = n + (select(i, ...) ~= nil and 1 or 0) end
  return n
end

-- Operations (2 for a multiply-add) of the products that the op needs by definition, from its arguments. Products that
-- are computed again instead of being stored do not count.
local work = {
  linear_fwd = function(_, _, x, w) return 2 * size(x) * w.shape[0] end,
  int8_linear = function(_, x, _, scale) return 2 * size(x) * size(scale) end,
  int8_unbind = function(y, _, h) return 2 * size(y) * h.shape[h.ndim - 1] end,
  linear_bwd = function(dx, dw, _, _, _, x, w) return 2 * size(x) * w.shape[0] * wanted(dx, dw) end,
  matmul_fwd = function(y, a, _, ta) return 2 * size(y) * a.shape[a.ndim - (ta == 1 and 2 or 1)] end,
  matmul_bwd = function(da, db, dy, a, _, ta)
    return 2 * size(dy) * a.shape[a.ndim - (ta == 1 and 2 or 1)] * wanted(da, db)
  end,
  attention_fwd = function(y) return 4 * size(y) * y.shape[1] end,
  attention_bwd = function(_, dy) return 8 * size(dy) * dy.shape[1] end,
  unbind_fwd = function(y, _, _, h) return 2 * size(y) * h.shape[h.ndim - 1] end,
  unbind_bwd = function(dkey, dh, _, da, dy, _, _, h)
    return 2 * size(dy) * h.shape[h.ndim - 1] * ((dkey ~= nil or dh ~= nil) and 1 or 0 + wanted(da))
  end,
  linear_xent_fwd = function(_, _, _, _, x, w) return 2 * size(x) * w.shape[0] end,
  linear_xent_bwd = function(dx, dw, _, _, _, _, x, w) return 2 * size(x) * w.shape[0] * wanted(dx, dw) end,
}

local seen, first, last = {}, nil, nil
local device, queued                       -- the device in use; whether it works behind the host's back
local pending, out = {}, ffi.new 'double[1]'
local dtype = C.DM_F32                     -- of the latest product

-- Reads the moments around the calls that wait for it.
local function settle()
  if #pending == 0 then return end
  for k, row in ipairs(pending) do
    if C.dm_device_between(device, 2 * k - 2, 2 * k - 1, out) == 0 then row.wall = row.wall + out[0] end
    pending[k] = nil
  end
  last = C.dm_clock()
end

local function wrap(name, fn)
  local row = { name = name, calls = 0, wall = 0, cpu = 0, work = 0 }
  local count = work[name]
  seen[#seen + 1] = row
  return function(...)
    local wall, cpu = C.dm_clock(), os.clock()
    first = first or wall
    local k = #pending
    if queued then C.dm_device_mark(device, 2 * k) end
    local status = fn(...)
    if queued then
      C.dm_device_mark(device, 2 * k + 1)
      pending[k + 1] = row
      if 2 * k + 2 == C.DM_MARKS then settle() end
    else
      row.wall = row.wall + C.dm_clock() - wall
    end
    last = C.dm_clock()
    row.cpu, row.calls = row.cpu + os.clock() - cpu, row.calls + 1
    if count then
      row.work = row.work + count(...)
      local y = ...
      if y ~= nil and y.dtype == C.DM_BF16 then dtype = C.DM_BF16 end
    end
    return status
  end
end

-- As dm_device_open; notes the device.
local function open(to, name)
  local status = C.dm_device_open(to, name)
  if status == 0 then device, queued = to[0], ffi.string(C.dm_device_name(to[0])) ~= 'cpu' end
  return status
end

-- Operations per second of one product of square matrices of this side, the best of five, and the seconds it took. Of
-- random numbers: a GPU multiplies constants faster.
local function rate_of(side)
  local arena, t = ffi.new 'dm_arena *[1]', ffi.new 'dm_tensor[3]'
  if C.dm_arena_new(arena, device) ~= 0 then return nil end
  for i = 0, 2 do
    t[i].dtype, t[i].ndim, t[i].shape[0], t[i].shape[1] = i < 2 and dtype or C.DM_F32, 2, side, side
    if C.dm_tensor_alloc(t[i], arena[0]) ~= 0 then return nil end
  end
  if C.dm_tensor_uniform(t[2], -1, 1, 1, 0) ~= 0 or C.dm_cast(t[1], t[2]) ~= 0 then return nil end
  local best = math.huge
  for _ = 1, 5 do
    C.dm_device_sync(device)
    local from = C.dm_clock()
    C.dm_matmul_fwd(t[0], t[1], t[1], 0, 0)
    C.dm_device_sync(device)
    best = math.min(best, C.dm_clock() - from)
  end
  C.dm_arena_free(arena[0])
  return 2 * side ^ 3 / best, best
end

-- The same of a product that is large for the device: of 2048 on the CPU, up to 8192 elsewhere.
local function best_rate()
  if not queued then return (rate_of(2048)) end
  local side = 256
  local best, seconds = rate_of(side)
  while best and seconds < 1e-3 and side < 8192 do
    side = 2 * side
    best, seconds = rate_of(side)
  end
  return best
end

--- Prints the table, where an op ran. The command calls this when it ends (src/main.c).
function M.finish()
  settle()
  if last then io.stderr:write(table.concat(M.lines(best_rate()), '\n'), '\n') end
end

--- Starts counting afresh.
function M.reset()
  settle()
  for _, r in ipairs(seen) do r.calls, r.wall, r.cpu, r.work = 0, 0, 0, 0 end
  first, last = nil, nil
end

--- What was counted, the longest first: a list of { name, calls, wall, cpu (seconds), work (operations of products) }.
function M.rows()
  settle()
  table.sort(seen, function(a, b) return a.wall > b.wall end)
  return seen
end

--- The engine's functions with the ops of the public header (its text) wrapped: a table that stands for ffi.C.
function M.watch(header)
  local op = {}
  local ops = header:match '/%* %-%- products of a finished model.*$'
  for name in ops:gmatch 'dm_status (dm_[%w_]+)%(' do op[name] = true end
  return setmetatable({}, { __index = function(t, k)
    local v = k == 'dm_device_open' and open or C[k]
    if op[k] then v = wrap(k:sub(4), v) end
    rawset(t, k, v)
    return v
  end })
end

--- The table so far, as lines. rate: operations per second of the best product, or nil to leave the floor out.
function M.lines(rate)
  local text = { ('%-18s %7s %10s %10s %6s %9s %7s'):format(
    'op', 'calls', 'wall ms', 'cpu ms', '%', 'GFLOP/s', 'floor') }
  M.rows()
  local total, ops, cpu, all = (last or 0) - (first or 0), 0, 0, 0
  local function line(name, calls, wall, c, n)
    text[#text + 1] = ('%-18s %7s %10.1f %10.1f %6.1f %9s %7s'):format(name, calls, 1e3 * wall, 1e3 * c,
      100 * wall / math.max(total, 1e-9), n > 0 and ('%.1f'):format(n / wall / 1e9) or '',
      n > 0 and rate and ('%.2f'):format(wall * rate / n) or '')
  end
  for _, r in ipairs(seen) do
    if r.calls > 0 then line(r.name, r.calls, r.wall, r.cpu, r.work) end
    ops, cpu, all = ops + r.wall, cpu + r.cpu, all + r.work
  end
  line('host', '', total - ops, 0, 0)
  line('all', '', total, cpu, all)
  return text
end

return M
