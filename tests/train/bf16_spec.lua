-- bf16_spec.lua -- training and answering in bf16 on the CPU, its products made in f32 (DATAMUX_BF16=emulated): the
-- scores of f32, resume to the same bits, refusals. Each in a process of its own, as the precision is a process's.
local cjson = require 'cjson'
local host = require 'datamux.host'
local sys = require 'datamux.sys'

local exe = host.exe()
local dir

-- Runs the command, with bf16 emulated unless env says otherwise; returns exit code, stdout, stderr.
local function run(args, env)
  os.execute(('%s %s %s > %s/out 2> %s/err < /dev/null; echo $? > %s/code'):format(env or 'DATAMUX_BF16=emulated', exe,
    args, dir, dir, dir))
  return tonumber(sys.read(dir .. '/code')), sys.read(dir .. '/out'), sys.read(dir .. '/err')
end

local function answer(args)
  local code, out, err = run(args .. ' -d cpu')
  assert.are.equal(0, code, err)
  return out
end

local function refused(code, part, args, env)
  local got, out, err = run(args .. ' -d cpu', env)
  assert.is_truthy(err:find(part, 1, true), ('expected "%s" in: %s'):format(part, err))
  assert.are.equal(code, got)
  assert.are.equal('', out)
end

describe('bf16', function()
  before_each(function()
    dir = ('%s/datamux-bf16-%d'):format(os.getenv 'TMPDIR' or '/tmp', sys.pid())
    sys.mkdir(dir)
  end)
  after_each(function() sys.remove(dir) end)

  it('learns by heart, and scores it', function()
    sys.write(dir .. '/smoke.lua', [[
      local recipe = require('datamux.testing').recipe 'recipes/quickstart.lua'
      print(recipe:smoke { words = { 'precision=bf16' } }.value, require('datamux').scope.compute)]])
    local value, compute = answer(dir .. '/smoke.lua'):match '(%S+)\t(%S+)'
    assert.are.equal('bf16', compute)
    assert.is_true(tonumber(value) > 0.95, value)
  end)

  it('trains every demultiplexer and read-out', function()
    sys.write(dir .. '/all.lua', [[
      local recipe, train = require 'datamux.recipe', require 'datamux.train'
      local log = require('datamux.log').new { mode = 'none' }
      for _, kind in ipairs { 'index', 'rsa', 'unbind', 'mlp' } do
        for _, read in ipairs { 'cls', 'first', 'pool', 'mean' } do
          local s = train.new(recipe.resolve({ name = 'x', task = 'synthetic', precision = 'bf16', model = { layers = 1,
            width = 16, heads = 2 }, mux = { n = 3 }, demux = { kind = kind, read = read }, data = { length = 12,
            limit = 60 }, warmup = { steps = 1, rows = 2 }, train = { steps = 1, rows = 2 } }, {}), { log = log })
          for _, stage in ipairs(s.stages) do assert(s:step(stage, 1).loss > 0) end
          io.write(kind, ' ', read, '\n')
        end
      end]])
    assert.are.equal(16, select(2, answer(dir .. '/all.lua'):gsub('%w+ %w+\n', '')))
  end)

  it('answers from the file as f32 does, in eval and in predict', function()
    answer('recipes/quickstart.lua precision=bf16 model.layers=1 warmup.steps=0 train.steps=100 train.every=100 '
      .. 'eval.groupings=1 -q -o ' .. dir)
    local model = dir .. '/quickstart/latest'
    local function scores(flags)
      local out = answer('eval ' .. model .. flags)
      return tonumber(out:match 'accuracy%s+([%d.]+)'), tonumber(out:match 'loss%s+([%d.]+)')
    end
    local accuracy, loss = scores ''
    local near, other = scores ' --bf16'
    assert.is_near(accuracy, near, 0.02)
    assert.is_near(loss, other, 0.002)
    assert.is_near(cjson.decode(sys.read(model .. '/report.json')).value, near, 5e-5)    -- eval prints four decimals
    sys.write(dir .. '/texts', 'the film was dull\nour meal was superb\nthe bed is not clean\n')
    local function probabilities(flags)
      local list = {}
      local out = answer(('predict %s %s/texts --scores all --out jsonl%s'):format(model, dir, flags))
      for line in out:gmatch '[^\n]+' do list[#list + 1] = cjson.decode(line).scores.positive end
      return list
    end
    local a, b = probabilities '', probabilities ' --bf16'
    assert.are.equal(3, #a)
    for i = 1, 3 do assert.is_near(a[i], b[i], 0.01) end
    refused(2, 'bf16 and int8, expected one of them', ('eval %s --bf16 --int8'):format(model))
  end)

  it('continues to the same bits', function()
    sys.write(dir .. '/resume.lua', [[
      local recipe = require('datamux.testing').recipe 'recipes/quickstart.lua'
      print(recipe:resume_is_exact { words = { 'precision=bf16' } }, require('datamux').scope.compute)]])
    assert.are.equal('true\tbf16\n', answer(dir .. '/resume.lua'))
  end)

  it('is refused before any work where the processor has no instructions for it', function()
    local lacks = 'precision: bf16 on cpu, expected f32'
    refused(4, lacks, 'recipes/quickstart.lua precision=bf16 -q -o ' .. dir .. '/runs', 'DATAMUX_BF16=none')
    assert.is_nil(sys.kind(dir .. '/runs/quickstart/latest/model'))
  end)
end)
