-- images_spec.lua -- IDX files, their faults, and batches of images.
local sys = require 'datamux.sys'
local images = require 'datamux.data.images'
local loader = require 'datamux.data.loader'
local recipe = require 'datamux.recipe'
local cache = require 'datamux.data.cache'

local dir

before_each(function()
  dir = os.tmpname()
  os.remove(dir)
  sys.mkdir(dir)
end)

after_each(function() sys.remove(dir) end)

local function file(name, body)
  sys.write(dir .. '/' .. name, body)
  return dir .. '/' .. name
end

local function refused(code, pattern, fn, ...)
  local ok, e = pcall(fn, ...)
  assert.is_false(ok)
  assert.are.equal(code, e.code, tostring(e))
  assert.is_truthy(tostring(e):find(pattern), tostring(e))
end

local function be32(n)
  return string.char(math.floor(n / 16777216) % 256, math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
end

-- An IDX file of the sizes and bytes; its magic number may be wrong.
local function idx(sizes, bytes, magic)
  local head = be32(magic or 0x800 + #sizes)
  for _, n in ipairs(sizes) do head = head .. be32(n) end
  return head .. bytes
end

-- n images of 3 x 3: pixel (r, q) of image k is 10 k + 3 r + q; labels 0, 1, 2, 0, ..
local function pair(n)
  local pixels, labels = {}, {}
  for k = 0, n - 1 do
    for p = 0, 8 do pixels[#pixels + 1] = string.char((10 * k + p) % 256) end
    labels[#labels + 1] = string.char(k % 3)
  end
  return file('images', idx({ n, 3, 3 }, table.concat(pixels))), file('labels', idx({ n }, table.concat(labels)))
end

local square = { from = 1, to = 3, labels = { 'a', 'b', 'c' } }

local function set(n)
  local a, b = pair(n)
  return images.read_files(a, b, square)
end

describe('IDX files', function()
  it('are read and cut to the square', function()
    local s = set(3)
    assert.are.same({ 3, 2, 2 }, { s.n, s.height, s.width })
    local got = {}
    for k = 4, 7 do got[#got + 1] = s.pixels[k] end
    assert.are.same({ 14, 15, 17, 18 }, got)
    assert.are.same({ 0, 1, 2 }, { s.labels[0], s.labels[1], s.labels[2] })
  end)

  it('are read compressed', function()
    local a, b = pair(2)
    os.execute(('gzip %s %s'):format(a, b))
    assert.are.equal(14, images.read_files(a .. '.gz', b .. '.gz', square).pixels[4])
  end)

  it('are refused with the path and what was expected', function()
    local a, b = pair(2)
    refused(3, '/short: 3 bytes, expected at least the 16', images.read_idx, file('short', 'abc'), 3)
    refused(3, 'header\n  fix: name the right file, or get it again', images.read_idx, dir .. '/short', 3)
    refused(3, '/magic: magic number 0x00000801, expected 0x00000803', images.read_idx,
      file('magic', idx({ 2, 3, 3 }, ('x'):rep(18), 0x801)), 3)
    refused(3, '/cut: 17 bytes after the header, expected 2 x 3 x 3 = 18', images.read_idx,
      file('cut', idx({ 2, 3, 3 }, ('x'):rep(17))), 3)
    refused(3, '/long: 3 bytes after the header, expected 2 = 2', images.read_idx, file('long', idx({ 2 }, 'xyz')), 1)
    refused(3, '/three: 3 labels, expected 2 as there are images in', images.read_files, a,
      file('three', idx({ 3 }, '\0\1\2')), square)
    refused(3, '/none: no images', images.read_files, file('none', idx({ 0, 3, 3 }, '')),
      file('none1', idx({ 0 }, '')), square)
    refused(3, '/nine: label 1 is 9, expected 0 .. 2', images.read_files, a, file('nine', idx({ 2 }, '\0\9')), square)
    refused(3, 'images of 3 x 3, expected at least 4 x 4', images.read_files, a, b,
      { from = 0, to = 4, labels = square.labels })
  end)
end)

local function indices(batch)
  local out = {}
  for k = 0, batch.B * batch.N - 1 do out[k + 1] = batch.index[k] end
  return out
end

describe('batches of images', function()
  it('hold every image once an epoch, with its pixels and its label', function()
    local s = set(12)
    local batches = loader.new(s, { rows = 2, group = 3, seed = 1 })
    assert.are.equal(2, batches:steps_per_epoch())
    local seen = {}
    for position = 0, 1 do
      local b = batches:batch(4, position)
      assert.are.same({ 2, 3, 6 }, { b.B, b.N, b.n })
      for k = 0, 5 do
        local i = b.index[k]
        seen[i] = true
        assert.are.equal(i % 3, b.label[k])
        assert.are.equal(10 * i + 4, b.pixels[4 * k])
      end
    end
    for i = 0, 11 do assert.is_true(seen[i], i .. ' is missing') end
  end)

  it('are a function of seed, epoch and position', function()
    local s = set(12)
    local one, two = loader.new(s, { rows = 2, group = 3, seed = 1 }), loader.new(s, { rows = 2, group = 3, seed = 1 })
    local want = indices(one:batch(1, 1))
    two:batch(0, 0)
    assert.are.same(want, indices(two:batch(1, 1)))
    assert.are_not.same(want, indices(two:batch(2, 1)))
  end)

  it('score every image once, fillers not at all', function()
    local batches = loader.new(set(7), { rows = 2, group = 2, seed = 1, drop_last = false })
    assert.are.equal(2, batches:steps_per_epoch())
    local seen, n = {}, 0
    for position = 0, 1 do
      local b = batches:batch(0, position)
      for k = 0, b.B * b.N - 1 do
        if b.index[k] >= 0 then
          seen[b.index[k]], n = true, n + 1
        else
          assert.are.equal(-100, b.label[k])
        end
      end
    end
    assert.are.equal(7, n)
    for i = 0, 6 do assert.is_true(seen[i]) end
  end)

  it('are drawn from the whole set where asked: distinct in a batch, n / rows batches an epoch', function()
    local s = set(12)
    s.draw = 'whole'
    local batches = loader.new(s, { rows = 2, group = 3, seed = 1 })
    assert.are.equal(6, batches:steps_per_epoch())
    local a, b = indices(batches:batch(0, 0)), indices(batches:batch(0, 1))
    assert.are_not.same(a, b)
    assert.are.same(a, indices(batches:batch(0, 0)))
    table.sort(b)
    for k = 2, 6 do assert.is_true(b[k] > b[k - 1]) end
  end)

  it('give index i the i-th contiguous block where asked', function()
    local s = set(5)
    s.blocks = true
    local batches = loader.new(s, { rows = 2, group = 2, drop_last = false })
    assert.are.same({ 0, 3, 1, 4 }, indices(batches:batch(0, 0)))
    assert.are.same({ 2, -1 }, indices(batches:batch(0, 1)))
  end)

  it('are refused when one holds more images than there are', function()
    refused(2, '5 images, expected at least one batch of 6', loader.new, set(5), { rows = 2, group = 3 })
  end)
end)

describe('a recipe for images', function()
  local function resolve(...)
    return recipe.resolve({ task = 'mnist', model = { kind = 'cnn' }, mux = { kind = 'nonlinear', n = 2 } },
      { overrides = { ... } })
  end

  it('is accepted', function() assert.are.equal(8, resolve('mux.channels=8').mux.channels) end)

  it('is refused before any work where its parts do not fit', function()
    refused(2, "mux.n is 17 with mux.kind 'remap', expected at most 16", resolve, 'mux.kind=remap', 'mux.n=17')
    refused(2, "mux.n is 2 with mux.kind 'none', expected 1", resolve, 'mux.kind=none')
    refused(2, "model.kind is 'tmux' with task 'mnist', expected cnn or mlp", resolve, 'model.kind=tmux')
    refused(2, "model.kind is 'cnn' with task 'sst2', expected tmux or plain", resolve, 'task=sst2')
    refused(2, "mux.kind is 'so' with model.kind 'tmux', expected one of hadamard, binary", resolve, 'task=sst2',
      'model.kind=tmux', 'mux.kind=so')
    refused(2, "mux.kind is 'lowrank' with model.kind 'cnn', expected one of none, identity", resolve,
      'mux.kind=lowrank')
    refused(2, "'mux.kind' is 'banana', expected one of hadamard, .*none, gaussian", resolve, 'mux.kind=banana')
    refused(2, 'warmup.steps is 5 with images, expected 0', resolve, 'warmup.steps=5')
    refused(2, 'train.grow is 0.5 with images, expected 0', resolve, 'train.grow=0.5')
    refused(2, "precision is 'bf16' with images, expected f32", resolve, 'precision=bf16')
    refused(2, "mux.channels' is 0", resolve, 'mux.channels=0')
  end)

  it('refuses what is of texts alone, and one for texts what is of images, where it is not as usual', function()
    refused(2, 'demux.kind is mlp %(command line%) and says nothing to a network of images', resolve, 'demux.kind=mlp')
    refused(2, 'mux.overlap is 0.5 %(command line%) and says nothing', resolve, 'mux.overlap=0.5')
    refused(2, 'model.vocab.lower is false', resolve, 'model.vocab.lower=false')
    assert.are.equal('unbind', resolve('demux.kind=unbind').demux.kind)
    local function texts(...) return recipe.resolve({ task = 'synthetic' }, { overrides = { ... } }) end
    refused(2, 'mux.channels is 4 %(command line%) and says nothing to a network of texts, only to one of images',
      texts, 'mux.channels=4')
    assert.are.equal(5, texts('model.layers=5').model.layers)
  end)
end)

describe('MNIST', function()
  it('has 60,000 and 10,000 images', function()
    if not cache.look('MNIST', 'train-images-idx3-ubyte') then
      pending('no MNIST here: set DATAMUX_DATA to the folder that holds MNIST')
      return
    end
    local train, dev = images.read('mnist', 'train'), images.read('mnist', 'dev')
    assert.are.same({ 60000, 10000, 20, 20 }, { train.n, dev.n, train.height, train.width })
    local count, sum = 0, 0
    for k = 0, dev.n - 1 do
      if dev.labels[k] == 7 then count = count + 1 end
    end
    for k = 0, dev.n * 400 - 1 do sum = sum + dev.pixels[k] end
    assert.are.equal(1028, count)                          -- sevens of the test set
    assert.are.equal(256317776, sum)
  end)
end)
