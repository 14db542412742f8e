-- loader.lua -- batches of B mixed rows of N texts from an encoded set; a pure function of (seed, epoch, position).
--
-- An encoded set is { ids = int32[], offset = int32[n + 1], n, labels = int32[n] or nil }. With bucketing, texts are
-- shuffled, sorted by length inside windows of 50 batches, cut into batches, and the batches of the epoch shuffled:
-- rows hold texts of like length, and little is padding.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local C = core.C

local M = {}

local Loader = {}
Loader.__index = Loader

local WINDOW = 50                -- batches that are sorted by length together
local IGNORE = -100
local i32 = ffi.typeof 'int32_t[?]'

--- set: encoded texts. o: { rows (B), group (N), length (cap), pad (id), multiple = 1 (padded length is a multiple),
--- fixed (always pad to length), bucket = true, shuffle = true, seed = 0, site = 300, drop_last = true }.
--- Raises (code 2) when rows or group are not positive or a batch holds more texts than there are.
function M.new(set, o)
  if not (o.rows >= 1 and o.group >= 1) then
    errors.raise(2, ('loader: rows is %s, group is %s, expected at least 1'):format(
      tostring(o.rows), tostring(o.group)))
  end
  local size = o.rows * o.group
  if o.drop_last ~= false and set.n < size then
    errors.raise(2, ('loader: %d texts, expected at least one batch of %d (%d rows of N = %d)'):format(
      set.n, size, o.rows, o.group))
  end
  return setmetatable({ set = set, o = o, size = size, epoch = -1 }, Loader)
end

--- Batches per epoch.
function Loader:steps_per_epoch()
  local q = self.set.n / self.size
  return self.o.drop_last ~= false and math.floor(q) or math.ceil(q)
end

local function length_of(set, i) return set.offset[i + 1] - set.offset[i] end

-- Counting sort of perm[from, to) by text length, stable.
local function sort_by_length(set, perm, from, to, cap)
  local n = to - from
  local keys, order, out = i32(n), i32(n), i32(n)
  for k = 0, n - 1 do keys[k] = math.min(length_of(set, perm[from + k]), cap) end
  core.check(C.dm_order(order, keys, n, cap + 1))
  for k = 0, n - 1 do out[k] = perm[from + order[k]] end
  ffi.copy(perm + from, out, 4 * n)
end

-- The order of texts in this epoch, and that of the batches.
function Loader:plan(epoch)
  if self.epoch == epoch then return end
  local o, set = self.o, self.set
  local perm, steps = i32(set.n), self:steps_per_epoch()
  local site, seed = o.site or 300, o.seed or 0
  if o.shuffle ~= false then
    core.check(C.dm_shuffle(perm, set.n, seed, site, epoch))
  else
    for i = 0, set.n - 1 do perm[i] = i end
  end
  self.batches = i32(math.max(steps, 1))
  for k = 0, steps - 1 do self.batches[k] = k end
  if o.bucket ~= false and not o.fixed then
    local width = WINDOW * self.size
    for from = 0, set.n - 1, width do
      sort_by_length(set, perm, from, math.min(from + width, set.n), o.length)
    end
    if o.shuffle ~= false and o.drop_last ~= false then
      core.check(C.dm_shuffle(self.batches, steps, seed, site + 50, epoch))
    end
  end
  self.perm, self.epoch = perm, epoch
end

local function padded(longest, o)
  if o.fixed then return o.length end
  local m = o.multiple or 1
  return math.min(math.max(math.ceil(longest / m) * m, 1), math.max(o.length, 1))
end

--- Batch `position` (from 0) of `epoch`: { B, N, S, n (real texts), ids_host int32[B*N*S], length int32[B*N],
--- label int32[B*N] (-100 for filler), index int32[B*N] (text number, -1 for filler) }. The last batch of a set that
--- does not divide is filled with other texts; its rows are as many as are needed.
function Loader:batch(epoch, position)
  self:plan(epoch)
  local set, o, N = self.set, self.o, self.o.group
  local from = self.batches[position] * self.size
  local n = math.min(self.size, set.n - from)
  local B = math.ceil(n / N)
  local total = B * N
  local b = { B = B, N = N, n = n, index = i32(total), label = i32(total), length = i32(total) }
  local longest = 0
  for k = 0, total - 1 do
    local i = self.perm[k < n and from + k or (from + k) % set.n]
    b.index[k] = k < n and i or -1
    b.label[k] = k < n and set.labels and set.labels[i] or IGNORE
    b.length[k] = math.min(length_of(set, i), o.length)
    longest = math.max(longest, b.length[k])
  end
  local S = padded(longest, o)
  local ids = i32(total * S)
  for k = 0, total - 1 do
    local i = self.perm[k < n and from + k or (from + k) % set.n]
    ffi.copy(ids + k * S, set.ids + set.offset[i], 4 * b.length[k])
    for s = b.length[k], S - 1 do ids[k * S + s] = o.pad end
  end
  b.S, b.ids_host = S, ids
  return b
end

return M
