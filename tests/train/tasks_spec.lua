-- tasks_spec.lua -- short real training on files of one's own: labels of pairs, numbers, tags; what `best` follows.
local card = require 'datamux.card'
local core = require 'datamux.ffi'
local evaluate = require 'datamux.evaluate'
local log = require 'datamux.log'
local recipe = require 'datamux.recipe'
local sys = require 'datamux.sys'
local train = require 'datamux.train'

local C = core.C
local dir, threads

setup(function()
  dir = os.tmpname()
  os.remove(dir)
  sys.mkdir(dir)
  threads = C.dm_threads()
  C.dm_threads_set(1)              -- models this small wait for threads more than they compute
end)

teardown(function()
  C.dm_threads_set(threads)
  sys.remove(dir)
end)

-- Lines made of few words, the same each time.
local words = { 'red', 'blue', 'green', 'seven', 'nine', 'Rome', 'Oslo', 'Bonn' }

local function draw(seed)
  local state = seed
  return function(n)
    state = (state * 16807) % 2147483647
    return state % n + 1
  end
end

local function write(name, n, seed, line)
  local next_, out = draw(seed), {}
  for i = 1, n do out[i] = line(next_) end
  sys.write(dir .. '/' .. name, table.concat(out, '\n') .. '\n')
end

local function session(task, overrides)
  local config = recipe.resolve({
    name = 'spec', task = task, model = { layers = 1, width = 32, heads = 2, dropout = 0,
    vocab = { kind = 'words', size = 50 } }, mux = { n = 2 }, data = { length = 16 },
    train = { epochs = 1, rows = 8, lr = 3e-3, alpha = 0, schedule = 'constant' }, eval = { groupings = 2,
    bootstrap = 50 } }, { overrides = overrides, file = dir .. '/spec.lua' })
  return train.new(config, { log = log.new { mode = 'none' } })
end

describe('a task of your own', function()
  it('learns labels of pairs: is the second word in the first text?', function()
    local function line(next_)
      local a, b = words[next_(8)], words[next_(8)]
      local c = next_(2) == 1 and a or words[next_(8)]
      return ('%s %s\t%s\t%s'):format(a, b, c, (c == a or c == b) and 'yes' or 'no')
    end
    write('pairs.tsv', 800, 7, line)
    sys.write(dir .. '/pairs.tsv', 'first\tsecond\tlabel\n' .. sys.read(dir .. '/pairs.tsv'))
    local s = session({ type = 'classify', train = 'pairs.tsv', dev = 'pairs.tsv', text = 'first', pair = 'second' },
      { 'eval.metric=f1', 'eval.protocol=paper', 'eval.ensemble=2', 'eval.retrieval=all', 'warmup.steps=2' })
    local r = s:run()
    assert.are.same({ 'f1', 800, 800, 768 }, { r.metric, r.scored, r.total, r.paper.scored })
    assert.are.same({ r.metrics.f1, r.metrics.accuracy }, { r.value, r.accuracy })
    assert.are.equal(2, #r.per_class)
    assert.are.equal(s.at.best.value, s.at.history[#s.at.history].value)
    assert.are.equal(2, r.ensemble.k)
    assert.is_true(r.retrieval_all >= 0 and r.paper.value >= 0)
    assert.is_truthy(card.text(s.config, s.data, r, 1):find("predict MODEL_FOLDER pairs.tsv", 1, true))
  end)

  it('learns numbers: how many digits are in it?', function()
    write('numbers.jsonl', 600, 9, function(next_)
      local text, count = {}, 0
      for k = 1, 4 do
        text[k] = words[next_(8)]
        if text[k] == 'seven' or text[k] == 'nine' then count = count + 1 end
      end
      return ('{"sentence": "%s", "label": %d}'):format(table.concat(text, ' '), count)
    end)
    local s = session({ type = 'regress', train = 'numbers.jsonl', dev = 'numbers.jsonl' }, { 'train.epochs=8' })
    local r = s:run()
    assert.are.equal('pearson', r.metric)
    assert.is_true(r.value > 0.9, 'pearson is ' .. r.value)
    assert.is_true(r.metrics.mse < 0.2, 'mse is ' .. r.metrics.mse)
  end)

  it('learns tags: which words are cities? with the plain Transformer too', function()
    local function line(next_)
      local out = {}
      for k = 1, next_(4) do
        local w = words[next_(8)]
        out[k] = w .. (w:find '^[ROB]' and ' I-CITY' or ' O')
      end
      return table.concat(out, '\n') .. '\n'
    end
    write('tags.conll', 500, 11, line)
    for _, overrides in ipairs { { 'train.epochs=4' }, { 'train.epochs=2', 'model.kind=plain', 'mux.n=1' } } do
      local s = session({ type = 'tag', train = 'tags.conll', dev = 'tags.conll' }, overrides)
      local r = s:run()
      assert.are.same({ 'f1', 500 }, { r.metric, r.scored })
      assert.is_true(r.value > 0.9, 'f1 is ' .. r.value)
      assert.is_near(r.groupings[1], r.entities.f1, 1e-12)
      assert.is_true(r.entities.types.CITY.support > 100)
    end
  end)

  it('keeps the best by the metric that is asked for', function()
    local s = session('synthetic', { 'eval.metric=loss' })
    local values = { 0.7, 0.5, 0.6 }
    local score, k = evaluate.score, 0
    evaluate.score = function()
      k = k + 1
      return { metric = 'loss', value = values[k], metrics = { loss = values[k], accuracy = k / 10 }, accuracy = k / 10,
               scored = 1, total = 1 }
    end
    local ok, why = pcall(function()
      local best = {}
      for step = 1, 3 do best[step] = s:evaluate(s.stages[#s.stages], step, C.dm_clock()).best end
      assert.are.same({ true, true, false }, best)
      local epoch = 2 / s.stages[#s.stages].loader:steps_per_epoch()
      assert.are.same({ metric = 'loss', value = 0.5, accuracy = 0.2, step = 2, epoch = epoch }, s.at.best)
    end)
    evaluate.score = score
    assert.is_true(ok, tostring(why))
  end)

  it('refuses an ensemble of more slots than there are, before any work', function()
    local ok, e = pcall(session, 'synthetic', { 'eval.ensemble=3' })
    assert.is_false(ok)
    assert.are.equal('eval.ensemble is 3, expected at most mux.n = 2: each text takes another slot', e.message)
  end)

  it('says when it rewrote the scheme of tags', function()
    write('iob1.conll', 40, 3, function(next_)
      local city = words[5 + next_(3)]
      return ('%s O\n%s I-LOC\n%s B-LOC\n'):format(words[next_(5)], city, city)
    end)
    local s = session({ type = 'tag', train = 'iob1.conll', dev = 'iob1.conll' }, { 'train.steps=1', 'warmup.steps=0' })
    assert.are.same({ 'IOB1 input converted to IOB2' }, s:run().notices)
  end)
end)
