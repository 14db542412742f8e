-- published_spec.lua -- published models used as our own: loaded, asked, exported and loaded again, with the answers of
-- the golden files (golden/make_import.py).
local cjson = require 'cjson'
local h = require 'tests.helper'
local dm = require 'datamux'
local import = require 'datamux.import'
local safetensors = require 'datamux.safetensors'
local saved = require 'datamux.saved'
local sys = require 'datamux.sys'

local GOLDEN = 'tests/golden/import/'

local dir

local function copy_of(name, files)
  sys.mkdir(dir)
  for _, f in ipairs(sys.list(GOLDEN .. name)) do sys.write(dir .. '/' .. f, sys.read(GOLDEN .. name .. '/' .. f)) end
  for f, bytes in pairs(files or {}) do sys.write(dir .. '/' .. f, bytes) end
  return dir
end

local function refused(id, pattern, path)
  local ok, e = pcall(dm.load, path)
  assert.is_false(ok)
  assert.are.equal(id, e.id, tostring(e))
  assert.is_truthy(tostring(e):find(pattern), tostring(e))
end

local function softmax(list)
  local sum, out = 0, {}
  for _, v in ipairs(list) do sum = sum + math.exp(v) end
  for i, v in ipairs(list) do out[i] = math.exp(v) / sum end
  return out
end

-- Asks a model the golden texts; the largest difference of a probability (of a score).
local function off(model, golden)
  local texts, most = {}, 0
  for i, t in ipairs(golden.texts) do texts[i] = t[2] ~= cjson.null and t or t[1] end
  for i, a in ipairs(model:predict(texts)) do
    if model.output == 'regress' then
      most = math.max(most, math.abs(a.score - golden.logits[i][1]))
    else
      for k, p in ipairs(softmax(golden.logits[i])) do
        most = math.max(most, math.abs(a.scores[model.labels[k]] - p))
      end
    end
  end
  return most
end

before_each(function()
  dir = os.tmpname()
  os.remove(dir)
end)

after_each(function() sys.remove(dir) end)

describe('a model of Hugging Face with a head', function()
  local cases = { bert_sequence = { 'classify', { 'bad', 'mixed', 'good' }, 'wordpiece' },
                  bert_score = { 'regress', {}, 'wordpiece' },
                  roberta_sequence = { 'classify', { 'negative', 'positive' }, 'bpe' } }
  for name, want in pairs(cases) do
    it('answers as its own class: ' .. name, function()
      local m = dm.load(GOLDEN .. name)
      assert.are.same({ want[1], want[2], want[3], 1 }, { m.output, m.labels, m.tokenizer.kind, m.n })
      assert.is_true(off(m, cjson.decode(sys.read(GOLDEN .. name .. '/texts.json'))) < 1e-5)
      assert.are.equal(0, #m.report.missing + #m.report.unexpected)
    end)

    it('becomes a folder of ours, which answers the same: ' .. name, function()
      local _, report = saved.export(GOLDEN .. name, { to = dir })
      assert.is_truthy(saved.report(report):find '^%d+ tensors loaded')
      local m = dm.load(dir)
      assert.are.same({ want[1], want[2], want[3] }, { m.output, m.labels, m.tokenizer.kind })
      assert.is_true(off(m, cjson.decode(sys.read(GOLDEN .. name .. '/texts.json'))) < 1e-5)
      assert.is_false(import.is(dir))
      assert.are.equal('gelu', cjson.decode(sys.read(dir .. '/config.json')).hidden_act)
      assert.are.equal(dm.load(GOLDEN .. name).config.task, m.config.task)
    end)
  end

  it('tags words', function()
    local golden = cjson.decode(sys.read(GOLDEN .. 'bert_tokens/texts.json'))
    local m = dm.load(GOLDEN .. 'bert_tokens')
    assert.are.same({ 'tag', { 'O', 'B-X', 'I-X' } }, { m.output, m.labels })
    local p = require('datamux.predict').new(m)
    local words = { 'a', 'fine', 'film' }
    p:add_words(words)
    p:score()
    for k = 0, #words + 1 do                            -- [CLS] and [SEP] too
      local want = softmax { unpack(golden.logits[1], 3 * k + 1, 3 * k + 3) }
      for c, v in ipairs(p:probabilities(k)) do assert.is_true(math.abs(v - want[c]) < 1e-5) end
    end
    assert.are.equal(3, #p:tags(0))
  end)

  it('reads texts as long as its positions and its tokenizer allow', function()
    assert.are.equal(16, dm.load(GOLDEN .. 'bert_sequence').config.data.length)
    assert.are.equal(18, dm.load(GOLDEN .. 'roberta_sequence').config.data.length)
    local answers = dm.load(GOLDEN .. 'roberta_sequence'):predict { (' a film'):rep(100) }
    assert.are.equal(1, #answers)
  end)

  it('is refused without a head, a tokenizer, or with one that does not fit', function()
    refused('E704', 'an encoder without a head', GOLDEN .. 'roberta')
    copy_of 'bert_sequence'
    sys.write(dir .. '/vocab.txt', sys.read(dir .. '/vocab.txt') .. 'more\n')
    refused('E702', 'the tokenizer has 15 entries, expected at most vocab_size = 14', dir)
    sys.write(dir .. '/vocab.txt', '[UNK]\n[PAD]\n[CLS]\n[SEP]\n')
    refused('E702', 'the tokenizer pads with 1, expected pad_token_id = 0', dir)
    os.remove(dir .. '/vocab.txt')
    sys.write(dir .. '/tokenizer.json', '{"model":{"type":"Unigram","vocab":[]}}')
    refused('E702', 'model.type is Unigram, expected BPE or WordPiece', dir)
    sys.remove(dir)
    copy_of('bert_sequence', { ['config.json'] = sys.read(GOLDEN .. 'bert_sequence/config.json'):gsub('"2": "good"',
      '"7": "good"') })
    refused('E702', 'id2label has 7: good, expected names for 0 .. 2', dir)
  end)

  it('is scored on labelled files by the names of its labels', function()
    local m = dm.load(GOLDEN .. 'bert_sequence')
    local path = os.tmpname()
    sys.write(path, 'sentence\tlabel\na fine film\tgood\nnot a good film\tbad\na film\tgood\n')
    local set = require('datamux.score_set').open(m, path, { input = 'tsv' })
    local r = dm.evaluate.score(m.model, set, saved.options(m), 1)
    os.remove(path)
    local right = 0
    for i, a in ipairs(m:predict { 'a fine film', 'not a good film', 'a film' }) do
      if a.label == ({ 'good', 'bad', 'good' })[i] then right = right + 1 end
    end
    assert.are.same({ 3, right / 3 }, { r.scored, r.accuracy })
    local ok, e = pcall(require('datamux.score_set').open, m, 'dev', {})
    assert.is_false(ok)
    assert.is_truthy(tostring(e):find 'does not say what task it is for')
  end)
end)

describe('a multiplexed checkpoint', function()
  local words = { '[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', 'fine', 'film', 'not', 'good' }
  local vocab = { ['vocab.txt'] = table.concat(words, '\n') .. '\n' }
  local texts = { 'a fine film', 'not good', 'a film', 'good', 'not a good film', 'fine' }

  -- What the network itself says of ids that are padded to the whole length, in the order of the texts.
  local function direct(m)
    local ffi, S, N = require 'ffi', m.config.data.length, m.n
    local ids = ffi.new('int32_t[?]', #texts * S)
    for k, t in ipairs(texts) do
      local list = m.tokenizer:encode(t)
      for s = 1, S do ids[(k - 1) * S + s - 1] = list[s] or m.tokenizer.pad end
    end
    return dm.step(function() return m.model:logits(ids, #texts / N, S):totable() end)
  end

  for _, name in ipairs { 'index_pos', 'index_muxplm' } do
    it('answers texts as the published network answers their ids: ' .. name, function()
      local m = dm.load(copy_of(name, vocab))
      assert.are.same({ 3, 'classify', true }, { m.n, m.output, m.config.data.fixed })
      assert.are.equal(name == 'index_pos' and 24 or 20, m.config.data.length)
      local want, K = direct(m), #m.labels
      for i, a in ipairs(m:predict(texts, { group = 'file' })) do
        local p = softmax { unpack(want, (i - 1) * K + 1, i * K) }
        for k = 1, K do assert.is_true(math.abs(a.scores[m.labels[k]] - p[k]) < 1e-5) end
      end
    end)
  end

  it('of another vocabulary is told its prefix, and keeps it in a folder of ours', function()
    copy_of('mlp', { ['vocab.txt'] = '[UNK]\n[PAD]\n[CLS]\n[SEP]\na\nfine\nfilm\nnot\ngood\n' })
    local to = os.tmpname()
    os.remove(to)
    saved.export(dir, { to = to, ids = { cls = 51, filler = 50 } })
    local a, b = dm.load(dir, { ids = { cls = 51, filler = 50 } }):predict(texts), dm.load(to):predict(texts)
    assert.are.same(a, b)
    assert.are.same({}, dm.load(to).report.missing)
    assert.are.equal(51, cjson.decode(sys.read(to .. '/config.json')).datamux.published.ids.cls)
    sys.remove(to)
  end)

  it('tags words at every place', function()
    local m = dm.load(copy_of('index_pos_tokens', vocab))
    local p = require('datamux.predict').new(m, { group = 'file' })
    for _, t in ipairs { { 'a', 'fine', 'film' }, { 'good' }, { 'not', 'a', 'film' } } do p:add_words(t) end
    p:score()
    local S, ids = m.config.data.length, require('ffi').new('int32_t[?]', 3 * m.config.data.length)
    for k, t in ipairs { 'a fine film', 'good', 'not a film' } do
      local list = m.tokenizer:encode(t)
      for s = 1, S do ids[(k - 1) * S + s - 1] = list[s] or 0 end
    end
    local want = dm.step(function() return m.model:logits(ids, 1, S):totable() end)
    local K = #m.labels
    for k = 0, 2 do
      local at = k * S * K + K                          -- the first word of sentence k, after [CLS]
      local q = softmax { unpack(want, at + 1, at + K) }
      for c, v in ipairs(p:probabilities(p.offset[k] + 1)) do assert.is_true(math.abs(v - q[c]) < 1e-5) end
    end
  end)

  it('holds its tensors under our names, mapped and not converted', function()
    saved.export(copy_of('index_pos', vocab), { to = dir .. '/out' })
    local file = safetensors.open(dir .. '/out/model.safetensors')
    assert.is_truthy(file.tensors['bert.encoder.layer.0.attention.qkv.weight'])
    collectgarbage()
    collectgarbage()
    local before = dm.memory().live
    local m = dm.load(dir .. '/out')
    if not h.cpu then return end                         -- another device has a copy
    assert.are.equal(before, dm.memory().live)
    assert.are.equal(m.model.block.list[1].tensor.owner[2], m.file)
  end)
end)
