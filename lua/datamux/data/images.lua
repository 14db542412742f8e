-- images.lua -- IDX files (MNIST's format), and batches of N images a row, a pure function of (seed, epoch, position).
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local cache = require 'datamux.data.cache'
local errors = require 'datamux.errors'
local plural = require 'datamux.plural'
local reader = require 'datamux.data.reader'
local C = core.C

local M = {}

--- The image tasks: folder, files of each split, label names, and the square [from, to) that images are cut to.
M.tasks = {
  mnist = {
    folder = 'MNIST', labels = { '0', '1', '2', '3', '4', '5', '6', '7', '8', '9' }, from = 4, to = 24,
    files = { train = { 'train-images-idx3-ubyte', 'train-labels-idx1-ubyte' },
              dev = { 't10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte' } },
  },
}

local i32, u8 = ffi.typeof 'int32_t[?]', ffi.typeof 'uint8_t[?]'
local IGNORE = -100

-- -- IDX files ----------------------------------------------------------------------------------------

-- The fix of what is wrong with a file: it has no lines to correct.
local ANEW = 'name the right file, or get it again: an IDX file is used as it was published'

local function refuse(id, what) errors.raise(id, { what = what, fix = ANEW }) end

local function big_endian(s, at)
  local a, b, c, d = s:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

--- Reads an IDX file of unsigned bytes, gz or zst as it is. dims: how many dimensions it must have. Returns its bytes
--- (a string, from `first` on) and sizes: { bytes, first, size1, .. }. Raises a data error (code 3) with the path.
function M.read_idx(path, dims)
  local s = reader.text(path)
  local head = 4 + 4 * dims
  if #s < head then
    refuse('E304', ('%s: %d bytes, expected at least the %d of an IDX header'):format(path, #s, head))
  end
  local magic = big_endian(s, 1)
  if magic ~= 0x800 + dims then
    refuse('E304', ('%s: magic number 0x%08x, expected 0x%08x (IDX, unsigned bytes, %d dimension%s)'):format(
      path, magic, 0x800 + dims, dims, dims == 1 and '' or 's'))
  end
  local out, n = { bytes = s, first = head }, 1
  for d = 1, dims do
    out[d] = big_endian(s, 4 * d + 1)
    n = n * out[d]
  end
  if #s ~= head + n then
    refuse('E304', ('%s: %d bytes after the header, expected %s = %d'):format(path, #s - head,
      table.concat(out, ' x '), n))
  end
  return out
end

local Set = {}
Set.__index = Set

-- The pixels [from, to) in both directions of every image, as bytes.
local function cut(images, from, to)
  local n, h, w, side = images[1], images[2], images[3], to - from
  local out = u8(n * side * side)
  local bytes = ffi.cast('const uint8_t *', images.bytes) + images.first
  for k = 0, n - 1 do
    for r = 0, side - 1 do
      ffi.copy(out + (k * side + r) * side, bytes + (k * h + from + r) * w + from, side)
    end
  end
  return out
end

-- The labels of an IDX file, as numbers.
local function read_labels(path, images_path, n, names)
  local labels, values = M.read_idx(path, 1), i32(n)
  if labels[1] ~= n then
    refuse('E304', ('%s: %s, expected %d as there are images in %s'):format(path,
      plural.of(labels[1], 'label'), n, images_path))
  end
  for k = 0, n - 1 do
    values[k] = labels.bytes:byte(labels.first + k + 1)
    if not names[values[k] + 1] then
      refuse('E301', ('%s: label %d is %d, expected 0 .. %d'):format(path, k, values[k], #names - 1))
    end
  end
  return values
end

--- The set of two IDX files, images and their labels (nil: without). o: { from, to (square to cut to), labels (their
--- names) }. Returns { n, height, width, pixels uint8[n * height * width], labels int32[n], label_names, path }.
--- Raises a data error (code 3) for files that are not IDX, of different counts, images smaller than the square, a
--- label without a name.
function M.read_files(images_path, labels_path, o)
  local images = M.read_idx(images_path, 3)
  local n, side = images[1], o.to - o.from
  local labels = labels_path and read_labels(labels_path, images_path, n, o.labels)
  if n == 0 then errors.raise('E306', images_path .. ': no images in it') end
  if images[2] < o.to or images[3] < o.to then
    refuse('E304', ('%s: images of %d x %d, expected at least %d x %d'):format(images_path, images[2], images[3],
      o.to, o.to))
  end
  return setmetatable({ n = n, height = side, width = side, pixels = cut(images, o.from, o.to), labels = labels,
                        label_names = o.labels, path = images_path }, Set)
end

--- A split ('train', 'dev') of an image task, found by datamux.data.cache.
function M.read(task, split)
  local spec = M.tasks[task]
  local files = spec.files[split]
  return M.read_files(cache.find(spec.folder, files[1]), cache.find(spec.folder, files[2]), spec)
end

-- -- batches ------------------------------------------------------------------------------------------

local Loader = {}
Loader.__index = Loader

--- Batches of a set; what datamux.data.loader.new gives for a set that has this method. o: { rows (B), group (N),
--- shuffle = true, seed = 0, site = 300, drop_last = true, order, places (see there) }. set.draw = 'whole': each batch
--- is drawn from the whole set, and an epoch is n / B batches whatever N is (with drop_last, that is in training);
--- else every image comes once an epoch. set.blocks: index i gets the i-th of N contiguous blocks, in order (without
--- drop_last, that is in scoring, and without an order).
function Set:batches(o)
  local size = o.rows * o.group
  local training = o.drop_last ~= false
  if training and self.n < size then
    errors.raise('E216', ('loader: %s, expected at least one batch of %d (%s of N = %d)'):format(
      plural.of(self.n, 'image'), size, plural.of(o.rows, 'row'), o.group))
  end
  return setmetatable({ set = self, o = o, size = size, epoch = -1, perm = i32(self.n), training = training,
                        whole = training and self.draw == 'whole' }, Loader)
end

--- Batches per epoch.
function Loader:steps_per_epoch()
  if self.whole then return math.floor(self.set.n / self.o.rows) end
  local q = (self.o.order and self.o.places or self.set.n) / self.size
  return self.training and math.floor(q) or math.ceil(q)
end

local function shuffle(self, step)
  core.check(C.dm_shuffle(self.perm, self.set.n, self.o.seed or 0, self.o.site or 300, step))
end

-- The order of the images for a batch, and where in it the batch begins.
function Loader:plan(epoch, position)
  if self.whole then
    shuffle(self, epoch * self:steps_per_epoch() + position)
    return 0
  end
  if self.epoch ~= epoch and not self.o.order then
    self.epoch = epoch
    if self.o.shuffle ~= false then
      shuffle(self, epoch)
    else
      for i = 0, self.set.n - 1 do self.perm[i] = i end
    end
  end
  return position * self.size
end

--- Batch `position` (from 0) of `epoch`: { B, N, n (real images), pixels uint8[B*N*H*W], label int32[B*N] (-100 for
--- filler), index int32[B*N] (image number, -1 for filler) }. The last batch of a set that does not divide is filled
--- with other images; its rows are as many as are needed.
function Loader:batch(epoch, position)
  local set, N = self.set, self.o.group
  local from = self:plan(epoch, position)
  local order, blocks = self.o.order, set.blocks and not self.training
  local places = order and self.o.places or set.n
  local each = math.ceil(places / N)                     -- rows, or images of a block
  local B = math.min(self.o.rows, each - math.floor(from / N))
  local area = set.height * set.width
  local b = { B = B, N = N, n = 0, index = i32(B * N), label = i32(B * N), pixels = u8(B * N * area) }
  for k = 0, B * N - 1 do
    local at = from + k
    if blocks and not order then at = at % N * each + math.floor(at / N) end
    local i = (order or blocks) and at % set.n or self.perm[at % set.n]
    local real = at < places
    if real and order then real, i = order[at] >= 0, math.max(order[at], 0) end
    if real then b.n = b.n + 1 end
    b.index[k] = real and i or -1
    b.label[k] = real and set.labels and set.labels[i] or IGNORE
    ffi.copy(b.pixels + k * area, set.pixels + i * area, area)
  end
  return b
end

return M
