-- images_spec.lua -- a run on images is a model: its folder, and predict, eval and bench with it.
local cjson = require 'cjson'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local dir, env

local function big(n) return string.char(0, math.floor(n / 65536), math.floor(n / 256) % 256, n % 256) end

-- n images of 28 x 28 whose class is where the bright block lies, and their labels.
local function write(folder, name, n)
  local pixels, labels = {}, {}
  for k = 0, n - 1 do
    local class = (7 * k + math.floor(k / 10)) % 10
    local rows = {}
    for r = 0, 27 do
      local row = {}
      for c = 0, 27 do
        local inside = math.floor((r - 4) / 10) == math.floor(class / 5) and math.floor((c - 4) / 4) == class % 5
        row[c + 1] = string.char(inside and 200 + (k + r * c) % 50 or (k * 31 + r * 7 + c * 3) % 20)
      end
      rows[r + 1] = table.concat(row)
    end
    pixels[k + 1], labels[k + 1] = table.concat(rows), string.char(class)
  end
  sys.write(('%s/%s-images-idx3-ubyte'):format(folder, name), '\0\0\8\3' .. big(n) .. big(28) .. big(28)
    .. table.concat(pixels))
  sys.write(('%s/%s-labels-idx1-ubyte'):format(folder, name), '\0\0\8\1' .. big(n) .. table.concat(labels))
end

setup(function()
  dir = command.scratch()
  sys.mkdir(dir .. '/data/MNIST')
  write(dir .. '/data/MNIST', 'train', 400)
  write(dir .. '/data/MNIST', 't10k', 101)
  env = { env = ('DATAMUX_DATA=%s/data'):format(dir) }
  local code, _, err = command.run(('recipes/mnist_mlp.lua mux.n=2 train.steps=300 train.epochs=1 train.rows=16 '
    .. 'train.lr=3e-3 -o %s -q'):format(dir), env)
  assert(code == 0, err)
end)

teardown(function() sys.remove(dir) end)

describe('a run on images', function()
  it('ends with a model folder that has a card and checksums', function()
    local folder = dir .. '/mnist_mlp/latest/model'
    assert.are.same({ 'README.md', 'SHA256SUMS', 'config.json', 'model.safetensors' }, sys.list(folder))
    local c = cjson.decode(sys.read(folder .. '/config.json'))
    assert.are.same({ 20, 20 }, c.image_size)
    assert.are.equal('7', c.id2label['7'])
    assert.is_truthy(sys.read(folder .. '/README.md'):find('N = 2 images per pass', 1, true))
  end)

  it('can be checked before', function()
    local code, out, err = command.run('check recipes/mnist_mlp.lua mux.n=2 train.rows=16', env)
    assert.are.equal(0, code, err)
    assert.is_truthy(out:find('\ntrain      400 images · ', 1, true), out)
    assert.is_truthy(out:find('ready\n$'), out)
  end)

  it('may have a small profile and the paper\'s', function()
    sys.write(dir .. '/sized.lua', [[return { task = 'mnist', model = { kind = 'mlp' }, mux = { n = 2, kind = 'so' },
      train = { steps = 2, rows = 8 }, profiles = { small = {}, paper = { train = { steps = 9 } } } }]])
    local code, _, err = command.run(('%s/sized.lua -d cpu -o %s'):format(dir, dir), env)
    assert.are.equal(0, code, err)
    assert.is_truthy(sys.read(dir .. '/sized/latest/status.json'):find('finished', 1, true))
  end)

  it('predicts a label and its score for each image, in order', function()
    local images = dir .. '/data/MNIST/t10k-images-idx3-ubyte'
    local code, out, err = command.run(('predict %s/mnist_mlp/latest %s'):format(dir, images), env)
    assert.are.equal(0, code, err)
    local labels, right, n = sys.read(dir .. '/data/MNIST/t10k-labels-idx1-ubyte'), 0, 0
    for label in out:gmatch '(%d)\t0%.%d+\n' do
      n = n + 1
      if labels:byte(8 + n) == tonumber(label) then right = right + 1 end
    end
    assert.are.equal(101, n)
    local scored
    code, scored = command.run(('eval %s/mnist_mlp/latest --json'):format(dir), env)
    assert.are.equal(0, code)
    local r = cjson.decode(scored)
    assert.are.equal(101, r.scored)
    assert.is_true(r.accuracy > 0.5)
    assert.is_true(math.abs(right / 101 - r.accuracy) < 0.1)
    local _, again = command.run(('predict %s/mnist_mlp/latest/model %s'):format(dir, images), env)
    assert.are.equal(out, again)
    local _, lines = command.run(('predict %s/mnist_mlp/latest %s --out jsonl --scores all --group file'):format(dir,
      images), env)
    local first = cjson.decode(lines:match '[^\n]+')
    local sum = 0
    for _, p in pairs(first.scores) do sum = sum + p end
    assert.is_true(math.abs(sum - 1) < 0.01)
    assert.is_string(first.label)
  end)

  it('is scored on files, and timed', function()
    local at = dir .. '/data/MNIST/t10k-'
    local code, out = command.run(('eval %s/mnist_mlp/latest %simages-idx3-ubyte --label %slabels-idx1-ubyte --json')
      :format(dir, at, at), env)
    assert.are.equal(0, code)
    assert.are.equal(101, cjson.decode(out).scored)
    code, out = command.run(('bench %s/mnist_mlp/latest --repeats 2 --texts 100 --json'):format(dir), env)
    assert.are.equal(0, code)
    local list = cjson.decode(out)
    assert.are.same({ 'model', 'end-to-end' }, { list[1].test, list[2].test })
    assert.is_true(list[1].texts_per_second > 0 and list[2].texts_per_second > 0)
    code, out = command.run(('model info %s/mnist_mlp/latest'):format(dir), env)
    assert.are.equal(0, code)
    assert.is_truthy(out:find 'images of 20 x 20')
  end)

  it('is read in several slots, the answers averaged', function()
    local model, images = dir .. '/mnist_mlp/latest', dir .. '/data/MNIST/t10k-images-idx3-ubyte'
    local code, out, err = command.run(('eval %s --ensemble 2 --mates 1 --json'):format(model), env)
    assert.are.equal(0, code, err)
    local r = cjson.decode(out)
    assert.are.equal(101, r.scored)
    code, out, err = command.run(('report ensemble %s --groupings 1 --json'):format(model), env)
    assert.are.equal(0, code, err)
    local rows = cjson.decode(out).rows
    assert.are.same({ 'beside others', r.value, 'in one row' }, { rows[2].where, rows[2].value, rows[3].where })
    code, out, err = command.run(('predict %s %s --ensemble 2'):format(model, images), env)
    assert.are.equal(0, code, err)
    assert.are.equal(101, select(2, out:gsub('\n', '')))
    code, out, err = command.run(('recipes/mnist_mlp.lua mux.n=2 train.steps=2 train.rows=16 eval.ensemble=2 '
      .. '-o %s/e -q'):format(dir), env)
    assert.are.equal(0, code, err)
    assert.is_truthy(out:find('\n  ensemble   0%.%d+   %(each text in 2 slots'))
  end)

  it('has no states of texts to compare', function()
    local code, out, err = command.run(('report interference %s/mnist_mlp/latest'):format(dir), env)
    assert.are.same({ 2, '' }, { code, out })
    assert.is_truthy(err:find('it reads images, expected a model of texts', 1, true))
  end)

  it('says what is wrong with a file', function()
    local code, _, err = command.run(('predict %s/mnist_mlp/latest'):format(dir), env)
    assert.are.equal(3, code)
    assert.is_truthy(err:find('E303', 1, true))
    code, _, err = command.run(('predict %s/mnist_mlp/latest README.md'):format(dir), env)
    assert.are.equal(3, code)
    assert.is_truthy(err:find 'magic number')
    code, _, err = command.run(('eval %s/mnist_mlp/latest %s/data/MNIST/t10k-images-idx3-ubyte'):format(dir, dir), env)
    assert.are.equal(3, code)
    assert.is_truthy(err:find('--label FILE', 1, true))
  end)
end)
