-- import_spec.lua -- published models against the values in golden/import (golden/make_import.py).
local ffi = require 'ffi'
local dm = require 'datamux'
local h = require 'tests.helper'
local import = require 'datamux.import'
local safetensors = require 'datamux.safetensors'
local sys = require 'datamux.sys'

local GOLDEN = 'tests/golden/import/'

local function int32(entry)
  local v = h.values(entry)
  return ffi.new('int32_t[?]', #v, v)
end

-- The largest difference between a tensor and an entry of the golden file, relative to the largest value there.
local function apart(got, entry)
  local want, most, largest = h.values(entry), 0, 0
  assert.are.same(entry.shape, got:shape())
  for i, v in ipairs(got:totable()) do
    most, largest = math.max(most, math.abs(v - want[i])), math.max(largest, math.abs(want[i]))
  end
  return most / math.max(largest, 1)
end

local function golden(name) return safetensors.open(GOLDEN .. name .. '/out.safetensors').tensors end

-- A copy of a golden folder that a spec may spoil.
local function copy_of(name, change)
  local dir = os.tmpname()
  os.remove(dir)
  sys.mkdir(dir)
  for _, f in ipairs(sys.list(GOLDEN .. name)) do sys.write(dir .. '/' .. f, sys.read(GOLDEN .. name .. '/' .. f)) end
  if change then
    local path = dir .. '/config.json'
    sys.write(path, (sys.read(path):gsub(change[1], change[2])))
  end
  return dir
end

local function refused(code, pattern, dir)
  local ok, e = pcall(import.load, dir)
  sys.remove(dir)
  assert.is_false(ok)
  assert.are.equal(code, e.id)
  assert.is_truthy(tostring(e):find(pattern), tostring(e))
end

describe('an encoder of Hugging Face', function()
  for _, arch in ipairs { 'roberta', 'bert', 'roberta_half' } do
    it(arch .. ' has the hidden states of its own class', function()
      local m, g = import.load(GOLDEN .. arch), golden(arch)
      local mask = h.values(g['in.mask'])
      dm.step(function()
        local y = m.model:states(int32(g['in.ids']), 2, 6, { types = int32(g['in.types']), mask = int32(g['in.mask']) })
        local got, want, most = y:totable(), h.values(g['out.states']), 0
        assert.are.equal(#want, #got)
        for i = 1, #want do
          if mask[math.floor((i - 1) / 8) + 1] == 1 then most = math.max(most, math.abs(got[i] - want[i])) end
        end
        assert.is_true(most < 1e-4, most)
      end)
    end)
  end

  for _, arch in ipairs { 'roberta', 'bert' } do
    it(arch .. ' is reported tensor by tensor', function()
      local r = import.load(GOLDEN .. arch).report
      assert.are.same({ 5 + 2 * 16, 2 }, { #r.loaded, #r.ignored })
      assert.is_truthy(import.report(r):find('37 tensors loaded, 2 ignored', 1, true))
      assert.is_truthy(import.report(r):find 'ignored: [%w.]*pooler%.dense%.bias %(the pooler')
    end)

    it(arch .. ' is exported under the same names with the same bytes', function()
      local path = os.tmpname()
      import.export(import.load(GOLDEN .. arch).model, path)
      local out, was = safetensors.open(path).tensors, import.open(GOLDEN .. arch .. '/'
        .. (arch == 'bert' and 'pytorch_model.bin' or 'model.safetensors')).tensors
      local n = 0
      for name, e in pairs(out) do
        local old = was[name] or was[name:gsub('^bert%.', '')]
        assert.are.same(old.shape, e.shape)
        assert.are.equal(ffi.string(old.ptr, old.bytes), ffi.string(e.ptr, e.bytes), name)
        n = n + 1
      end
      assert.are.equal(37, n)
      os.remove(path)
    end)
  end

  it('that lacks a tensor, has another or one of another size is refused by name', function()
    refused('E704', 'missing: roberta.encoder.layer.2.output.dense.weight',
      copy_of('roberta', { '"num_hidden_layers": 2', '"num_hidden_layers": 3' }))
    refused('E704', 'unexpected: roberta.encoder.layer.1.output.dense.weight',
      copy_of('roberta', { '"num_hidden_layers": 2', '"num_hidden_layers": 1' }))
    refused('E704', 'word_embeddings.weight is %[40, 8%], expected %[41, 8%]',
      copy_of('roberta', { '"vocab_size": 40', '"vocab_size": 41' }))
  end)

  it('with a configuration that cannot be is refused', function()
    refused('E702', 'model_type is gpt2, expected roberta or bert', copy_of('roberta', { '"roberta"', '"gpt2"' }))
    refused('E702', 'vocab_size is many, expected a number',
      copy_of('roberta', { '"vocab_size": 40', '"vocab_size": "many"' }))
    refused('E702', 'hidden_act is relu', copy_of('roberta', { '"gelu"', '"relu"' }))
  end)

  it('takes a value of null for one that is not there', function()
    local dir = copy_of('roberta', { '"gelu"', 'null, "num_instances": null' })
    assert.is_nil(import.load(dir).config.num_instances)
    sys.remove(dir)
  end)
end)

describe('the encoder of a plain model', function()
  it('has the same hidden states as RoBERTa under the names of Hugging Face', function()
    local dir = copy_of 'roberta'
    local plain = dm.nn.Module.build(dm.models.Plain.new {
      vocab = { size = 40, pad = 1 }, layers = 2, width = 8, heads = 2, inner = 16, dropout = 0, positions = 18,
      eps = 1e-5, init = 0.5, classes = 2, read = 'cls' }, 3):train(false)
    import.export(plain, dir .. '/model.safetensors')
    local m = import.load(dir)
    sys.remove(dir)
    local ids = ffi.new('int32_t[12]', { 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 1, 1 })
    local mask = ffi.new('int32_t[12]', { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0 })
    dm.step(function()
      local length = ffi.new('int32_t[2]', { 6, 4 })
      local q = plain:prepare { B = 2, N = 1, S = 6, n = 2, ids_host = ids, length = length,
                                label = ffi.new 'int32_t[2]' }
      local want = plain.encoder:forward(plain.embeddings:forward(q), q.mask):totable()
      local got = m.model:states(ids, 2, 6, { mask = mask }):totable()
      for i = 1, 10 * 8 do assert.is_true(math.abs(got[i] - want[i]) < 1e-5) end
    end)
    assert.has_error(function() import.export(dm.nn.Linear.new(2, 2), dir) end)
  end)
end)

-- name -> what of a multiplexed checkpoint is quirky, and how many of its tensors are ignored.
local muxed = {
  { 'index', 'DataMUX, sentences', 2 }, { 'index_tokens', 'DataMUX, tokens, orthogonal keys', 3 },
  { 'index_old', 'DataMUX, names before the release', 2 },
  { 'mlp', 'DataMUX, a layer for each instance', 2 }, { 'mlp_tokens', 'the same, for tokens', 2 },
  { 'index_pos', 'MUX-PLM, private keys', 2 * 13 + 2 + 4 },
  { 'index_pos_tokens', 'MUX-PLM, tokens, fewer layers', 2 * 9 + 2 },
  { 'index_muxplm', 'MUX-PLM with a prefix', 2 },
}
local IDS = { roberta = { filler = 50, cls = 51 } }

describe('a multiplexed checkpoint', function()
  for _, case in ipairs(muxed) do
    local name, what, ignored = unpack(case)
    it(('answers as published: %s (%s)'):format(name, what), function()
      local m, g = import.load(GOLDEN .. name, { ids = name:find 'index_?[pm]' and {} or IDS.roberta }), golden(name)
      local ids = int32(g['in.ids'])
      dm.step(function()
        local off = apart(m.model:logits(ids, 2, 6), g['out.logits'])
        assert.is_true(off < 1e-4, off)
        local recall = m.model:recall(ids, 2, 6)
        local cols, want, most = recall:cols(), h.values(g['out.recall']), 0
        local got = recall:totable()
        for k, v in ipairs(want) do
          local row, col = math.floor((k - 1) / 60), (k - 1) % 60
          most = math.max(most, math.abs(got[row * cols + col + 1] - v))
        end
        assert.is_true(most < 1e-4, most)
      end)
      assert.are.equal(ignored, #m.report.ignored, import.report(m.report))
    end)
  end

  it('that asks for another multiplexer or demultiplexer is refused', function()
    refused('E702', 'muxing_variant is gaussian_attention_v2, expected gaussian_hadamard',
      copy_of('mlp', { 'gaussian_hadamard', 'gaussian_attention_v2' }))
    refused('E702', 'demuxing_variant is mlpx, expected index, mlp or index_pos',
      copy_of('mlp', { '"mlp"', '"mlpx"' }))
    refused('E702', 'num_instances is 0', copy_of('mlp', { '"num_instances": 3', '"num_instances": 0' }))
    refused('E704', 'unexpected: demultiplexer.demux_module.dense_2.bias',
      copy_of('mlp', { '"num_instances": 3', '"num_instances": 2' }))
  end)

  it('is converted to safetensors that load alike, and into a new folder only', function()
    local dir = os.tmpname()
    os.remove(dir)
    for _, name in ipairs { 'index_pos', 'bert' } do
      local report = import.convert(GOLDEN .. name, dir)
      assert.are.same({ 'config.json', 'model.safetensors' }, sys.list(dir))
      local a, b = import.load(GOLDEN .. name), import.load(dir)
      assert.are.equal(#report.loaded, #b.report.loaded)
      assert.are.equal(0, #b.report.ignored)
      local other = b.model:named()
      for path, t in pairs(a.model:named()) do assert.are.same(t:totable(), other[path]:totable()) end
      local ok, e = pcall(import.convert, GOLDEN .. name, dir)
      assert.is_false(ok)
      assert.are.equal(2, e.code)
      sys.remove(dir)
    end
    local spoilt = copy_of('mlp', { '"num_instances": 3', '"num_instances": 2' })
    assert.is_false(pcall(import.convert, spoilt, dir))
    assert.is_nil(sys.kind(dir))
    sys.remove(spoilt)
  end)
end)
