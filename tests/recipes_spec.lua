-- recipes_spec.lua -- every recipe of the folder: it resolves in each profile, learns a few examples by heart, and
-- continues exactly; where its data are not at hand, it says so.
local errors = require 'datamux.errors'
local sys = require 'datamux.sys'
local testing = require 'datamux.testing'
local command = require 'tests.cli.command'

-- What takes other than 400 updates at N = 4, and why.
local harder = {
  sst2_n20_paper = { n = 2, steps = 800 },               -- the CLS read-out behind an index prefix starts slowly
  mnist_cnn = { n = 2, steps = 800, limit = 16 },        -- LeNet sees two images in one
  mnist_mlp = { n = 2, steps = 800 },
}

local recipes = {}
for _, file in ipairs(sys.list 'recipes') do
  if file:find '%.lua$' then recipes[#recipes + 1] = file:match '^(.*)%.lua$' end
end

-- fn(), or nil and what is missing where the data are not at hand; nothing is downloaded.
local function with_data(fn)
  local offline = os.getenv 'DATAMUX_OFFLINE'
  sys.setenv('DATAMUX_OFFLINE', '1')
  local ok, r = pcall(fn)
  sys.setenv('DATAMUX_OFFLINE', offline or '')
  if ok then return r end
  if not (errors.is(r) and (r.id == 'E303' or r.id == 'E310' or r.id == 'E801')) then error(r, 0) end
  return nil, r.message:match '[^\n]+'
end

describe('the recipes', function()
  it('are there', function() assert.is_true(#recipes >= 17) end)

  for _, name in ipairs(recipes) do
    describe(name, function()
      local test = testing.recipe(('recipes/%s.lua'):format(name))

      it('resolves in every profile', function()
        local n = 0
        for profile, c in pairs(test:check()) do
          n = n + 1
          assert.are.equal(name, c.name)
          if profile ~= '' then assert.are.equal(profile, c.profile) end
        end
        assert.is_true(n >= 1)
      end)

      it('learns a few examples by heart, every one scored', function()
        local r, missing = with_data(function() return test:smoke(harder[name]) end)
        if not r then return pending(missing) end
        assert.is_true(r.value > 0.9, ('%s is %.4f'):format(r.metric, r.value))
        assert.are.equal(r.total, r.scored)
      end)
    end)
  end
end)

describe('a recipe under test', function()
  it('continues to the same bits, and a training that does not is seen', function()
    local test = testing.recipe 'recipes/quickstart.lua'
    assert.is_true(test:resume_is_exact())
    local checkpoint = require 'datamux.checkpoint'
    local load = checkpoint.load
    finally(function() checkpoint.load = load end)
    function checkpoint.load(...)                        -- one update is forgotten
      local r = load(...)
      r.state.global = r.state.global + 1
      return r
    end
    assert.is_false(test:resume_is_exact())
  end)

  it('does not pass for a network that cannot learn', function()
    local r = testing.recipe('recipes/quickstart.lua'):smoke { steps = 40, lr = 0 }
    assert.is_true(r.value < 0.9)
  end)

  it('names what is not met', function()
    local results = { metrics = { accuracy = 0.5, f1 = 0.8 }, retrieval = 0.4 }
    assert.are.same({}, testing.unmet({ accuracy = { at_least = 0.5 }, f1 = {} }, results))
    assert.are.same({ 'accuracy is 0.5000, expected at least 0.6', 'mcc is not scored, expected at least 0',
      'retrieval is 0.4000, expected at least 0.5' }, testing.unmet({ accuracy = { at_least = 0.6 },
      mcc = { at_least = 0 }, retrieval = { at_least = 0.5 } }, results))
  end)
end)

describe('datamux test', function()
  local dir
  setup(function() dir = command.scratch() end)
  teardown(function() sys.remove(dir) end)

  local quick = 'test recipes/quickstart.lua warmup.steps=2 train.steps=4 model.layers=1 model.width=32 -q -o %s '

  it('exits with 10 where a recipe does not reach what it expects, with 0 where it does', function()
    local code, out, err = command.run(quick:format(dir) .. 'expect.accuracy.at_least=1')
    assert.are.equal(10, code)
    assert.is_truthy(err:find('not met: accuracy is 0.%d+, expected at least 1'))
    assert.is_truthy(out:find('quickstart: failed', 1, true))
    local met = 'expect.accuracy.at_least=0.01 expect.retrieval.at_least=0 --json'
    code, out = command.run(quick:format(dir) .. met)
    assert.are.equal(0, code)
    assert.is_true(require('cjson').decode(out).passed)
  end)

  it('refuses a recipe that expects nothing, before any work', function()
    local code, out, err = command.run(quick:format(dir .. '/none') .. 'expect.accuracy.at_least=none')
    assert.are.same({ 2, '' }, { code, out })
    assert.is_truthy(err:find("'expect' is missing", 1, true))
    assert.is_nil(sys.kind(dir .. '/none'))
  end)

  it('learns by heart and continues within seconds with --smoke', function()
    assert.are.equal(0, (command.run 'test recipes/quickstart.lua --smoke'))
    local code, _, err = command.run 'test recipes/quickstart.lua --smoke --floor 1.1'
    assert.are.equal(10, code)
    assert.is_truthy(err:find('expected at least 1.1', 1, true))
  end)
end)
