-- preferences_spec.lua -- a person's own defaults: what they may say, what they may not, and what is above them.
local cjson = require 'cjson'
local download = require 'datamux.data.download'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local small = 'recipes/quickstart.lua warmup.steps=1 train.steps=1 eval.groupings=1 eval.bootstrap=0 '
local dir

before_each(function()
  dir = command.scratch()
  sys.mkdir(dir .. '/datamux')
end)
after_each(function() sys.remove(dir) end)

local function run(args, text, env)
  sys.write(dir .. '/datamux/config.lua', text)
  local unset = '-u DATAMUX_THREADS -u DATAMUX_PROGRESS -u DATAMUX_RUNS -u DATAMUX_GPU_PRICE -u DATAMUX_DEVICE'
  return command.run(args, { env = ('%s XDG_CONFIG_HOME=%s %s'):format(unset, dir, env or '') })
end

local function refused(text, ...)
  local code, out, err = run('runs ls', text)
  assert.are.same({ 2, '' }, { code, out })
  for _, want in ipairs { 'error[E221]', ... } do
    assert(err:find(want, 1, true), ('no "%s" in\n%s'):format(want, err))
  end
end

describe('the defaults of a person', function()
  it('hold where neither environment nor command line say otherwise', function()
    local own = ("return { out = '%s/mine', progress = 'none', threads = 1, gpu_price = 2.5, device = 'cpu' }")
      :format(dir)
    local code, out, err = run(small, own)
    assert.are.same({ 0, 1 }, { code, #sys.list(dir .. '/mine') }, err)
    assert.is_nil(err:find('warmup: ', 1, true), err)
    assert.is_truthy(out:find('per million at $2.50/h', 1, true), out)
    assert.is_truthy(out:find('cpu (1 thread,', 1, true), out)
    code, out, err = run(small .. '--progress lines -o ' .. dir .. '/theirs', own, 'DATAMUX_GPU_PRICE=4')
    assert.are.same({ 0, 1, 1 }, { code, #sys.list(dir .. '/mine'), #sys.list(dir .. '/theirs') }, err)
    assert.is_truthy(err:find('Z warmup: 1 step', 1, true), err)
    assert.is_truthy(out:find('per million at $4.00/h', 1, true), out)
    code, out, err = run('explain E221', 'return 7')                          -- what explains needs no defaults
    assert.are.equal(0, code, err)
    assert.is_truthy(out:find('datamux/config.lua', 1, true))
    code, out, err = run('runs show x', "return { color = 'always' }")
    assert.are.same({ 2, '' }, { code, out })
    assert.is_truthy(err:find '\27')
  end)

  it('leave the recipe alone: its device is above theirs', function()
    local code, out = run('recipes/quickstart.lua -n', "return { device = 'cpu' }")
    assert.are.equal(0, code)
    assert.is_truthy(out:find 'device +auto +default', out)
  end)

  it('are refused where they are of a recipe, not known, or no value', function()
    local where = dir .. '/datamux/config.lua'
    refused('return { train = { lr = 1 } }', "'train' is a key of recipes", 'a run must not depend on this file', where)
    refused('return { seed = 3 }', "'seed' is a key of recipes", 'fix: put it into the recipe')
    refused('return { gpuprice = 3 }', "unknown key 'gpuprice'", 'did you mean: gpu_price?')
    refused('return { 7 }', "unknown key '1'")
    refused('return { threads = 0 }', "'threads' is 0, expected a whole number >= 1", 'fix: threads = 4', where)
    refused("return { device = 'gpu' }", "'device' is 'gpu', expected auto, cpu, cuda or cuda:N")
    refused("return { progress = 'bars' }", "expected one of auto, bar, lines, none")
    refused("return { gpu_price = '3' }", "'gpu_price' is '3', expected dollars an hour")
    refused("return { mirrors = { 'https://x' } }", "'mirrors' is table: ", 'expected addresses by')
    refused('return\n{ threads = }', where .. ':2: ')
    refused('x.y = 1', where .. ':1: ')
    refused('threads = 4', where .. ' returned nil, expected a table')
  end)

  it('are named by doctor, also where they are refused', function()
    local code, out = run('doctor --device cpu', 'return { threads = 1 }', 'DATAMUX_DATA=')
    assert.are.equal(0, code)
    assert.is_truthy(out:find('\ndefaults +[^\n]*/datamux/config%.lua\n'), out)
    assert.is_truthy(out:find('1 thread used', 1, true), out)
    code, out = run('doctor --device cpu --json', 'return { thread = 1 }')
    assert.are.equal(0, code)
    local r = cjson.decode(out)
    assert.is_false(r.preferences.fine)
    assert.is_truthy(table.concat(r.problems, '|'):find("unknown key 'thread'", 1, true))
  end)
end)

describe('a mirror', function()
  it('gives what the address that it stands for would', function()
    sys.write(dir .. '/there.txt', 'bytes')
    download.mirrors = { ['https://example.invalid/'] = 'file:///nowhere/',
                         ['https://example.invalid/a/'] = ('file://%s/'):format(dir) }
    local ok, why = download.url('https://example.invalid/a/there.txt', dir .. '/part')
    local _, other = download.url('https://example.invalid/b', dir .. '/other')
    download.mirrors = {}
    assert.is_true(ok, why)
    assert.are.equal('bytes', sys.read(dir .. '/part'))
    assert.is_truthy(other:find('^file:///nowhere/b: '), other)
    assert.are.equal('https://example.invalid/b', download.address 'https://example.invalid/b')
  end)
end)
