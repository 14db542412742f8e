-- loader.lua -- batches of B mixed rows of N texts from an encoded set; a pure function of (seed, epoch, position).
--
-- An encoded set is { ids = int32[], offset = int32[n + 1], n } with labels = int32[n], scores = double[n] or tags =
-- int32[] beside ids (see datamux.data.encode), or none of them. With bucketing, texts are
-- shuffled, sorted by length inside windows of 50 batches, cut into batches, and the batches of the epoch shuffled:
-- rows hold texts of like length, and little is padding.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local plural = require 'datamux.plural'
local C = core.C

local M = {}

local Loader = {}
Loader.__index = Loader

local WINDOW = 50                -- batches that are sorted by length together
local IGNORE = -100
local i32 = ffi.typeof 'int32_t[?]'

--- set: encoded texts. o: { rows (B), group (N), length (cap), pad (id), multiple = 1 (padded length is a multiple),
--- fixed (always pad to length), bucket = true, shuffle = true, seed = 0, site = 300, drop_last = true,
--- order = int32[places], places: texts in this order instead, -1 where a filler is wanted }.
--- A set that makes its own batches (images) is asked for them.
--- Raises (code 2) when rows or group are not positive or a batch holds more texts than there are.
function M.new(set, o)
  if set.batches then return set:batches(o) end
  if not (o.rows >= 1 and o.group >= 1) then
    errors.raise('E202', ('loader: rows is %s, group is %s, expected at least 1'):format(
      tostring(o.rows), tostring(o.group)))
  end
  local size = o.rows * o.group
  if o.drop_last ~= false and set.n < size then
    errors.raise('E216', ('loader: %s, expected at least one batch of %d (%s of N = %d)'):format(
      plural.of(set.n, 'text'), size, plural.of(o.rows, 'row'), o.group))
  end
  return setmetatable({ set = set, o = o, size = size, epoch = -1 }, Loader)
end

--- Batches per epoch.
function Loader:steps_per_epoch()
  local q = (self.o.order and self.o.places or self.set.n) / self.size
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
  local perm, steps = o.order or i32(set.n), self:steps_per_epoch()
  local site, seed = o.site or 300, o.seed or 0
  if not o.order and o.shuffle ~= false then
    core.check(C.dm_shuffle(perm, set.n, seed, site, epoch))
  elseif not o.order then
    for i = 0, set.n - 1 do perm[i] = i end
  end
  self.batches = i32(math.max(steps, 1))
  for k = 0, steps - 1 do self.batches[k] = k end
  if o.bucket ~= false and not o.fixed and not o.order then
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
--- label int32[B*N] (-100 for filler), index int32[B*N] (text number, -1 for filler) }; with scores also score
--- real[B*N] (0 for filler), with tags also tags int32[B*N*S] (-100 where nothing is asked). The last batch of a set
--- that does not divide is filled with other texts; its rows are as many as are needed.
function Loader:batch(epoch, position)
  self:plan(epoch)
  local set, o, N = self.set, self.o, self.o.group
  local from, places = self.batches[position] * self.size, o.order and o.places or set.n
  local n = math.min(self.size, places - from)
  local B = math.ceil(n / N)
  local total = B * N
  local b = { B = B, N = N, n = 0, index = i32(total), label = i32(total), length = i32(total) }
  local text = i32(total)                          -- what lies there, fillers too
  local longest = 0
  if set.scores then b.score = ffi.new(core.real .. '[?]', total) end
  for k = 0, total - 1 do
    local i = k < n and self.perm[from + k] or -1
    b.index[k] = i
    text[k] = i >= 0 and i or (from + k) % set.n
    if i < 0 and not o.order then text[k] = self.perm[text[k]] end
    b.label[k] = i >= 0 and set.labels and set.labels[i] or IGNORE
    if i >= 0 then b.n = b.n + 1 end
    if i >= 0 and set.scores then b.score[k] = set.scores[i] end
    b.length[k] = math.min(length_of(set, text[k]), o.length)
    longest = math.max(longest, b.length[k])
  end
  local S = padded(longest, o)
  local ids, tags = i32(total * S), set.tags and i32(total * S)
  for k = 0, total - 1 do
    local at, size = set.offset[text[k]], b.length[k]
    ffi.copy(ids + k * S, set.ids + at, 4 * size)
    for s = size, S - 1 do ids[k * S + s] = o.pad end
    if tags then
      for s = 0, S - 1 do tags[k * S + s] = b.index[k] >= 0 and s < size and set.tags[at + s] or IGNORE end
    end
  end
  b.S, b.ids_host, b.tags = S, ids, tags
  return b
end

return M
