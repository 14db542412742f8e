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
