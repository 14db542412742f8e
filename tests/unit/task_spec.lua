-- task_spec.lua -- the GLUE tasks, CoNLL-2003 and a person's own files: what is read, encoded, refused.
local conll = require 'datamux.data.conll'
local encode = require 'datamux.data.encode'
local glue = require 'datamux.data.glue'
local recipe = require 'datamux.recipe'
local schema = require 'datamux.schema'
local sys = require 'datamux.sys'
local task = require 'datamux.data.task'
local text = require 'datamux.text'

local data = os.getenv 'DATAMUX_DATA'
local dir

before_each(function()
  dir = os.tmpname()
  os.remove(dir)
  sys.mkdir(dir)
end)

after_each(function() sys.remove(dir) end)

local function file(name, body)
  sys.write(dir .. '/' .. name, body)
  return dir .. '/' .. name
end

local function refused(code, pattern, fn, ...)
  local ok, e = pcall(fn, ...)
  assert.is_false(ok)
  assert.are.equal(code, e.code, tostring(e))
  assert.is_truthy(tostring(e):find(pattern, 1, true), tostring(e))
end

local function list(array, n)
  local out = {}
  for i = 0, n - 1 do out[i + 1] = array[i] end
  return out
end

local function count(array, n)
  local out = {}
  for i = 0, n - 1 do out[array[i] + 1] = (out[array[i] + 1] or 0) + 1 end
  return out
end

local function open(t, overrides)
  return task.open(recipe.resolve(t, { overrides = overrides, file = dir .. '/recipe.lua' }))
end

describe('GLUE', function()
  it('pairs columns by name, labels in the order of Hugging Face', function()
    local set = glue.read_file('mrpc', file('x.tsv',
      '\239\187\191Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t5\t6\tHe said "x .\tShe said .\n0\t7\t8\ta\tb\n'))
    assert.are.same({ { 'He said "x .', 'a' }, { 'She said .', 'b' }, { 1, 0 } },
      { set.texts, set.pairs, list(set.labels, 2) })
    set = glue.read_file('mnli', file('x.tsv', 'index\tgold_label\tsentence1\tsentence2\n0\tcontradiction\tp\th\n'))
    assert.are.same({ 2, 'neutral' }, { set.labels[0], set.label_names[2] })
    set = glue.read_file('qnli', file('x.tsv', 'index\tquestion\tsentence\tlabel\n0\tq\ts\tentailment\n'))
    assert.are.equal(0, set.labels[0])
    set = glue.read_file('cola', file('x.tsv', 'gj04\t0\t*\tThe "x.\ngj04\t1\t\tyes\n'))
    assert.are.same({ { 'The "x.', 'yes' }, { 0, 1 } }, { set.texts, list(set.labels, 2) })
    set = glue.read_file('stsb', file('x.tsv', 'sentence1\tsentence2\tscore\na\tb\t3.75\n'))
    assert.are.same({ 3.75, 1 }, { set.scores[0], #set.label_names })
    assert.is_nil(set.labels)
  end)

  it('passes over cut-off and half empty rows of QQP, and of no other task', function()
    local body = 'id\tquestion1\tquestion2\tis_duplicate\n1\ta\tb\t1\n2\tcut\n3\tc\td\t0\n'
    local set = glue.read_file('qqp', file('x.tsv', body))
    assert.are.same({ 2, 1, { 'a', 'c' } }, { set.n, set.skipped, set.texts })
    set = glue.read_file('qqp', file('x.tsv', body .. '4\te\t\t0\n5\t \tf\t0\n'))
    assert.are.same({ 2, 3, { 'a', 'c' } }, { set.n, set.skipped, set.texts })
    refused(3, 'x.tsv:3: 2 columns, expected 4', glue.read_file, 'rte',
      file('x.tsv', 'index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\ta\n'))
  end)

  it('refuses what does not fit, with file and line', function()
    local function try(name, body) return function() glue.read_file(name, file('x.tsv', body)) end end
    refused(3, "x.tsv:2: label is 'maybe', expected one of entailment, neutral, contradiction",
      try('mnli', 'sentence1\tsentence2\tgold_label\na\tb\tmaybe\n'))
    refused(3, "x.tsv:1: no column 'question', columns are: sentence, label", try('qnli', 'sentence\tlabel\na\t1\n'))
    refused(3, "x.tsv:1: no column 'sentence2', columns are: index, sentence1, label. Did you mean 'sentence1'?",
      try('rte', 'index\tsentence1\tlabel\n0\ta\tentailment\n'))
    refused(3, "x.tsv:2: column 'score' is 'high', expected a number", try('stsb',
      'sentence1\tsentence2\tscore\na\tb\thigh\n'))
    refused(3, 'x.tsv: no examples in it', try('cola', ''))
    refused(3, 'x.tsv: is empty, expected a line of column names', try('sst2', ''))
    refused(3, 'x.tsv:1: no column 4, there are 2', try('cola', 'a\t1\n'))
  end)

  it('says where an absent training file was looked for, and where it is to be had', function()
    local cache = require 'datamux.data.cache'
    local look = cache.look
    cache.look = function(folder, name) return nil, { '/nowhere/' .. folder .. '/' .. name } end
    local ok, e = pcall(refused, 3, 'fbaipublicfiles.com/glue/data/QQP-clean.zip', glue.read, 'qqp', 'train')
    local ok2, e2 = pcall(refused, 3, 'looked in: /nowhere/MNLI/dev_mismatched.tsv', glue.read, 'mnli_mismatched',
      'dev')
    local ok3, e3 = pcall(refused, 3, 'its text belongs to Reuters', conll.conll2003, 'train')
    cache.look = look
    assert.is_true(ok, e)
    assert.is_true(ok2, e2)
    assert.is_true(ok3, e3)
  end)

  it('has the published numbers of examples', function()
    if not data then return pending 'needs the GLUE files under DATAMUX_DATA' end
    for name, expected in pairs {
      cola = { 8551, 1043, 1063 }, mrpc = { 3668, 408, 1725 }, rte = { 2490, 277, 3000 }, wnli = { 635, 71, 146 },
      stsb = { 5749, 1500, 1379 }, sst2 = { 67349, 872, 1821 },
    } do
      for i, split in ipairs { 'train', 'dev', 'test' } do
        local set = glue.read(name, split)
        assert.are.equal(expected[i], set.n, name .. ' ' .. split)
        assert.are.equal(0, set.skipped)
        assert.are.equal(split ~= 'test', set.labels ~= nil or set.scores ~= nil)
      end
    end
    assert.are.equal(5463, glue.read('qnli', 'test').n)
    assert.are.same({ 3479, 3123, 3213 }, count(glue.read('mnli', 'dev').labels, 9815))
    assert.are.same({ 2702, 2761 }, count(glue.read('qnli', 'dev').labels, 5463))
    assert.are.same({ 322, 721 }, count(glue.read('cola', 'dev').labels, 1043))
    assert.are.same({ 129, 279 }, count(glue.read('mrpc', 'dev').labels, 408))
  end)
end)

describe('pairs', function()
  local words = text.train { kind = 'words', lines = { 'a b c d e' }, vocab_size = 10 }

  it('are encoded with their specials, the longer one cut first', function()
    assert.are.same({ 2, 4, 5, 3, 6 }, (words:encode_pair('a b', 'c')))
    local ids, cut = words:encode_pair('a b c', 'd', 5)
    assert.are.same({ 2, 4, 5, 3, 7, true }, { ids[1], ids[2], ids[3], ids[4], ids[5], cut })
    ids, cut = words:encode_pair('a', 'b c d', 5)
    assert.are.same({ { 2, 4, 3, 5, 6 }, true }, { ids, cut })
    if not data then return end
    local vocab = data .. '/vocab/roberta-base/'
    local bpe = text.load { kind = 'bpe', vocab = vocab .. 'vocab.json', merges = vocab .. 'merges.txt' }
    ids = bpe:encode_pair('Hello', 'world')
    assert.are.same({ 0, 31414, 2, 2, 8331, 2 }, ids)
  end)

  it('become sets with their labels', function()
    local set = glue.read_file('rte', file('x.tsv', 'sentence1\tsentence2\tlabel\na b\tc\tentailment\nd\te\t'
      .. 'not_entailment\n'))
    local out = encode.set(words, set, 4)
    assert.are.same({ { 2, 4, 3, 6, 2, 7, 3, 8 }, { 0, 4, 8 }, { 0, 1 }, 1 },
      { list(out.ids, 8), list(out.offset, 3), list(out.labels, 2), out.truncated })
    assert.are.same({ 'a b', 'c', 'd', 'e' }, encode.texts(set))
  end)

  it('without a token in one of the texts are refused with file and line', function()
    for row, which in pairs { [' \t'] = 'first', ['a\t'] = 'second', ['\tb'] = 'first', ['a\t \v'] = 'second' } do
      local set = glue.read_file('rte', file('x.tsv', ('sentence1\tsentence2\tlabel\na\tb\tentailment\n%s\t'
        .. 'entailment\n'):format(row)))
      refused(3, ('x.tsv:3: the %s text of the pair has no tokens'):format(which), encode.set, words, set, 10)
    end
    local set = glue.read_file('sst2', file('y.tsv', 'sentence\tlabel\na\t1\n  \t0\n'))
    refused(3, 'y.tsv:3: the text has no tokens', encode.set, words, set, 10)
  end)

  it('and texts are refused where no token of them would be left', function()
    local set = glue.read_file('rte', file('x.tsv', 'sentence1\tsentence2\tlabel\na\tb\tentailment\n'))
    refused(2, 'data.length is 3, expected at least 4: a token of each text and 2 special ones\n  fix: data.length=4',
      encode.set, words, set, 3)
    assert.are.equal(4, encode.set(words, set, 4).offset[1])
    set.pairs = nil
    refused(2, 'data.length is 1, expected at least 2: a token and 1 special one', encode.set, words, set, 1)
  end)
end)

describe('CoNLL', function()
  local body = '-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\nGerman JJ I-NP I-MISC\n\n'
    .. 'Rome NNP I-NP I-LOC\nOslo NNP I-NP B-LOC\nBonn NNP I-NP I-LOC\n'

  it('is read as BIO whatever it is written in', function()
    local spec = { text = 1, label = 'last', labels = conll.labels }
    local set = conll.read(file('a.conll', body), spec)
    assert.are.same({ 2, 'IOB1', { 3, 7 } }, { set.n, set.scheme, set.lines })
    assert.are.same({ { 'EU', 'rejects', 'German' }, { 'Rome', 'Oslo', 'Bonn' } }, set.words)
    assert.are.same({ { 3, 0, 7 }, { 5, 5, 6 } }, set.gold)
    local same = conll.read(file('b.conll', 'Rome B-LOC\nOslo B-LOC\nBonn I-LOC\n'), spec)
    assert.are.same({ 'BIO', { 5, 5, 6 } }, { same.scheme, same.gold[1] })
    same = conll.read(file('c.conll', 'Rome S-LOC\nOslo B-LOC\nBonn E-LOC\n'), spec)
    assert.are.same({ 'IOBES', { 5, 5, 6 } }, { same.scheme, same.gold[1] })
    local plain = conll.read(file('d.conll', 'a DT\nb NN\n\nc IN\n'), { text = 1, label = 'last' })
    assert.are.same({ 'plain', { 'DT', 'IN', 'NN' }, { { 0, 2 }, { 1 } } },
      { plain.scheme, plain.label_names, plain.gold })
    plain = conll.read(file('e.conll', 'Anna PER\nlives O\nNew LOC\n'), { text = 1, label = 'last' })
    assert.are.same({ 'plain', { 'LOC', 'O', 'PER' }, { { 2, 1, 0 } } },
      { plain.scheme, plain.label_names, plain.gold })
  end)

  it('gives tags to the first piece of each word, and keeps count of words cut off', function()
    local set = conll.read(file('a.conll', body), { text = 1, label = 'last', labels = conll.labels })
    local tok = text.train { kind = 'words', lines = { 'EU rejects German Rome Oslo Bonn' }, vocab_size = 10 }
    local out = encode.set(tok, set, 3)
    assert.are.same({ 2, 4, 5, 2, 7, 8 }, list(out.ids, 6))
    assert.are.same({ -100, 3, 0, -100, 5, 5 }, list(out.tags, 6))
    assert.are.same({ { 3, 0, 7, 5, 5, 6 }, { 1, 2, -1, 4, 5, -1 }, { 0, 3, 6 } },
      { list(out.gold, 6), list(out.first, 6), list(out.word_offset, 3) })
    assert.are.same({ 2, 2 }, { out.truncated, out.cut })
    if not data then return end
    local vocab = data .. '/vocab/roberta-base/'
    local bpe = text.load { kind = 'bpe', vocab = vocab .. 'vocab.json', merges = vocab .. 'merges.txt' }
    local whole, pieces = encode.set(bpe, set, 128), 0
    assert.are.same({ 0, 2 }, { whole.ids[0], whole.ids[whole.offset[1] - 1] })
    for i = 0, whole.offset[2] - 1 do
      if whole.tags[i] >= 0 then pieces = pieces + 1 end
    end
    assert.are.equal(6, pieces)
    assert.are.equal(' EU rejects German', bpe:decode(list(whole.ids, whole.offset[1])))
  end)

  it('is refused with file and line', function()
    local spec = { text = 1, label = 'last', labels = conll.labels }
    refused(3, "a.conll:2: tag 'B-DOG' of 'Rex', expected one of O, B-PER", conll.read,
      file('a.conll', 'Hi O\nRex B-DOG\n'), spec)
    refused(3, 'a.conll:1: 1 column, expected words and tags', conll.read, file('a.conll', 'Hi\n'), spec)
    refused(3, "a.conll: every tag is 'O', expected at least two different ones", conll.read,
      file('a.conll', 'Hi O\nthere O\n'), { text = 1, label = 'last' })
    refused(3, 'a.conll: no sentences in it', conll.read, file('a.conll', '-DOCSTART- O\n\n'), spec)
    refused(3, 'a.jsonl:1: 1 tag, expected 2 as there are words', conll.read,
      file('a.jsonl', '{"tokens": ["a", "b"], "tags": ["O"]}\n'), { text = 'tokens', label = 'tags' })
    for list_, why in pairs { ['[]'] = 'the sentence has no words', ['["a", ""]'] = 'a word is empty' } do
      refused(3, 'a.jsonl:2: ' .. why, conll.read, file('a.jsonl', ('{"tokens": ["a"], "tags": ["O"]}\n'
        .. '{"tokens": %s, "tags": %s}\n'):format(list_, list_)), { text = 'tokens', label = 'tags' })
    end
  end)

  it('of 2003 has the published numbers, the same from IOB1 and BIO files', function()
    if not data or sys.kind(data .. '/CoNLL-2003') ~= 'directory' then
      return pending 'needs CoNLL-2003 under DATAMUX_DATA'
    end
    local metrics = require 'datamux.metrics'
    for split, expected in pairs {
      train = { 14041, 203621, 'IOB1', LOC = 7140, MISC = 3438, ORG = 6321, PER = 6600 },
      dev = { 3250, 51362, 'IOB1', LOC = 1837, MISC = 922, ORG = 1341, PER = 1842 },
      test = { 3453, 46435, 'IOB1', LOC = 1668, MISC = 702, ORG = 1661, PER = 1617 },
    } do
      local set = conll.conll2003(split)
      local tokens, found = 0, {}
      for i = 1, set.n do
        tokens = tokens + #set.words[i]
        local names = {}
        for k, label in ipairs(set.gold[i]) do names[k] = set.label_names[label + 1] end
        for _, s in ipairs(metrics.spans(names)) do found[s[1]] = (found[s[1]] or 0) + 1 end
      end
      found[1], found[2], found[3] = set.n, tokens, set.scheme
      assert.are.same(expected, found)
      local other = ({ train = 'train.txt', dev = 'valid.txt', test = 'test.txt' })[split]
      local bio = conll.read(data .. '/CoNLL-2003/' .. other, { text = 1, label = 'last', labels = conll.labels,
        format = 'conll' })
      assert.are.same({ 'BIO', set.gold }, { bio.scheme, bio.gold })
    end
  end)
end)

describe('a task of your own', function()
  it('is read from TSV, CSV, JSONL, compressed or not, columns and labels as the recipe says', function()
    file('t.tsv', 'sentence\tlabel\ngood\tpos\nbad\tneg\nfine\tpos\n')
    file('d.csv', 'label,sentence\nneg,"so, so"\n')
    file('e.jsonl', '{"sentence": "x", "label": "pos"}\n')
    local t = open { task = { type = 'classify', train = 't.tsv', dev = 'd.csv' } }
    assert.are.same({ 'own', 'classify', { 'neg', 'pos' }, 'accuracy' }, { t.name, t.output, t.label_names, t.metric })
    assert.are.same({ { 1, 0, 1 }, { 'so, so' }, 0 }, { list(t.train.labels, 3), t.dev.texts, t.dev.labels[0] })
    t = open({ task = { type = 'classify', train = 't.tsv', dev = 'e.jsonl', labels = { 'pos', 'neg' } } })
    assert.are.same({ { 0, 1, 0 }, 0 }, { list(t.train.labels, 3), t.dev.labels[0] })
    file('n.tsv', 'a\tb\tstars\nx\ty\t10\nz\tw\t9\n')
    os.execute(('gzip %s/n.tsv'):format(dir))
    t = open({ task = { type = 'classify', train = 'n.tsv.gz', dev = 'n.tsv.gz', text = 'a', pair = 2 } },
      { 'task.label=stars', 'eval.metric=mcc' })
    assert.are.same({ { '9', '10' }, { 'y', 'w' }, 'mcc' }, { t.label_names, t.train.pairs, t.metric })
    t = open { task = { type = 'regress', train = 'n.tsv.gz', dev = 'n.tsv.gz', text = 'a', label = 'stars' } }
    assert.are.same({ 10, 9 }, list(t.train.scores, 2))
    assert.are.equal('pearson', t.metric)
  end)

  it('may be tags, in CoNLL or JSONL', function()
    file('t.conll', 'Rome I-CITY\nis O\n\nOslo I-CITY\n')
    file('d.jsonl', '{"tokens": ["Bonn"], "tags": ["B-CITY"]}\n')
    local t = open { task = { type = 'tag', train = 't.conll', dev = 'd.jsonl' } }
    assert.are.same({ { 'O', 'B-CITY', 'I-CITY' }, { { 1, 0 }, { 1 } }, { { 1 } }, 'f1' },
      { t.label_names, t.train.gold, t.dev.gold, t.metric })
    file('p.conll', 'a DT\nb NN\n')
    t = open { task = { type = 'tag', train = 'p.conll', dev = 'p.conll' } }
    assert.are.same({ 'accuracy', { 'accuracy', 'macro_f1', 'loss' } }, { t.metric, t.metrics })
  end)

  it('is refused before any work where it does not fit', function()
    file('t.tsv', 'sentence\tlabel\ngood\tpos\nbad\tneg\n')
    file('d.tsv', 'sentence\tlabel\nso\tmaybe\n')
    file('one.tsv', 'sentence\tlabel\nso\tmaybe\n')
    file('raw', 'x')
    local function try(t, overrides) return function() open({ task = t }, overrides) end end
    refused(2, "'task.dev' is missing", try { type = 'classify', train = 't.tsv' })
    refused(2, 'did you mean: task.train?', try { type = 'classify', trian = 't.tsv' })
    refused(2, "'task.type' is 'sort', expected one of classify, regress, tag", try { type = 'sort' })
    refused(3, "'task.train' is 'no.tsv': there is no such file",
      try { type = 'classify', train = 'no.tsv', dev = 'd' })
    refused(3, ("'task.train' is '%s', which is a folder, expected a file\n  fix: name a file in it"):format(dir),
      try { type = 'classify', train = dir, dev = 'd' })
    refused(3, "'task.dev' is '/dev/null', which is a char device, expected a file\n  fix: name a file",
      try { type = 'classify', train = 't.tsv', dev = '/dev/null' })
    refused(3, "d.tsv:2: label is 'maybe', expected one of neg, pos",
      try { type = 'classify', train = 't.tsv', dev = 'd.tsv' })
    refused(3, "one.tsv: every label is 'maybe', expected at least two",
      try { type = 'classify', train = 'one.tsv', dev = 'd.tsv' })
    refused(2, "'task.train' is 'raw': its name does not tell its format",
      try { type = 'classify', train = 'raw', dev = 'raw' })
    refused(2, "task.type is 'tag' with a file of format tsv, expected conll or jsonl",
      try { type = 'tag', train = 't.tsv', dev = 'd.tsv' })
    refused(3, "t.tsv:1: no column 'text', columns are: sentence, label",
      try { type = 'classify', train = 't.tsv', dev = 't.tsv', text = 'text' })
    refused(3, "t.tsv:1: no column 'second', columns are: sentence, label",
      try { type = 'classify', train = 't.tsv', dev = 't.tsv', pair = 'second' })
    refused(3, "t.tsv:2: column 'label' is 'pos', expected a number",
      try { type = 'regress', train = 't.tsv', dev = 't.tsv' })
  end)
end)

describe('the metric that `best` means', function()
  it('is the usual one of the task, or one of its list', function()
    assert.are.same({ 'accuracy', 'f1', 'macro_f1', 'mcc', 'ece', 'loss' }, task.metrics('classify', { 'a', 'b' }))
    assert.are.same({ 'accuracy', 'macro_f1', 'mcc', 'ece', 'loss' }, task.metrics('classify', { 'a', 'b', 'c' }))
    assert.are.same({ 'f1', 'precision', 'recall', 'accuracy', 'loss' }, task.metrics('tag', conll.labels))
    assert.are.equal('macro_f1', open({ task = 'synthetic' }, { 'eval.metric=macro_f1' }).metric)
  end)

  it('is refused where the task has it not, with the list, before a file is read', function()
    refused(2, "metric 'val_loss' does not exist for task sst2\n  where: eval.metric\n"
      .. '  available: accuracy f1 macro_f1 mcc ece loss', open, { task = 'sst2' }, { 'eval.metric=val_loss' })
    refused(2, 'available: accuracy macro_f1 mcc ece loss', open, { task = 'mnli' }, { 'eval.metric=f1' })
    refused(2, 'available: pearson spearman mse', open, { task = 'stsb' }, { 'eval.metric=accuracy' })
    refused(2, 'did you mean: recall?', open, { task = 'conll2003' }, { 'eval.metric=recal' })
  end)
end)

describe('every recipe', function()
  it('resolves in each of its profiles', function()
    for _, name in ipairs(sys.list 'recipes') do
      if name:find '%.lua$' then
        local r = dofile('recipes/' .. name)
        for _, profile in ipairs { 'small', 'paper' } do
          local config = r:resolve { 'profile=' .. profile }
          assert.are.equal(name:gsub('%.lua$', ''), config.name)
        end
      end
    end
  end)
end)

describe('the names of tasks', function()
  it('are those the schema offers', function()
    local choice = { unpack(schema.find(schema.root, 'task').choice) }
    local names = task.names()
    table.sort(choice)
    table.sort(names)
    assert.are.same(names, choice)
  end)
end)
