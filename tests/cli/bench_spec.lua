-- bench_spec.lua -- the benches start and say what they should: our part of bench/cpu at every precision, without
-- PyTorch; random files and a stream through predict.
local cjson = require 'cjson'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local TINY = 'layers=1 width=32 heads=2 vocab=100 length=8 n=2 rows=2 steps=1 warmup=0 square=32 threads=1'

describe('bench/cpu', function()
  for _, case in ipairs { 'train f32', 'train bf16', 'infer f32', 'infer bf16', 'infer int8' } do
    local mode, precision = case:match '(%w+) (%w+)'
    it('measures ' .. case, function()
      local code, out, err = command.run(('bench/cpu/ours.lua mode=%s precision=%s %s'):format(mode, precision, TINY),
        { env = 'DATAMUX_BF16=emulated' })
      assert.are.equal(0, code, err)
      local r = cjson.decode(out)
      assert.are.equal(precision, r.precision)
      assert.is_true(r.ms > 0 and r.floor_ms > 0 and r.gflops > 0 and r.peak_mib > 1)
      assert.are.equal(mode == 'infer', r.first_ms ~= nil)
    end)
  end

  it('takes the same steps whether they are timed in groups and their inputs made ahead, or not', function()
    for mode, what in pairs { train = 'loss', infer = 'logit' } do
      local got = {}
      for k, words in ipairs { 'steps=4 group=2', 'steps=4 ahead=0' } do
        local code, out, err = command.run(('bench/cpu/ours.lua mode=%s %s %s'):format(mode, TINY, words))
        assert.are.equal(0, code, err)
        got[k] = cjson.decode(out)[what]
      end
      assert.are.equal(got[1], got[2])
    end
  end)

  it('refuses to train in int8', function()
    local code, _, err = command.run('bench/cpu/ours.lua mode=train precision=int8 ' .. TINY)
    assert.are_not.equal(0, code)
    assert.is_truthy(err:find('int8', 1, true))
  end)

  it('prints its tables at two numbers of threads, their ratio and the growth with rows', function()
    local code, out, err = command.run('bench/cpu/main.lua mode=infer size=small rounds=1 steps=1 precision=int8 '
      .. 'peers= threads=1,2 rows=1', { env = 'DATAMUX=' .. command.exe })
    assert.are.equal(0, code, err)
    for _, what in ipairs { '8 rows, 1 thread\n', '8 rows, 2 threads\n', 'floor, products at %d+ GFLOP/s',
      '2 threads to 1 %(wall%)', ' 1 rows +%d', 'first answers %(rows: 1%)' } do
      assert.is_truthy(out:find(what), what .. ' is not in:\n' .. out)
    end
  end)
end)

describe('bench/predict_fuzz', function()
  it('sends random files through the filter', function()
    local code, out, err = command.run 'bench/predict_fuzz.lua 400 3'
    assert.are.equal(0, code, err)
    assert.is_truthy(out:find('400 files', 1, true))
  end)
end)

describe('bench/stream.sh', function()
  local work = command.scratch()
  lazy_setup(function()
    assert.are.equal(0, (command.run('recipes/quickstart.lua model.layers=1 model.width=32 model.heads=2 '
      .. 'warmup.steps=0 train.steps=1 eval.groupings=1 -q --out ' .. work)))
    sys.write(work .. '/texts', 'one "text"\na\\b\tc\n')
  end)
  lazy_teardown(function() sys.remove(work) end)

  it('finds one answer for each record, in order', function()
    local code, out = command.shell(('DATAMUX=%s bench/stream.sh %s/quickstart/latest %s/texts 20000'):format(
      command.exe, work, work))
    assert.are.equal(0, code, out)
    assert.is_truthy(out:find('20000 records', 1, true))
  end)
end)
