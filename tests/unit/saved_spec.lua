-- saved_spec.lua -- the model folder: written whole, checked when it is read, the same answers as the session.
local cjson = require 'cjson'
local lfs = require 'lfs'
local dm = require 'datamux'
local saved = require 'datamux.saved'
local sys = require 'datamux.sys'
local safetensors = require 'datamux.safetensors'
local small_run = require 'tests.small_run'

local dir, session

local function refused(pattern, fn, ...)
  local ok, e = pcall(fn, ...)
  assert.is_false(ok)
  assert.are.equal(7, e.code)
  assert.is_truthy(tostring(e):find(pattern), tostring(e))
end

local function values(model)
  local out = {}
  for name, t in pairs(model:named()) do out[name] = t:totable() end
  return out
end

describe('a finished model', function()
  local run

  before_each(function()
    dir, run, session = small_run()
  end)
  after_each(function() sys.remove(dir) end)

  it('is the best of a run, any of its checkpoints, and the newest run of a name', function()
    local best, last = dm.load(run), dm.load(run .. ':last')
    assert.are.same({ 10, 20 }, { best.step, last.step })
    assert.are.same(values(session.model), values(last.model))
    assert.are_not.same(values(session.model), values(best.model))
    assert.are.equal(20, dm.load(dir .. '/runs/small/latest:step-20').step)
    assert.are.equal(10, dm.load(dir .. '/runs/small').step)
    assert.are.same({ 4, 'classify', { 'negative', 'positive' } }, { best.n, best.output, best.labels })
    refused("no checkpoint 'step%-7'", dm.load, run .. ':step-7')
  end)

  it('becomes a folder in the layout of Hugging Face, with a card and checksums', function()
    saved.finish(session, { accuracy = 0.5, std = 0, groupings = { 0.5 }, scored = 800, total = 800 })
    local names = sys.list(run .. '/model')
    assert.are.same({ 'README.md', 'SHA256SUMS', 'config.json', 'model.safetensors', 'vocab.txt' }, names)
    local c = cjson.decode(sys.read(run .. '/model/config.json'))
    assert.are.same({ 32, 1, 'negative', 1, 4 }, { c.hidden_size, c.num_hidden_layers, c.id2label['0'],
      c.label2id.positive, c.mux.n })
    assert.is_truthy(sys.read(run .. '/model/README.md'):find('N = 4', 1, true))
    local from_folder, from_run = dm.load(run .. '/model'), dm.load(run)
    assert.are.same(values(from_run.model), values(from_folder.model))
    assert.are.same(from_run.config, from_folder.config)
    assert.are.same({ from_run.tokenizer:encode 'the soup was not bad zzz' },
      { from_folder.tokenizer:encode 'the soup was not bad zzz' })
  end)

  it('is exported to a new folder only', function()
    local to = dir .. '/copy'
    assert.are.equal(to, saved.export(run .. ':last', { to = to }))
    assert.are.same(values(session.model), values(dm.load(to).model))
    local ok, e = pcall(saved.export, run, { to = to })
    assert.is_false(ok)
    assert.are.equal(2, e.code)
  end)

  it('is loaded and asked with the options that there are', function()
    local m = dm.load(run)
    for what, fn in pairs {
      ["dm.load: unknown option 'int9', expected allow, int8"] = function() dm.load(run, { int9 = true }) end,
      ["predict: unknown option 'ensembel', expected group"] = function() m:predict({ 'a' }, { ensembel = 2 }) end } do
      local ok, e = pcall(fn)
      assert.is_false(ok)
      assert.is_truthy(tostring(e):find(what, 1, true), tostring(e))
    end
  end)

  it('is refused when damaged, and says what is', function()
    saved.finish(session, {})
    local folder = run .. '/model'
    refused('no model', dm.load, dir .. '/nothing')
    refused('no config.json', dm.load, dir .. '/runs')
    local f = assert(io.open(folder .. '/model.safetensors', 'r+b'))
    f:seek('end', -1)
    f:write '\255'
    f:close()
    refused('model.safetensors: its checksum', dm.load, folder)
    os.remove(folder .. '/model.safetensors')
    refused('model.safetensors', dm.load, folder)
    f = assert(io.open(run .. '/checkpoints/best/model.safetensors', 'r+b'))
    f:seek('end', -1)
    f:write '\255'
    f:close()
    refused('its checksum does not match', dm.load, run)
    assert.are.equal(20, dm.load(run .. ':last').step)
  end)

  it('names every tensor that is missing, left over or of another shape', function()
    saved.finish(session, {})
    local folder = run .. '/model'
    local tensors = session.model:named()
    tensors['head.extra'], tensors['decoder_bias'] = dm.zeros(3), nil
    os.remove(folder .. '/SHA256SUMS')
    safetensors.write(folder .. '/model.safetensors', tensors)
    refused('missing: decoder_bias', dm.load, folder)
    refused('unexpected: head.extra', dm.load, folder)
    refused('unexpected', dm.load, folder, { allow = { missing = true } })
    local m = dm.load(folder, { allow = { missing = true, unexpected = true } })
    assert.are.same({ { 'decoder_bias' }, { 'head.extra' } }, { m.report.missing, m.report.unexpected })
    tensors['head.extra'], tensors['decoder_bias'] = nil, dm.zeros(3)
    safetensors.write(folder .. '/model.safetensors', tensors)
    refused('does not fit: decoder_bias is F32%[3%]', dm.load, folder)
  end)

  it('refuses a configuration of another kind', function()
    saved.finish(session, {})
    local path = run .. '/model/config.json'
    local text = sys.read(path)
    os.remove(run .. '/model/SHA256SUMS')
    local function with(pattern, change)
      sys.write(path, change)
      refused(pattern, dm.load, run .. '/model')
    end
    with('not a JSON object', 'x')
    with('is nil, expected a number', '{"model_type":"bert"}')
    with('not a configuration of this program', '{}')
    with('schema is 2', (text:gsub('"schema": 1', '"schema": 2')))
    with("unknown key 'mux.zzz'", (text:gsub('"mux": {', '"mux": { "zzz": 1,')))
    with("tokenizer.kind is 'letters'", (text:gsub('("tokenizer": {%s*"kind": )"words"', '%1"letters"')))
  end)

  it('is exported to a folder that is named with a slash at its end', function()
    saved.export(run, { to = dir .. '/slash/' })
    assert.are.same(values(dm.load(run).model), values(dm.load(dir .. '/slash').model))
    assert.are.same({ 'runs', 'slash' }, sys.list(dir))
  end)

  it('of which the best checkpoint is damaged is made of the last', function()
    local f = assert(io.open(run .. '/checkpoints/best/model.safetensors', 'r+b'))
    f:seek('end', -1)
    f:write '\255'
    f:close()
    saved.finish(session, {})
    assert.are.same(values(dm.load(run .. ':last').model), values(dm.load(run .. '/model').model))
  end)

  it('whose answers are no numbers gives none', function()
    session.model.block.p:fill(0 / 0)
    session.at.global = 30
    session:save 'last'
    local m = dm.load(run .. ':last')
    local evaluate = require 'datamux.evaluate'
    for _, fn in ipairs { function() m:predict { 'good', 'bad' } end,
                          function() evaluate.outputs(m.model, session.data.dev, saved.options(m)) end } do
      local ok, e = pcall(fn)
      assert.are.same({ false, 'E602' }, { ok, e.id })
    end
  end)

  it('is refused where its header holds no sizes', function()
    local function tensor(shape, offsets)
      local header = ('{"a":{"dtype":"F32","shape":%s,"data_offsets":%s}}'):format(shape, offsets)
      sys.write(dir .. '/x.safetensors', string.char(#header) .. ('\0'):rep(7) .. header .. ('\0'):rep(24))
      return dir .. '/x.safetensors'
    end
    assert.are.equal(24, safetensors.open(tensor('[2, 3]', '[0, 24]')).tensors.a.bytes)
    for _, case in ipairs { { '["x"]', '[0, 24]' }, { '[null]', '[0, 24]' }, { '[-2, -3]', '[0, 24]' },
                            { '[1.5, 4]', '[0, 24]' }, { '[2, 3]', '[0, 24, 24]' }, { '[2, 3]', '["0", 24]' },
                            { '6', '[0, 24]' } } do
      refused("entry 'a' lacks", safetensors.open, tensor(case[1], case[2]))
    end
  end)

  it('is not touched by a second export that fails', function()
    saved.finish(session, {})
    local before = lfs.attributes(run .. '/model/config.json', 'modification')
    pcall(saved.export, run .. ':step-99', {})
    assert.are.equal(before, lfs.attributes(run .. '/model/config.json', 'modification'))
  end)
end)
