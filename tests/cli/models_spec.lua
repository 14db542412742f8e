-- models_spec.lua -- datamux model, and models of other programs under the commands that use models.
local cjson = require 'cjson'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local GOLDEN = 'tests/golden/import/'

local dir

before_each(function() dir = command.scratch() end)
after_each(function() sys.remove(dir) end)

local function has(text, ...)
  for _, part in ipairs { ... } do
    assert.is_truthy(text:find(part, 1, true), ('expected "%s" in: %s'):format(part, text))
  end
end

describe('a folder of Hugging Face', function()
  it('is predicted with, scored, timed and looked at as it is', function()
    local code, out = command.run('predict ' .. GOLDEN .. 'bert_sequence', { input = 'a fine film\nnot good\n' })
    assert.are.equal(0, code)
    assert.is_truthy(out:find '^%a+\t0%.%d+\n%a+\t0%.%d+\n$')
    sys.write(dir .. '/x.tsv', 'sentence\tlabel\na fine film\tgood\nnot good\tbad\n')
    code, out = command.run(('eval %sbert_sequence %s/x.tsv --json'):format(GOLDEN, dir))
    assert.are.equal(0, code)
    assert.are.equal(2, cjson.decode(out).scored)
    sys.write(dir .. '/x.txt', 'a fine film\nnot good\n')
    code, out = command.run(('bench %sbert_sequence --data %s/x.txt --texts 20 --repeats 1 --json'):format(GOLDEN, dir))
    assert.are.equal(0, code)
    assert.are.equal(1, cjson.decode(out)[1].n)
    code, out = command.run('model info ' .. GOLDEN .. 'bert_sequence')
    assert.are.equal(0, code)
    has(out, 'bert, 2 layers of 8, classify, 3 classes', '41 tensors loaded')
  end)

  it('is imported into a new folder of ours', function()
    local code, out, err, _ = command.run(('model import %sroberta_sequence --to %s/m'):format(GOLDEN, dir))
    assert.are.equal(0, code, err)
    has(out, dir .. '/m')
    has(err, '41 tensors loaded')
    assert.are.same({ 'README.md', 'SHA256SUMS', 'config.json', 'merges.txt', 'model.safetensors', 'vocab.json' },
      sys.list(dir .. '/m'))
    local input = { input = 'a fine film\n' }
    assert.are.same({ command.run('predict ' .. GOLDEN .. 'roberta_sequence', input) },
      { command.run('predict ' .. dir .. '/m', input) })
    code, _, err = command.run(('model import %sroberta_sequence --to %s/m'):format(GOLDEN, dir))
    assert.are.equal(2, code)
    has(err, 'E218')
  end)
end)

describe('a model of own data', function()
  local REVIEWS = "return { task = { type = 'classify', train = 'train.tsv', dev = 'dev.tsv', text = 'review' }, "
    .. "mux = { n = 2 }, model = { layers = 1, width = 16, heads = 2 }, data = { length = 8 }, warmup = { steps = 0 }, "
    .. 'train = { steps = 2, rows = 2 }, eval = { groupings = 1, bootstrap = 0 } }'

  before_each(function()
    sys.mkdir(dir .. '/data')
    sys.write(dir .. '/data/reviews.lua', REVIEWS)
    for _, name in ipairs { 'train', 'dev' } do
      sys.write(('%s/data/%s.tsv'):format(dir, name), 'review\tlabel\n' .. ('good\tyes\nbad\tno\n'):rep(4))
    end
    local code, out = command.shell(('cd %s && "$DM" data/reviews.lua -q'):format(dir))
    assert.are.equal(0, code, out)
  end)

  it('finds its files again from the run, and leaves their places out of the model folder', function()
    local run, folder = dir .. '/runs/reviews/latest', dir .. '/model'
    local code, out, err = command.run('eval ' .. run)
    assert.are.equal(0, code, err)
    has(out, 'dev of own: scored 8/8')
    assert.are.equal(0, (command.run(('model export %s --to %s'):format(run, folder))))
    local c = cjson.decode(sys.read(folder .. '/config.json'))
    assert.are.same({ type = 'classify', text = 'review' }, c.own)
    assert.is_nil(c.folder)
    has(sys.read(folder .. '/README.md'), 'for `reviews`: 1 layer', 'datamux eval MODEL_FOLDER FILE')
    code, out, err = command.run('eval ' .. folder)
    assert.are.equal('', out)
    assert.are.equal(3, code)
    has(err, "reviews: 'dev' of its task is not part of the model folder", 'name a file')
    code, out, err = command.run(('eval %s %s/data/dev.tsv'):format(folder, dir))
    assert.are.equal(0, code, err)
    has(out, 'scored 8/8')
    code, out = command.run('model info ' .. folder)
    assert.are.equal(0, code)
    assert.is_nil(out:find('step', 1, true), out)
  end)

  it('is written in 8-bit integers once, and into a new folder only', function()
    local run = dir .. '/runs/reviews/latest'
    assert.are.equal(0, (command.run(('model quantize %s --to %s/small'):format(run, dir))))
    local code, _, err = command.run(('model quantize %s/small'):format(dir))
    assert.are.equal(2, code)
    has(err, 'E215', '8-bit integers already')
    code, _, err = command.run(('model import %s/small --to %s/small'):format(dir, dir))
    assert.are.equal(2, code)
    has(err, "the new folder is '" .. dir .. "/small', which is there and not empty", 'fix: --to')
  end)
end)
