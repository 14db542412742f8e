-- programme_spec.lua -- schedules, configurations, JSON, safetensors, error names.
local ffi = require 'ffi'
local cjson = require 'cjson'
local dm = require 'datamux'
local core = require 'datamux.ffi'
local h = require 'tests.helper'
local json = require 'datamux.json'
local plural = require 'datamux.plural'
local recipe = require 'datamux.recipe'
local safetensors = require 'datamux.safetensors'
local schedule = require 'datamux.schedule'
local errors = require 'datamux.errors'
local sys = require 'datamux.sys'

describe('what is counted', function()
  it('has an s where it is not one', function()
    assert.are.same({ '0 layers', '1 layer', '2 layers', 'row' }, { plural.of(0, 'layer'), plural.of(1, 'layer'),
      plural.of(2, 'layer'), plural.noun(1, 'row') })
    local c = recipe.resolve({ task = 'synthetic', model = { layers = 1 } }, {})
    assert.are.equal('N = 20, 1 layer of 256', recipe.words(c))
  end)
end)

describe('a schedule', function()
  it('rises over its warm-up and falls as its name says', function()
    assert.is_near(0.1, schedule.factor('linear', 1, 100, 0.1), 1e-9)
    assert.is_near(1, schedule.factor('linear', 11, 100, 0.1), 1e-9)
    assert.is_near(1 / 90, schedule.factor('linear', 100, 100, 0.1), 1e-9)
    assert.is_near(0.5, schedule.factor('cosine', 51, 100, 0), 1e-9)
    assert.are.equal(1, schedule.factor('constant', 70, 100, 0.1))
    for _, kind in ipairs(schedule.kinds) do
      for step = 1, 50 do assert.is_true(schedule.factor(kind, step, 50, 0.2) > 0) end
    end
  end)
end)

describe('a configuration', function()
  it('takes default, recipe, profile and command line in this order, each with its origin', function()
    local config, list = recipe.resolve({ task = 'sst2', model = { width = 64 }, train = { lr = 1e-3 },
      profiles = { small = { train = { lr = 2e-3 } }, paper = { train = { lr = 3e-3 } } } },
      { overrides = { 'train.rows=4', 'dropout=0.2', 'warmup.stop=none', 'vocab.size=4k' } })
    local from = {}
    for _, e in ipairs(list) do from[e.path] = e.from end
    assert.are.same({ 64, 2e-3, 4, 0.2, 256, 4000 }, { config.model.width, config.train.lr, config.train.rows,
      config.model.dropout, config.model.inner, config.model.vocab.size })
    assert.are.same({ 'recipe', 'profile small', 'command line', 'default' },
      { from['model.width'], from['train.lr'], from['train.rows'], from['mux.n'] })
    assert.are.equal(3e-3, recipe.resolve({ task = 'sst2', profiles = { paper = { train = { lr = 3e-3 } } } },
      { overrides = { 'profile=paper' } }).train.lr)
  end)

  local function refused(pattern, t, overrides)
    local ok, e = pcall(recipe.resolve, t, { overrides = overrides })
    assert.is_false(ok)
    assert.are.equal(2, e.code)
    assert.is_truthy(tostring(e):find(pattern), tostring(e))
  end

  it('refuses what does not belong or fit', function()
    refused("unknown key 'train.learning_rate'", { task = 'sst2', train = { learning_rate = 1 } })
    refused('did you mean: model.layers', { task = 'sst2', model = { layer = 1 } })
    refused("'train' is 3, expected a table", { task = 'sst2', train = 3 })
    refused("'task' is missing", {})
    refused("'task' is 'sst3', expected one of", { task = 'sst3' })
    refused("'mux.n' is '5', expected a whole number >= 1", { task = 'sst2', mux = { n = '5' } })
    refused("'train.alpha' is 2", { task = 'sst2' }, { 'alpha=2' })
    refused('demux.key', { task = 'sst2', demux = { kind = 'rsa', key = 'own' } })
    refused('demux.rank is 999', { task = 'sst2', demux = { rank = 999 } })
    refused('data.length is 600', { task = 'sst2', data = { length = 600 } })
    refused("mux.n is 20 with model.kind 'plain'", { task = 'sst2', model = { kind = 'plain' } })
    refused("unknown profile 'large'", { task = 'sst2', profiles = { large = {} } })
    refused("unknown key 'train.lrr'", { task = 'sst2', profiles = { paper = { train = { lrr = 1 } } } })
    refused("'seed' cannot be none", { task = 'sst2' }, { 'seed=none' })
    refused('is no key=value', { task = 'sst2' }, { 'steps' })
  end)
end)

describe('JSON', function()
  it('keeps numbers exactly and writes what is not finite as null', function()
    local v = { a = 0.1, b = 1e-300, c = 0 / 0, d = math.huge, e = 12345678901, f = 'x"\n\1', g = { 1, 2 }, h = true,
                empty = json.list {} }
    local text = json.encode(v)
    local back = cjson.decode(text)
    assert.are.same({ 0.1, 1e-300, 12345678901, 'x"\n\1', { 1, 2 }, true },
      { back.a, back.b, back.e, back.f, back.g, back.h })
    assert.is_truthy(text:find('"c":null', 1, true))
    assert.is_truthy(text:find('"empty":[]', 1, true))
    assert.are.same(back, cjson.decode(json.encode(v, true)))
  end)
end)

describe('safetensors', function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function saved()
    safetensors.write(path, { b = dm.tensor({ { 1, 2 }, { 3, 4 } }), a = dm.tensor({ 5, -6 }, nil, 'i32'),
      c = dm.Tensor.new({ 3 }, 'bf16'):fill(0.5) }, { made = 'here' })
    return sys.read(path)
  end

  it('gives back what was written', function()
    saved()
    local f = safetensors.open(path)
    assert.are.same({ made = 'here' }, f.metadata)
    assert.are.same({ 1, 2, 3, 4 }, h.values(f.tensors.b))
    assert.are.same({ 5, -6 }, h.values(f.tensors.a))
    assert.are.same({ 0.5, 0.5, 0.5 }, h.values(f.tensors.c))
    assert.are.same({ 2, 2 }, f.tensors.b.shape)
    local t = dm.zeros(2, 2)
    assert.is_true(safetensors.copy(f.tensors.b, t))
    assert.are.same({ 1, 2, 3, 4 }, t:totable())
    local ok, why = safetensors.copy(f.tensors.b, dm.zeros(4))
    assert.is_false(ok)
    assert.are.equal('F32[2, 2], expected F32[4]', why)
  end)

  it('keeps a file open as long as one of its entries lives', function()
    saved()
    local entry = safetensors.open(path).tensors.b
    collectgarbage()
    collectgarbage()
    assert.are.same({ 1, 2, 3, 4 }, h.values(entry))
  end)

  it('refuses files that are cut off, overlap, or are something else', function()
    local whole = saved()
    local function refused(pattern, bytes)
      sys.write(path, bytes)
      local ok, e = pcall(safetensors.open, path)
      assert.is_false(ok)
      assert.are.equal(7, e.code)
      assert.is_truthy(tostring(e):find(pattern), tostring(e))
    end
    local function with(header, n)
      return string.char(#header) .. ('\0'):rep(7) .. header .. ('\0'):rep(n)
    end
    refused('expected at least 8', 'abc')
    refused('cut off', whole:sub(1, -2))
    refused('header of', whole:sub(1, 20))
    refused('not JSON', with('{nope', 0))
    refused("lacks dtype", with('{"a":{"dtype":"F32"}}', 0))
    refused("starts at byte 4, expected 0", with('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', 8))
    refused("has 4 bytes, expected 8", with('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', 4))
    refused("has dtype F99", with('{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}', 4))
    local ok, e = pcall(safetensors.open, path .. '-absent')
    assert.is_false(ok)
    assert.are.equal(7, e.code)
  end)

  it('leaves the old file when the new one cannot be written', function()
    local ok, e = pcall(safetensors.write, '/nowhere/x.safetensors', { a = dm.zeros(1) })
    assert.is_false(ok)
    assert.are.equal(4, e.code)
    sys.write(path, 'old')
    local out = ffi.new 'dm_writer *[1]'
    core.check(core.C.dm_writer_open(out, path))
    core.check(core.C.dm_writer_write(out[0], 'new', 3))
    core.C.dm_writer_free(out[0])                                  -- without commit
    assert.are.equal('old', sys.read(path))
  end)

  it('says why a file cannot be written', function()
    local out = ffi.new 'dm_writer *[1]'
    assert.are.equal(core.C.DM_EIO, core.C.dm_writer_open(out, '/nowhere/file'))
    assert.are.equal('/nowhere/file: No such file or directory', ffi.string(core.C.dm_last_error()))
  end)
end)

describe('names', function()
  it('are suggested when they are close', function()
    assert.are.equal('learning', errors.nearest('laerning', { 'layers', 'learning' }))
    assert.is_nil(errors.nearest('zzz', { 'layers', 'learning' }))
  end)

  it('belong to every status', function()
    assert.are.equal('ESHAPE', ffi.string(core.C.dm_status_name(core.C.DM_ESHAPE)))
    assert.are.equal('OK', ffi.string(core.C.dm_status_name(0)))
    assert.are.equal('E?', ffi.string(core.C.dm_status_name(99)))
  end)
end)
