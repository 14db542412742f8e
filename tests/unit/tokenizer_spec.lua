-- tokenizer_spec.lua -- BPE and WordPiece against Hugging Face tokenizers (golden/make_tokenizers.py); words; refusals.
local bit = require 'bit'
local sys = require 'datamux.sys'
local text = require 'datamux.text'
local reader = require 'datamux.data.reader'

local DATA = os.getenv 'DATAMUX_DATA'
local ROBERTA, BERT = (DATA or '') .. '/vocab/roberta-base/', (DATA or '') .. '/vocab/bert-base-uncased/'
local have = DATA and sys.kind(ROBERTA .. 'merges.txt') == 'file' and sys.kind(BERT .. 'vocab.txt') == 'file'

local function bpe()
  return text.load { kind = 'bpe', vocab = ROBERTA .. 'vocab.json', merges = ROBERTA .. 'merges.txt' }
end
local function bert() return text.load { kind = 'wordpiece', vocab = BERT .. 'vocab.txt' } end

local function it_with_data(name, fn)
  it(name, function()
    if not have then return pending 'needs vocab/roberta-base and vocab/bert-base-uncased under DATAMUX_DATA' end
    fn()
  end)
end

local function unhex(s) return (s:gsub('%x%x', function(h) return string.char(tonumber(h, 16)) end)) end

local function product(a, b)                    -- a * b mod 2^32
  local low, high = bit.band(a, 0xffff), bit.rshift(a, 16)
  return bit.tobit(low * b % 4294967296 + (high * b % 65536) * 65536)
end

local function fnv(h, ids)
  for _, v in ipairs(ids) do
    for _, k in ipairs { 0, 8, 16 } do h = product(bit.bxor(h, bit.band(bit.rshift(v, k), 255)), 16777619) end
  end
  return product(bit.bxor(h, 255), 16777619)
end

describe('the tokenizers', function()
  it_with_data('give the ids of Hugging Face on every Unicode block and on tricky lines', function()
    local a, b, n = bpe(), bert(), 0
    for line in io.lines 'tests/golden/tokenizer_blocks.tsv' do
      local hex, of_bpe, of_bert = line:match '^(%x*)\t([%d ]*)\t([%d ]*)$'
      local s = unhex(hex)
      assert.are.equal(of_bpe, table.concat(a:ids(s), ' '), 'bpe: ' .. s)
      assert.are.equal(of_bert, table.concat(b:ids(s), ' '), 'wordpiece: ' .. s)
      n = n + 1
    end
    assert.is_true(n > 300)
  end)

  it_with_data('give the ids of Hugging Face on more than 50,000 lines of real text', function()
    local a, b = bpe(), bert()
    local lines, open, n = nil, nil, 0
    for row in io.lines 'tests/golden/tokenizer_hashes.tsv' do
      local name, count, of_bpe, of_bert = row:match '^(%S+)\t(%d+)\t(%x+)\t(%x+)$'
      if name ~= open then lines, open = reader.text(DATA .. '/' .. name):gmatch '([^\n]*)\n?', name end
      local x, y = bit.tobit(2166136261), bit.tobit(2166136261)
      for _ = 1, tonumber(count) do
        local line = lines()
        x, y = fnv(x, a:ids(line)), fnv(y, b:ids(line))
        n = n + 1
      end
      assert.are.equal(of_bpe, bit.tohex(x), ('bpe: %s before line %d'):format(name, n))
      assert.are.equal(of_bert, bit.tohex(y), ('wordpiece: %s before line %d'):format(name, n))
    end
    assert.is_true(n >= 50000)
  end)

  it_with_data('add specials, pairs and truncation as the models were trained', function()
    local a, b = bpe(), bert()
    assert.are.same({ 0, 2264, 2 }, { a:encode('What')[1], a:encode('What')[2], a:encode('What')[3] })
    local ids, cut = a:encode_pair('one two', 'three four five', 8)
    assert.are.equal(8, #ids)
    assert.is_true(cut)
    assert.are.same({ 0, 2, 2 }, { ids[1], ids[4], ids[5] })
    ids, cut = b:encode('one two three', 4)
    assert.are.same({ 101, 2028, 2048, 102 }, ids)
    assert.is_true(cut)
    ids = b:encode_pair('one', 'two')
    assert.are.same({ 101, 2028, 102, 2048, 102 }, ids)
    local set = a:encode_lines({ 'one', 'two three' }, { max = 8 })
    assert.are.same({ 2, 0, 3, 7 }, { set.n, set.offset[0], set.offset[1], set.offset[2] })
  end)

  it_with_data('give text back', function()
    assert.are.equal('Café, naïve 中文!', bpe():decode(bpe():encode 'Café, naïve 中文!'))
    assert.are.equal('cafe , naive', bert():decode(bert():encode 'Café, naïve'))
  end)

  it_with_data('take invalid UTF-8 as replacement characters', function()
    assert.are.same(bpe():ids('a\239\191\189b'), bpe():ids 'a\255b')
    assert.are.same(bert():ids 'ab', bert():ids 'a\192b')
  end)
end)

describe('the engine', function()
  local function small_bpe()
    return text.load { kind = 'bpe', vocab = { name = 'v', text = '{"<unk>":0,"<s>":1,"</s>":2,"<pad>":3,"a":4,"b":5,'
      .. '"ab":6,"\196\160":7,"\196\160a":8,"aba":9,"\'":10,"s":11,"\'s":12,"1":13,"!":14,"\196\138":15}' },
      merges = { name = 'm', text = '#version: 0.2\na b\nab a\n\196\160 a\n\' s\n' } }
  end
  local function small_bert()
    return text.load { kind = 'wordpiece', vocab = { name = 'v',
      text = '[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nab\n##a\n##b\n##ba\n!\n\'\n1\n##1\n' } }
  end

  -- Texts of these letters, in an order that only k decides.
  local function random_text(k)
    local letters = { 'a', 'b', 'A', ' ', ' ', '\t', '\n', "'", 's', '1', '!', 'x', '\1', '\11', 're', "'ll" }
    local out = {}
    for i = 1, k % 23 + 1 do
      k = (k * 1103515245 + 12345) % 2147483648
      out[i] = letters[math.floor(k / 65536) % #letters + 1]
    end
    return table.concat(out) .. 'b'
  end

  it('cuts texts in ASCII as Unicode\'s rules cut them', function()
    local a, b = small_bpe(), small_bert()
    local tail_a, tail_b = #a:ids ' \195\169', #b:ids ' \195\169'
    for k = 1, 2000 do
      local s = random_text(7919 * k)
      for _, pair in ipairs { { a, tail_a }, { b, tail_b } } do
        local tok, tail = unpack(pair)
        local got, all = tok:ids(s), tok:ids(s .. ' \195\169')                     -- not ASCII: the other way
        for _ = 1, tail do all[#all] = nil end
        assert.are.same(all, got, ('%s: %q'):format(tok.kind, s))
      end
    end
  end)

  it('joins by rank, the leftmost first, and knows what is unknown', function()
    assert.are.same({ 9, 6 }, small_bpe():ids 'abaab')
    assert.are.same({ 7, 6, 12, 8, 0 }, small_bpe():ids " ab's ax")
    assert.are.same({ 6, 9, 4, 1, 10 }, small_bert():ids 'Abba a x!')
    assert.are.same({ 1 }, small_bert():ids(('a'):rep(101)))
    assert.are.equal(100, #small_bert():ids(('a'):rep(100)))
  end)

  it('takes texts of any length', function()
    assert.are.equal(10000, #small_bert():ids(('a '):rep(10000)))
    assert.are.equal(20000, #small_bpe():ids(('b'):rep(20000)))
    assert.are.same({}, small_bpe():ids '')
    assert.are.same({}, small_bert():ids ' \t\n')
  end)
end)

describe('words', function()
  it('are the commonest, ties by first appearance', function()
    local tok = text.train { kind = 'words', lines = { 'b a b', 'c a d' }, vocab_size = 3 }
    assert.are.equal(7, tok.vocab_size)
    assert.are.same({ 2, 4, 5, 6, 1 }, tok:encode 'b a c d')
    assert.are.equal('<s> b a c <unk>', tok:decode(tok:encode 'b a c d'))
    local ids, cut = tok:encode('b a c', 3)
    assert.are.same({ 2, 4, 5 }, ids)
    assert.is_true(cut)
  end)

  it('encode an empty text as its start', function()
    local tok = text.train { kind = 'words', lines = { 'a' }, vocab_size = 3 }
    local set = tok:encode_lines { '', 'a' }
    assert.are.same({ 2, 1, 3 }, { set.n, set.offset[1], set.offset[2] })
  end)
end)

describe('a malformed vocabulary', function()
  local function refused(pattern, o, files)
    local dir = os.tmpname()
    os.remove(dir)
    sys.mkdir(dir)
    for name, body in pairs(files) do sys.write(dir .. '/' .. name, body) end
    for k, v in pairs(o) do o[k] = v:gsub('^@', dir .. '/') end
    local ok, e = pcall(text.load, o)
    sys.remove(dir)
    assert.is_false(ok)
    assert.are.equal(3, e.code)
    assert.is_truthy(tostring(e):find(pattern), tostring(e))
  end

  it('is refused with file and line', function()
    refused('not a JSON object', { kind = 'bpe', vocab = '@v', merges = '@m' }, { v = '{', m = '' })
    refused("m:2: 'a', expected two parts", { kind = 'bpe', vocab = '@v', merges = '@m' },
      { v = '{"a":0,"b":1}', m = '#version: 0.2\na\n' })
    refused("m:1: 'ab' is not in the vocabulary", { kind = 'bpe', vocab = '@v', merges = '@m' },
      { v = '{"a":0,"b":1}', m = 'a b\n' })
    refused('id 0 is both', { kind = 'bpe', vocab = '@v', merges = '@m' }, { v = '{"a":0,"b":0}', m = '' })
    refused("v:2: 'x' is there twice", { kind = 'wordpiece', vocab = '@v' }, { v = 'x\nx\n' })
    refused('%[PAD%] is missing', { kind = 'wordpiece', vocab = '@v' }, { v = 'x\n' })
    refused("v:1: 'two words', expected one word", { kind = 'words', vocab = '@v' }, { v = 'two words\n' })
  end)
end)

describe('sentencepiece', function()
  local synthetic = require 'datamux.data.synthetic'

  it('is trained on a corpus, the same each time, and gives text back', function()
    local texts = synthetic.read('dev').texts
    local one = text.train { kind = 'sentencepiece', lines = texts, vocab_size = 200 }
    local two = text.train { kind = 'sentencepiece', lines = texts, vocab_size = 200 }
    assert.are.equal(one.bytes, two.bytes)
    assert.are.same({ 0, 1, 2, 3 }, { one.pad, one.unk, one.bos, one.eos })
    assert.is_true(one.vocab_size > 50 and one.vocab_size <= 200)
    local ids, cut = one:encode(texts[1])
    assert.is_false(cut)
    assert.are.equal(texts[1], one:decode(ids))
    ids, cut = one:encode(texts[1], 3)
    assert.are.equal(3, #ids)
    assert.is_true(cut)
  end)

  it('refuses what is no model', function()
    local path = os.tmpname()
    sys.write(path, 'no model')
    local ok, e = pcall(text.load, { kind = 'sentencepiece', model = path })
    os.remove(path)
    assert.is_false(ok)
    assert.are.equal(3, e.code)
  end)
end)
