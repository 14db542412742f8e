-- predict_spec.lua -- predict as a filter: one answer for each record, in order, whatever the bytes, N and grouping.
-- The model is a stand-in whose answer to a text depends on that text alone, so that a mix-up shows.
local ffi = require 'ffi'
local cjson = require 'cjson'
local filter = require 'datamux.filter'
local predict = require 'datamux.predict'
local reader = require 'datamux.data.reader'
local sys = require 'datamux.sys'
local words = require 'datamux.text.words'
local helper = require 'tests.helper'

-- Says 'even' or 'odd' by the sum of a text's ids, more surely the longer it is; notes each batch.
local function parity_model(n, o)
  o = o or {}
  local m = { n = n, output = o.output or 'classify', labels = o.labels or { 'even', 'odd' }, seen = {},
    config = { data = { length = o.length or 12, fixed = false, multiple = 1 } },
    tokenizer = words.train({ 'a b c d e f g h i j k l m n o p' }, 16) }
  function m:logits(b)
    local rows, K = b.B * b.N, self.output == 'regress' and 1 or #self.labels
    self.seen[#self.seen + 1] = { B = b.B, S = b.S, n = b.n }
    if self.output == 'tag' then
      local out, at, r = ffi.new('float[?]', rows * b.S * K), ffi.new('int32_t[?]', rows * b.S), 0
      for k = 0, rows - 1 do
        for s = 0, b.length[k] - 1 do
          at[r] = k * b.S + s
          out[r * K + b.ids_host[k * b.S + s] % K] = 5
          r = r + 1
        end
      end
      b.at, b.answers = at, r
      return out, K
    end
    local out = ffi.new('float[?]', rows * K)
    for k = 0, rows - 1 do
      local sum = 0
      for s = 0, b.length[k] - 1 do sum = sum + b.ids_host[k * b.S + s] end
      if K == 1 then out[k] = sum else out[k * K + sum % 2] = 1 + b.length[k] end
    end
    b.answers = rows
    return out, K
  end
  return m
end

local function expected(m, text)
  local sum = 0
  for _, id in ipairs((m.tokenizer:encode(text, m.config.data.length))) do sum = sum + id end
  return m.labels[sum % 2 + 1]
end

local dir

before_each(function()
  dir = os.tmpname()
  os.remove(dir)
  sys.mkdir(dir)
end)

after_each(function() sys.remove(dir) end)

local function file(name, bytes)
  local path = dir .. '/' .. name
  sys.write(path, bytes)
  return path
end

-- The output over files, and the figures. o: see filter.run.
local function run(m, paths, o)
  local out, all = {}, { files = type(paths) == 'table' and paths or { paths }, output = 'same', on_error = 'null',
    flush = 0 }
  for k, v in pairs(o or {}) do all[k] = v end
  if not all.path then all.sink = function(text) out[#out + 1] = text end end
  local figures, more = filter.run(m, all)
  return table.concat(out), figures, more
end

local function lines(text)
  local out = {}
  for line in text:gmatch '([^\n]*)\n' do out[#out + 1] = line end
  return out
end

local function refused(code, pattern, fn, ...)
  local ok, e = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(e):find(pattern), tostring(e))
  assert.are.equal(code, e.code)
end

-- Texts of 0 to 14 words, different in length and sum.
local function some_texts(n)
  local out, letters = {}, 'abcdefghijklmnop'
  for i = 1, n do
    local t = {}
    for k = 1, (i * 7) % 15 do
      local at = (i * 31 + k * k) % 16 + 1
      t[k] = letters:sub(at, at)
    end
    out[i] = table.concat(t, ' ')
  end
  return out
end

describe('predict', function()
  it('answers every text, in order, for every N, row count, grouping and ensemble', function()
    local texts = some_texts(333)
    for _, n in ipairs { 1, 2, 5, 20 } do
      for _, o in ipairs { {}, { group = 'file' }, { rows = 3 }, { ensemble = n },
                           { rows = 1, ensemble = math.min(n, 2) } } do
        local m = parity_model(n)
        local got = predict.answers(m, texts, o)
        assert.are.equal(#texts, #got)
        for i, t in ipairs(texts) do assert.are.equal(expected(m, t), got[i].label) end
      end
    end
  end)

  it('reads each text in as many slots as the ensemble says, each in another row', function()
    local m, places = parity_model(5), {}
    local logits = m.logits
    function m:logits(b)
      for k = 0, b.B * b.N - 1 do
        local first = b.ids_host[k * b.S + 1]
        places[first] = places[first] or {}
        places[first][#places[first] + 1] = k
      end
      return logits(self, b)
    end
    predict.answers(m, { 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j' }, { ensemble = 5, rows = 2 })
    for _, list in pairs(places) do
      local slots = {}
      for _, k in ipairs(list) do slots[k % 5] = true end
      assert.are.equal(5, #list)
      for s = 0, 4 do assert.is_true(slots[s], 'slot ' .. s .. ' was not used') end
    end
  end)

  it('fills the places of the last row with texts of the window', function()
    local m = parity_model(20)
    local got = predict.answers(m, { 'a b c' }, {})
    assert.are.same({ 1, expected(m, 'a b c') }, { #got, got[1].label })
    assert.are.same({ B = 1, S = 4, n = 1 }, m.seen[1])
  end)

  it('refuses options that do not fit', function()
    refused(2, 'ensemble is 6, expected a whole number from 1 to 5', predict.new, parity_model(5), { ensemble = 6 })
    refused(2, "group is 'size', expected one of length, file", predict.new, parity_model(5), { group = 'size' })
    refused(2, "truncate is 'no'", predict.new, parity_model(5), { truncate = 'no' })
    refused(3, 'text 2: the text has more than 3 tokens', predict.answers, parity_model(2, { length = 3 }),
      { 'a', 'a b c' }, { truncate = 'fail' })
  end)

  it('says what is no list of texts', function()
    refused(2, 'texts is "x", expected a list of texts, as { "x" }', predict.answers, parity_model(2), 'x')
    refused(2, 'text 2 is 3, expected a string', predict.answers, parity_model(2), { 'a', 3 })
    refused(2, 'text 1 is a table, expected a string', predict.answers, parity_model(2), { { 'a', 'b' } })
    local m = parity_model(2)
    m.pairs = true
    refused(2, 'text 2 is "a", expected { a, b } of strings', predict.answers, m, { { 'a', 'b' }, 'a' })
    m = parity_model(2, { output = 'tag' })
    refused(2, 'text 1 is "a b", expected a list of words', predict.answers, m, { 'a b' })
    refused(2, 'text 1 is a table, expected a list of words', predict.answers, m, { { 'a', 3 } })
  end)

  it('tags the words of sentences', function()
    local m = parity_model(2, { output = 'tag', labels = { 'X', 'Y', 'Z' }, length = 6 })
    local sentences, slots = { { 'a', 'b', 'c' }, {}, { 'd' }, { 'a', 'b', 'c', 'd', 'e', 'f', 'g' } }, {}
    for i, answer in ipairs(predict.answers(m, sentences)) do
      local want = {}
      for w, word in ipairs(sentences[i]) do
        local ids = m.tokenizer:encode(word)
        want[w] = w <= 5 and m.labels[ids[2] % 3 + 1]                -- five words after [CLS]
      end
      assert.are.same(want, answer.tags)
      slots[i] = answer.slot
    end
    table.sort(slots)
    assert.are.same({ 1, 1, 2, 2 }, slots)
  end)

  it('cuts long texts at the right or at the left', function()
    local m = parity_model(2, { length = 3 })
    local p = predict.new(m, { truncate = 'left' })
    p:add 'a b c d'
    assert.are.same({ 2, m.tokenizer.id.c, m.tokenizer.id.d }, { p.ids[0], p.ids[1], p.ids[2] })
    p:add 'a b c'
    assert.are.same({ m.tokenizer.id.b, m.tokenizer.id.c }, { p.ids[4], p.ids[5] })
    assert.are.equal(2, p.figures.truncated)
  end)
end)

describe('the filter', function()
  it('keeps the number and order of lines for nasty bytes and any N', function()
    local nasty = { '', ' ', '\0', 'a \255 b', '\xed\xa0\x80', ('a '):rep(500), 'a\rb', '"', '\239\187\191a', '{', '\t',
                    'label\tscore', '\xf0\x9f\x98\x80', 'a\0b' }
    local body = table.concat(nasty, '\n')
    for _, n in ipairs { 1, 2, 5, 20 } do
      local m = parity_model(n)
      local out, figures = run(m, file('nasty.txt', body .. '\n'))
      local bare = run(m, file('bare.txt', body))
      assert.are.equal(out, bare)
      assert.are.equal(out, run(m, file('crlf.txt', (body:gsub('\n', '\r\n')))))
      assert.are.equal(#nasty, #lines(out))
      assert.are.same({ #nasty, 0 }, { figures.records, figures.errors })
      assert.are.equal(expected(m, ('a '):rep(500)), lines(out)[6]:match '^%a+')
    end
  end)

  it('gives the same bytes for the same file, and each line its own answer', function()
    local texts = some_texts(700)
    local path = file('t.txt', table.concat(texts, '\n') .. '\n')
    local m = parity_model(5)
    local out = run(m, path)
    assert.are.equal(out, run(m, path))
    for i, line in ipairs(lines(out)) do assert.are.equal(expected(m, texts[i]), line:match '^%a+') end
  end)

  it('keeps an object as it is and adds to it', function()
    local m = parity_model(2)
    local path = file('t.jsonl', '{"z":1.50, "text":"a"}\n{"text":"b","label":"x"} \n[1]\n\n{"text":3}\n{}\n'
      .. '{"text":"a"}\0x\n')
    local out, figures = run(m, path)
    local got = lines(out)
    assert.is_truthy(got[1]:find('{"z":1.50, "text":"a","label":"' .. expected(m, 'a') .. '","score":0.', 1, true))
    assert.is_truthy(got[2]:find('"label":"x","predicted_label":"' .. expected(m, 'b'), 1, true))
    for i = 3, 7 do
      local v = cjson.decode(got[i])
      assert.are.equal(cjson.null, v.label)
      assert.is_truthy(v.error:find '^E305 ')
    end
    assert.are.same({ 7, 5 }, { figures.records, figures.errors })
  end)

  it('keeps columns of TSV and quotes of CSV, also over line ends', function()
    local m = parity_model(2)
    local out = run(m, file('t.tsv', 'id\tsentence\n1\ta b\n2\n3\tc\t\n'))
    assert.are.same({ 'id\tsentence\tlabel\tscore', '1\ta b\t' .. expected(m, 'a b') }, { lines(out)[1],
      lines(out)[2]:match '^(.*)\t' })
    assert.are.equal(4, #lines(out))
    out = run(m, file('t.csv', 'text,score\n"a,\n""b""",7\nc,8'))
    assert.are.equal('text,score,predicted_label,predicted_score\n"a,\n""b""",7,' .. expected(m, 'a, "b"'),
      out:match '^(.-),%d%.%d+\n')
  end)

  it('writes one format from another', function()
    local m = parity_model(2)
    local tsv = file('t.tsv', 'id\tsentence\n1\ta "b"\n2\tc\n')
    local a, b = expected(m, 'a "b"'), expected(m, 'c')
    local objects = lines((run(m, tsv, { output = 'jsonl' })))
    assert.are.same({ '1', 'a "b"', a }, { cjson.decode(objects[1]).id, cjson.decode(objects[1]).sentence,
      cjson.decode(objects[1]).label })
    assert.is_truthy(run(m, tsv, { output = 'csv' }):find('\n1,"a ""b""",' .. a .. ',', 1, true))
    assert.are.equal('id,label\n1,' .. a .. '\n2,' .. b .. '\n',
      run(m, tsv, { output = 'csv', keep = { 'id' }, scores = 'none' }))
    assert.are.equal('index\tprediction\n0\t' .. a .. '\n1\t' .. b .. '\n', run(m, tsv, { output = 'glue' }))
    assert.is_truthy(run(m, tsv, { output = 'fasttext', k = 2 }):find('^__label__' .. a .. ' 0%.%d+ __label__'))
    local jsonl = file('t.jsonl', '{"text":"a\\tb","n":[1]}\n')
    assert.is_truthy(run(m, jsonl, { output = 'tsv' }):find('text\tn\tlabel\tscore\na b\t[1]\t', 1, true))
    assert.is_truthy(run(m, tsv, { output = 'text', keep = 'none' }):find('^' .. a .. '\t0%.%d+\n' .. b))
    local all = cjson.decode(lines(run(m, tsv, { output = 'jsonl', scores = 'all', keep = 'none' }))[1])
    assert.is_near(1, all.scores.even + all.scores.odd, 1e-3)
    assert.are.equal(cjson.null, cjson.decode(lines(run(m, tsv, { output = 'jsonl', threshold = 1.1 }))[1]).label)
  end)

  it('gives a number for regression', function()
    local m = parity_model(2, { output = 'regress', labels = {} })
    assert.are.equal('id\ttext\tscore\n1\ta\t6.0000\n', run(m, file('t.tsv', 'id\ttext\n1\ta\n')))
    assert.are.equal('{"text":"a","score":6.0000}\n', run(m, file('t.jsonl', '{"text":"a"}')))
  end)

  it('tags words: a column of CoNLL, a list of JSON, words of a line', function()
    local m = parity_model(3, { output = 'tag', labels = { 'O', 'B-X', 'I-X' }, length = 3 })
    local function tag(word) return m.labels[m.tokenizer.id[word] % 3 + 1] end
    local conll = file('t.conll', '-DOCSTART- -X-\n\na NN\nb NN\nc NN\n\n\nd NN')
    assert.are.equal(('-DOCSTART- -X- O\n\na NN %s\nb NN %s\nc NN _\n\nd NN %s\n\n'):format(tag 'a', tag 'b', tag 'd'),
      run(m, conll))
    assert.are.same({ tag 'a', tag 'b' }, cjson.decode((run(m, file('t.jsonl', '{"text":["a","b"]}')))).tags)
    assert.are.equal(tag 'b' .. ' ' .. tag 'a' .. '\n', run(m, file('t.txt', 'b  a')))
    for _, name in ipairs { 'tokens', 'words' } do
      local line = ('{"id":"7","text":"a b c","%s":["d","a"]}'):format(name)
      assert.are.same({ tag 'd', tag 'a' }, cjson.decode((run(m, file('t.jsonl', line)))).tags)
    end
    assert.are.same({ tag 'a', tag 'b', cjson.null }, cjson.decode((run(m, file('t.jsonl', '{"text":["a","b","c"]}'))))
      .tags)
    assert.are.equal(('words\ttags\na b c\t%s %s _\nd\t%s\n'):format(tag 'a', tag 'b', tag 'd'),
      (run(m, conll, { output = 'tsv' })))
    local own = run(m, conll, { output = 'jsonl' })
    assert.are.equal(own, (run(m, file('own.jsonl', (own:gsub(',"tags".-}', '}'))))))
  end)

  it('gives an empty answer to a sentence that it could not read', function()
    local m = parity_model(3, { output = 'tag', labels = { 'O', 'B-X', 'I-X' }, length = 4 })
    local bad = file('t.conll', 'a NN\n\n# a comment\nb NN\nc NN X\n')
    assert.are.equal('# a comment\nb NN _\nc NN X _\n\n', run(m, bad):match '\n\n(.*)')
    local texts = file('t.jsonl', '{"text":"a"}\n{"text":3}\n')
    assert.are.equal(cjson.null, cjson.decode(lines(run(m, texts))[2]).tags)
    assert.are.equal('_', lines(run(m, texts, { output = 'text' }))[2])
  end)

  it('takes the columns that the model learned from before those of usual names', function()
    local m = parity_model(2)
    m.config.task, m.config.own = 'own', { type = 'classify', text = 'body', label = 'topic' }
    assert.is_truthy(run(m, file('t.tsv', 'text\tbody\na\tb\n')):find('b\t' .. expected(m, 'b'), 1, true))
    assert.is_truthy(run(m, file('t.jsonl', '{"text":"a"}')):find(expected(m, 'a'), 1, true))
    m.config.own.text, m.config.own.pair = 'one', 'two'
    m.tokenizer.encode_pair = function(tok, a, b, max) return tok:encode(a .. ' ' .. b, max) end
    assert.is_truthy(run(m, file('p.tsv', 'two\tone\na\tb\n'), { pairs = true }):find(expected(m, 'b a'), 1, true))
  end)

  it('takes pairs by their usual names, and says what is missing', function()
    local m = parity_model(2)
    m.tokenizer.encode_pair = function(tok, a, b, max) return tok:encode(a .. ' ' .. b, max) end
    local path = file('t.tsv', 'premise\thypothesis\na\tb\n')
    assert.is_truthy(run(m, path, { pairs = true }):find(expected(m, 'a b'), 1, true))
    local half = file('h.tsv', 'text\tpair\na\tb\nc\t\n \td\n')
    local out, figures = run(m, half, { pairs = true })
    assert.are.same({ 'c\t\t\t', ' \td\t\t', 2 }, { lines(out)[3], lines(out)[4], figures.errors })
    refused(3, 'h.tsv:3: the second text of the pair has no tokens', run, m, half, { pairs = true, on_error = 'fail' })
    assert.are.equal(0, select(2, run(m, half, { pairs = true, output = 'glue', submitted = m.labels })).errors)
    refused(3, 'no %-%-pair is given', run, m, file('x.tsv', 'one\ttwo\na\tb\n'), { pairs = true })
    refused(3, "no column 'nme', columns are: name, b\n  did you mean: name%?\n  fix: %-%-text name", run, m,
      file('n.tsv', 'name\tb\na\tb\n'), { text = 'nme' })
    refused(3, 'no %-%-text is given', run, m, file('y.tsv', 'one\ttwo\na\tb\n'))
    refused(2, "%-%-out is 'conll'", run, m, path, { output = 'conll' })
  end)

  it('writes nothing, not even the header, where a column is not there', function()
    local m, out = parity_model(2), dir .. '/out.tsv'
    local path = file('t.tsv', 'id\tsentence\n1\ta\n')
    for _, o in ipairs { { text = 'wrong' }, { keep = { 'wrong' } }, { text = 'wrong', input = 'csv' },
                         { text = 'sentence', pair = 'wrong', pairs = true } } do
      o.files, o.output, o.on_error, o.flush = { path }, 'same', 'null', 0
      o.sink = function(text) error('written: ' .. text) end
      refused(3, 'columns are: ', filter.run, m, o)
      o.sink, o.path = nil, out
      refused(3, 'columns are: ', filter.run, m, o)
      assert.is_nil(sys.kind(out))
    end
    refused(3, 'nowhere', run, m, dir .. '/nowhere.tsv', { path = out })
    assert.is_nil(sys.kind(out))
    run(m, file('none.txt', ''), { path = out })
    assert.are.equal('', sys.read(out))
  end)

  it('writes the header of a file that holds nothing else', function()
    assert.are.equal('id,text,label,score\n', (run(parity_model(2), file('t.csv', 'id,text\n'))))
  end)

  it('has columns in the order of the first object, and says once what has none', function()
    local m, notes = parity_model(2), {}
    local out = run(m, file('t.jsonl', '{"text":"a","b":{"c":1},"a":"2"}\n{"text":"b","x":1}\n{"text":"b","y":1}\n'),
      { output = 'tsv', note = function(s) notes[#notes + 1] = s end })
    assert.are.equal('text\tb\ta\tlabel\tscore', lines(out)[1])
    assert.are.equal(1, #notes)
    assert.is_truthy(notes[1]:find("t.jsonl:2: key 'x' has no column", 1, true))
  end)

  it('keeps what a faulty row has', function()
    local m = parity_model(2)
    local path = file('t.tsv', 'id\ttext\n1\ta\n2\n\n3\tb\t4\n')
    local got = lines((run(m, path)))
    assert.are.same({ '2\t\t\t', '\t\t\t', '3\tb\t\t' }, { got[3], got[4], got[5] })
    got = lines((run(m, path, { output = 'jsonl' })))
    assert.are.equal('{"id":"2","label":null,"error":"E305 1 column, expected 2 (id, text)"}', got[2])
    assert.are.equal('{"label":null,"error":"E305 an empty line"}', got[3])
    got = lines((run(m, file('n.jsonl', '{"text":"a"}\n{"text":null}\n \n'))))
    assert.is_truthy(got[2]:find("E305 'text' is null", 1, true))
    assert.is_truthy(got[3]:find('E305 an empty line', 1, true))
  end)

  it('refuses options that there is no use for', function()
    local m, path = parity_model(2), file('t.tsv', 'text\na\n')
    for _, o in ipairs { { k = 2, scores = 'all' }, { k = 2, scores = 'none' }, { scores = 'all', output = 'glue' },
                         { threshold = 0.5, output = 'glue' }, { scores = 'all', output = 'fasttext' },
                         { pair = 'text' } } do
      refused(2, 'leave out %-', run, m, path, o)
    end
    for _, kind in ipairs { 'regress', 'tag' } do
      m.output = kind
      for _, o in ipairs { { k = 2 }, { scores = 'none' }, { threshold = 0.5 } } do
        refused(2, "which has no meaning for answers of kind '" .. kind, run, m, path, o)
      end
    end
    refused(2, 'truncate is left, which has no meaning for a model that reads words', run, m, path,
      { truncate = 'left' })
  end)

  it('refuses columns of plain text, guessed or said', function()
    local m, path = parity_model(2), file('unknown', 'id\tbody\n1\ta\n')
    for _, o in ipairs { { text = 'body' }, { id = 'id' }, { header = false } } do
      refused(2, 'given, but no format', run, m, path, o)
    end
    refused(2, 'standard input: %-%-pair is given', run, m, '-', { pair = 'b', pairs = true })
    for _, o in ipairs { { text = 'body' }, { text = 'text', pair = 'b', pairs = true } } do
      o.input = 'text'
      refused(3, "no column 'b.*, columns are: text", run, m, path, o)
    end
    assert.are.equal(2, #lines((run(m, path, { text = 'text', input = 'text' }))))
  end)

  it('refuses a key that none of the first records has, before any answer', function()
    local m, notes = parity_model(2), {}
    local path = file('t.jsonl', '{"id":1,"review":"a"}\n{"review":"b","x":1}\n')
    local function try(path_, o)
      o.files, o.output, o.on_error, o.flush = { path_ }, o.output or 'same', 'null', 0
      o.sink = function(text) error('written: ' .. text) end
      o.note = function(text) notes[#notes + 1] = text end
      filter.run(m, o)
    end
    for _, output in ipairs { 'jsonl', 'tsv', 'text' } do
      refused(3, "t.jsonl:1: no column 'reviw', columns are: id, review\n  did you mean: review%?\n  fix: %-%-text re",
        try, path, { text = 'reviw', output = output })
      refused(3, "no column 'y'.*%-%-keep", try, path, { text = 'review', keep = { 'x', 'y' }, output = output })
      refused(3, "no column 'y'.*%-%-id", try, path, { text = 'review', keep = 'none', id = 'y', output = output })
    end
    refused(3, "no column '3', columns are: 1, 2", try, file('t.tsv', 'a\tb\n'), { text = '3', header = false })
    refused(3, "no column '3', columns are: 1 to 2", try, file('t.conll', 'a X\n'), { text = '3', output = 'text' })
    local out = dir .. '/out.jsonl'
    refused(3, "no column 'wrong'", run, m, path, { text = 'wrong', path = out })
    assert.is_nil(sys.kind(out))
    assert.are.same({ {}, {} }, { m.seen, notes })
    -- one that only some records lack is a fault of those
    local late = file('late.jsonl', '{"id":1}\n{"text":null}\n{"text":"a"}\n' .. ('{"text":"b"}\n'):rep(300) .. '{}\n')
    local _, figures = run(m, late, { text = 'text' })
    assert.are.same({ 304, 3 }, { figures.records, figures.errors })
    assert.are.equal('{"x":1,"label"', (run(m, path, { text = 'review', keep = { 'x' } }):match '\n(.-):"[eo]'))
  end)

  it('obeys what is to be done about faulty records', function()
    local m = parity_model(2)
    local path = file('t.jsonl', '{"text":"a"}\nx\n{"text":"b"}\n')
    assert.are.equal(2, #lines((run(m, path, { on_error = 'skip' }))))
    refused(3, 't.jsonl:2: not valid JSON', run, m, path, { on_error = 'fail' })
    local notes = {}
    run(m, file('many.jsonl', ('x\n'):rep(9) .. '{"text":"a"}\n'), { note = function(s) notes[#notes + 1] = s end })
    assert.are.equal(5, #notes)
  end)

  it('splits into shards that together are the whole', function()
    local m, texts = parity_model(5), some_texts(100)
    local path, all = file('t.txt', table.concat(texts, '\n')), {}
    for i = 1, 3 do
      for k, line in ipairs(lines((run(m, path, { shard = { i, 3 } })))) do all[(k - 1) * 3 + i] = line:match '^%a+' end
    end
    assert.are.equal(100, #all)
    for i, t in ipairs(texts) do assert.are.equal(expected(m, t), all[i]) end
  end)

  it('continues an output that was cut off anywhere, to the same bytes', function()
    local m, texts = parity_model(2), {}
    for i, t in ipairs(some_texts(500)) do texts[i] = i .. ',"' .. t .. '\n"' end
    local path = file('t.csv', 'id,text\n' .. table.concat(texts, '\n') .. '\n')
    local whole = run(m, path)
    for _, cut in ipairs { 0, 5, 14, 1000, #whole - 1, #whole } do
      local out = file('out.csv', whole:sub(1, cut))
      local _, figures = run(m, path, { path = out, resume = true })
      assert.is_true(whole == sys.read(out), 'cut at ' .. cut)
      assert.are.equal(500, figures.records)
    end
    refused(2, 'without %-O', run, m, path, { resume = true })
    refused(2, 'standard input', run, m, '-', { resume = true, path = dir .. '/new' })
  end)

  it('adds to its own output only', function()
    local m, path = parity_model(2), file('t.txt', table.concat(some_texts(500), '\n') .. '\n')
    local whole, out = run(m, path), dir .. '/out'
    local function try(bytes, pattern, o)
      sys.write(out, bytes)
      o.path = o.path or out
      refused(2, pattern, run, m, o.files or path, o)
      assert.is_true(bytes == sys.read(out))
    end
    try(whole:sub(1, 5000), 'is there already\n  fix: %-%-resume to continue it', {})
    for _, bytes in ipairs { 'mine\n', ('mine\n'):rep(600), whole, whole:sub(1, 5000) .. 'x' } do
      try(bytes, 'is there already\n  fix: another %-O', {})
    end
    for _, bytes in ipairs { 'mine\n', ('mine\n'):rep(600), whole .. 'x', whole:sub(1, 2000) .. 'x' } do
      try(bytes, 'which this command did not write', { resume = true })
    end
    try(whole:sub(1, 5000), 'did not write', { resume = true, scores = 'none' })
    try(whole:sub(1, 5000), 'did not write', { resume = true, shard = { 2, 2 } })
    try(whole:sub(1, 5000), 'did not write', { resume = true, files = { file('none.txt', '') } })
    try(whole, 'is there already\n  fix: another %-O', { on_error = 'skip' })
    local text = sys.read(path)
    for _, resume in ipairs { true, false } do
      refused(2, 'is an input too', run, m, path, { path = dir .. '/../' .. dir:match '[^/]+$' .. '/t.txt',
        resume = resume or nil })
    end
    assert.is_true(text == sys.read(path))
  end)

  it('continues after faulty records and sentences without words', function()
    local m = parity_model(1, { output = 'tag', labels = { 'O', 'B-X' } })
    local path = file('t.jsonl', 'x\n' .. ('{"text":"a b"}\n{"text":""}\n'):rep(100))
    for _, output in ipairs { 'conll', 'tsv', 'jsonl' } do
      local whole = run(m, path, { output = output })
      for _, cut in ipairs { 1, #whole - 3, #whole - #whole % 7 } do
        local out = file('out', whole:sub(1, cut))
        run(m, path, { output = output, path = out, resume = true })
        assert.is_true(whole == sys.read(out), output .. ' cut at ' .. cut)
      end
    end
  end)

  it('reads several files as one, of one format', function()
    local m = parity_model(3)
    local a, b = file('a.tsv', 'text\na\n'), file('b.tsv', 'text\nb\nc\n')
    assert.are.equal(4, #lines((run(m, { a, b }))))
    refused(2, 'its format is jsonl, expected tsv', run, m, { a, file('c.jsonl', '{}') })
  end)

  it('keeps to valid UTF-8 and to the number of lines on random files', function()
    helper.reseed(7)
    local alphabet = { 'a', 'b ', '\n', '\n', '\r\n', '\t', '"', ',', '{"text":"a"}', '\0', '\255', '\xc3', '\xe2\x82',
                       '\xf0\x9f\x98\x80', ' c', '\\', '}', '\xed\xa0\x80' }
    for round = 1, 40 do
      local draw, body = helper.ints(1, #alphabet, 60), {}
      for k = 1, 60 do body[k] = alphabet[draw[k]] end
      local text = table.concat(body)
      local path = file('r.bin', text)
      local _, want = text:gsub('\n', '')
      if text:byte(-1) ~= 10 then want = want + 1 end
      local m = parity_model(({ 1, 2, 5, 20 })[round % 4 + 1])
      for _, input in ipairs { 'text', 'jsonl', 'tsv' } do
        local out, figures = run(m, path, { input = input, output = 'jsonl', text = input == 'jsonl' and 'text' or '1',
          header = false })
        assert.are.equal(want, figures.records)
        assert.are.equal(want, #lines(out))
        assert.is_nil(reader.invalid_utf8(out))
      end
    end
  end)
end)
