-- values_spec.lua -- where the values of a recipe come from: files, environment, command line; units, lists, sweeps.
local recipe = require 'datamux.recipe'
local locate = require 'datamux.locate'
local override = require 'datamux.override'
local sweep = require 'datamux.sweep'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local base = { task = 'synthetic', data = { warmup = { source = { 'a.txt' } } } }

local function value(path, overrides, o)
  o = o or {}
  o.overrides = overrides
  local _, list = recipe.resolve(o.table or base, o)
  for _, e in ipairs(list) do
    if e.path == path then return e.value, e.from end
  end
end

local function refused(id, pattern, fn, ...)
  local ok, e = pcall(fn, ...)
  assert.is_false(ok)
  assert.are.equal(id, e.id, tostring(e))
  assert.is_truthy(tostring(e):find(pattern), tostring(e))
end

describe('key=value', function()
  it('takes numbers with units, by the type of the key', function()
    assert.are.equal(5e-5, (value('train.lr', { 'train.lr=5e-5' })))
    assert.are.equal(64000, (value('warmup.steps', { 'warmup.steps=64k' })))
    assert.are.equal(3, (value('train.epochs', { 'train.epochs=3.0' })))
    assert.are.equal(600, (value('save.every', { 'save.every=10m' })))
    assert.are.equal(5400, (value('log.every', { 'log.every=1.5h' })))
    refused('E202', "'10m', expected a whole number", value, 'warmup.steps', { 'warmup.steps=10m' })
  end)

  it('is told a value that makes sense where it is wrong: the default, or none at all', function()
    refused('E202', 'fix: warmup.steps=0$', value, 'warmup.steps', { 'warmup.steps=ten' })
    refused('E202', 'fix: train.epochs=10$', value, 'train.epochs', { 'train.epochs=ten' })
    refused('E202', 'fix: model.kind=tmux$', value, 'model.kind', { 'model.kind=ten' })
    for _, key in ipairs { 'train.steps', 'train.every', 'train.patience', 'data.limit', 'expect.f1.at_least' } do
      refused('E202', ('fix: a number, or leave %s out$'):format(key), value, key, { key .. '=ten' })
    end
  end)

  it('takes booleans, choices, none', function()
    for text, want in pairs { on = true, yes = true, ['true'] = true, off = false, no = false, ['false'] = false } do
      assert.are.equal(want, (value('mux.learn', { 'mux.learn=' .. text })))
    end
    assert.are.equal('none', (value('demux.mask', { 'mask=none' })))
    assert.is_nil((value('warmup.stop', { 'warmup.stop=0.5', 'warmup.stop=none' })))
  end)

  it('replaces lists, and appends with +=', function()
    assert.are.same({ 'b', 'c' }, (value('data.warmup.source', { 'source=b,c' })))
    assert.are.same({ 'a.txt', 'b' }, (value('data.warmup.source', { 'source+=b' })))
    assert.are.same({ 'x', 'y' }, (value('data.warmup.source', { 'source=["x","y"]' })))
    refused('E202', '%+= is for lists', value, 'seed', { 'seed+=1' })
    refused('E202', 'no JSON list', value, 'seed', { 'source=[1,' })
  end)

  it('completes a last part that is unique, in any case', function()
    assert.are.equal(7, (value('mux.n', { 'N=7' })))
    assert.are.equal(0.3, (value('model.dropout', { 'dropout=0.3' })))
    refused('E206', 'warmup.lr, train.lr', value, 'train.lr', { 'lr=1' })
  end)

  it('resets a group to its defaults', function()
    local t = { task = 'synthetic', mux = { n = 3, learn = true } }
    assert.are.equal(20, (value('mux.n', { 'mux=default' }, { table = t })))
    assert.are.equal(4, (value('mux.n', { 'mux=default', 'mux.n=4' }, { table = t })))
    assert.is_false((value('mux.learn', { 'mux=default', 'mux.n=4' }, { table = t })))
  end)

  it('reads a value from a file', function()
    local dir = command.scratch()
    sys.write(dir .. '/lr', '3e-4\n')
    assert.are.equal(3e-4, (value('train.lr', { 'train.lr=@' .. dir .. '/lr' })))
    sys.remove(dir)
  end)

  it('never evaluates the text', function()
    refused('E202', 'expected a whole number', value, 'seed', { 'seed=1+1' })
    assert.are.equal('os.exit(1)', (value('name', { 'name=os.exit(1)' })))
  end)
end)

describe('precedence', function()
  it('is default, recipe, profile, --config, DATAMUX_SET, command line', function()
    local dir = command.scratch()
    sys.write(dir .. '/c.lua', 'return {\n  train = { lr = 4 },\n  mux = { n = 6 } }')
    local t = { task = 'synthetic', train = { lr = 1, rows = 3 }, profiles = { small = { train = { lr = 2 } } } }
    local o = { table = t, configs = { dir .. '/c.lua' }, set = 'train.rows=5 mux.n=8' }
    local v, from = value('train.lr', {}, o)
    assert.are.equal(4, v)
    assert.are.equal(dir .. '/c.lua line 2', from)
    assert.are.same({ 5, 'DATAMUX_SET' }, { value('train.rows', {}, o) })
    assert.are.same({ 9, 'command line' }, { value('mux.n', { 'mux.n=9' }, o) })
    assert.are.same({ 'default' }, { select(2, value('seed', {}, o)) })
    sys.remove(dir)
  end)
end)

describe('the lines of a recipe', function()
  it('are found by path, whatever else the file holds', function()
    local lines = locate.lines [==[
-- train = { lr = 1 }
local dm = require 'datamux'
local n = 3 --[[ mux = {
  n = 9 } ]]
return dm.recipe {
  name = 'a { b = 1', task = "it's",
  model = { layers = n == 3 and 2 or 4,
            vocab = { kind = [[words = {]] } },
  train = { lr = 1e-3, rows = 2 }, warmup = { lr = 5 },
  profiles = { small = {
    train = { lr = 7 } } },
}]==]
    assert.are.same({ 6, 6, 7, 8, 9, 9, 9, 11 }, { lines.name, lines.task, lines['model.layers'],
      lines['model.vocab.kind'], lines['train.lr'], lines['train.rows'], lines['warmup.lr'],
      lines['profiles.small.train.lr'] })
    assert.is_nil(lines['mux.n'])
    assert.is_nil(lines.b)
    assert.is_nil(lines['model.n'])
  end)
end)

describe('a sweep', function()
  it('goes through every combination, the last key fastest', function()
    local axes, count = sweep.axes { 'train.lr=1e-3,2e-3', 'seed=1..3' }
    assert.are.equal(6, count)
    local all = {}
    for k = 1, count do all[k] = table.concat(sweep.combination(axes, k), ' ') end
    assert.are.equal('train.lr=1e-3 seed=1|train.lr=1e-3 seed=2|train.lr=1e-3 seed=3|train.lr=2e-3 seed=1|'
      .. 'train.lr=2e-3 seed=2|train.lr=2e-3 seed=3', table.concat(all, '|'))
  end)

  it('refuses keys and values as a single run does', function()
    refused('E201', 'train.lrr', sweep.axes, { 'train.lrr=1,2' })
    refused('E202', "'x'", sweep.axes, { 'train.lr=1,x' })
    refused('E200', 'twice', sweep.axes, { 'seed=1,2', 'seed=3' })
    refused('E200', 'expected key=a,b', sweep.axes, { 'seed' })
  end)

  it('ends after the combination at whose end a signal came', function()
    local output, ran = print, 0
    _G.print = function() end
    local ok, code = pcall(sweep.run, {}, { sweep = { 'seed=1..3' }, quiet = true }, function()
      ran = ran + 1
      return 0, {}, 'run', ran == 2
    end)
    _G.print = output
    assert.are.same({ true, 75, 2 }, { ok, code, ran })
  end)

  it('makes a run of each, and one table; a failing one is a row', function()
    local dir = command.scratch()
    local small = 'recipes/quickstart.lua warmup.steps=2 train.steps=2 train.every=2 eval.groupings=1 -q -o ' .. dir
    local code, out, err = command.run(small .. ' --sweep mux.n=2,3 seed=1..2')
    assert.are.equal(0, code, err)
    assert.are.equal(5, select(2, out:gsub('\n', '')), out)
    assert.is_truthy(out:find '^mux%.n +seed +accuracy')
    assert.are.equal(4, #sys.list(dir .. '/quickstart') - 1)
    code, out = command.run(small .. ' --json --sweep train.rows=2,9999')
    assert.are.equal(2, code)
    local rows = require('cjson').decode(out)
    assert.are.same({ 2, 0, 2 }, { #rows, rows[1].code, rows[2].code })
    assert.is_truthy(rows[2].error:find 'E216')
    sys.remove(dir)
  end)
end)

describe('--dry-run', function()
  it('prints every value with its origin, also as JSON', function()
    local code, out = command.run('recipes/sst2_n20.lua -n --json train.lr=1', { env = 'DATAMUX_SET="seed=5 mux.n=3"' })
    assert.are.equal(0, code)
    local by = {}
    for _, e in ipairs(require('cjson').decode(out)) do by[e.key] = e end
    assert.are.same({ 1, 'command line', 5, 'DATAMUX_SET', 3 },
      { by['train.lr'].value, by['train.lr'].from, by.seed.value, by.seed.from, by['mux.n'].value })
    assert.is_truthy(by['model.width'].from:find 'profile small line %d+')
    assert.are.equal('default', by['train.clip'].from)
    assert.is_truthy(#override.paths() > 60)
  end)

  it('says which environment variables mean nothing', function()
    local _, _, err = command.run('recipes/quickstart.lua -n', { env = 'DATAMUX_TREADS=3' })
    assert.is_truthy(err:find("DATAMUX_TREADS means nothing here. Did you mean 'DATAMUX_THREADS'?", 1, true), err)
    _, _, err = command.run('recipes/quickstart.lua -n', { env = 'DATAMUX_THREADS=2' })
    assert.are.equal('', err)
  end)
end)

describe('the environment variables', function()
  it('that code reads are those that are known', function()
    local known = {}
    for _, name in ipairs(require('datamux.cli').variables) do known[name] = true end
    local f = io.popen 'grep -rhE getenv lua src kernels | grep -oE "DATAMUX_[A-Z0-9_]+" | sort -u'
    local n = 0
    for name in f:lines() do
      n = n + 1
      assert.is_true(known[name], name .. ' is read, and not in the list of datamux.cli')
    end
    f:close()
    assert.is_true(n > 5)
  end)
end)
