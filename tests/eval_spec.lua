-- eval_spec.lua -- scoring a finished model, and the commands eval, predict and bench as processes.
local cjson = require 'cjson'
local dm = require 'datamux'
local evaluate = require 'datamux.evaluate'
local host = require 'datamux.host'
local saved = require 'datamux.saved'
local score_set = require 'datamux.score_set'
local small_run = require 'tests.small_run'
local sys = require 'datamux.sys'
local synthetic = require 'datamux.data.synthetic'

local dir, run, model

setup(function()
  dir, run = small_run()
  model = dm.load(run .. ':last')
end)

teardown(function() sys.remove(dir) end)

local function file(name, bytes)
  sys.write(dir .. '/' .. name, bytes)
  return dir .. '/' .. name
end

local function refused(id, pattern, fn, ...)
  local ok, e = pcall(fn, ...)
  assert.is_false(ok)
  assert.are.equal(id, e.id)
  assert.is_truthy(tostring(e):find(pattern), tostring(e))
end

-- Runs a command line; returns exit code, stdout, stderr.
local function command(words, input)
  local out, err = dir .. '/stdout', dir .. '/stderr'
  local shell = ('%s %s < %s > %s 2> %s; echo $?'):format(host.exe(), words, input or '/dev/null', out, err)
  local p = io.popen(shell)
  local code = tonumber(p:read '*a')
  p:close()
  return code, sys.read(out), sys.read(err)
end

-- The first dev sentences as a table, labels written by `spell`.
local function table_of(n, spell)
  local set, out = synthetic.read 'dev', { 'sentence\tlabel' }
  for i = 1, n do out[i + 1] = set.texts[i] .. '\t' .. spell[set.labels[i - 1] + 1] end
  return table.concat(out, '\n') .. '\n'
end

describe('a set to score on', function()
  it('is scored alike whatever the order, case or numbers of its labels', function()
    local options = saved.options(model)
    local set = score_set.open(model, file('plain.tsv', table_of(90, { 'negative', 'positive' })), {})
    local want = evaluate.score(model.model, set, options, 2)
    assert.are.equal(90, want.scored)
    for _, spell in ipairs { { 'NEGATIVE', 'Positive' }, { '0', '1' } } do
      set = score_set.open(model, file('other.tsv', table_of(90, spell)), {})
      assert.are.equal(want.value, evaluate.score(model.model, set, options, 2).value)
      assert.is_truthy(set.notices[1]:find('labels matched by', 1, true))
    end
    local turned = { labels = { 'positive', 'negative' }, tokenizer = model.tokenizer, config = model.config,
                     output = 'classify', n = 4 }
    set = score_set.open(turned, dir .. '/plain.tsv', {})
    local truth = synthetic.read 'dev'
    for i = 0, 89 do assert.are.equal(1 - truth.labels[i], set.labels[i]) end
  end)

  it('is read by the columns that the model learned from, where the file has them', function()
    local own = setmetatable({ config = setmetatable({ task = 'own', own = { type = 'classify', text = 'body',
      label = 2 } }, { __index = model.config }) }, { __index = model })
    local body = 'sentence\ttopic\tbody\nx\tnegative\ta good film\nx\tpositive\ta bad film\n'
    local set = score_set.open(own, file('own.tsv', body), {})
    assert.are.same({ 2, 0, 1 }, { set.n, set.labels[0], set.labels[1] })
    assert.is_true(set.offset[1] > 3)
    assert.are.equal(90, score_set.open(own, file('plain.tsv', table_of(90, { 'negative', 'positive' })), {}).n)
  end)

  it('is refused where it does not suit the model', function()
    refused('E301', "label 'pos' is not one of the model's labels {negative, positive}", score_set.open, model,
      file('pos.tsv', table_of(9, { 'negative', 'pos' })), {})
    refused('E303', "there is no 'deb', .*%(dev, train%).*fix: datamux eval .+ dev", score_set.open, model, 'deb', {})
    refused('E303', "there is no 'test'", score_set.open, model, 'test', {})
    refused('E303', "'glue/sst2:deb': no such split", score_set.open, model, 'glue/sst2:deb', {})
    refused('E219', "'sst3' is no GLUE task", score_set.open, model, 'glue/sst3:dev', {})
    refused('E200', 'conll', score_set.open, model, file('x.conll', 'a O\n'), {})
  end)
end)

describe('datamux eval', function()
  it('scores every text and prints the whole report', function()
    local code, out, err = command(('eval %s:last --mates 1 --bootstrap 0 --json'):format(run))
    assert.are.equal(0, code, err)
    assert.is_nil(cjson.decode(out).interval)
    code, out, err = command(('eval %s:last --mates 2 --bootstrap 50'):format(run))
    assert.are.same({ 0, '' }, { code, err })
    for _, part in ipairs { 'scored 800/800 in each of 2', 'bootstrap', 'published protocol', 'neighbours', 'by slot',
                            'by length', 'precision', 'is, answered as', 'retrieval', 'ece' } do
      assert.is_truthy(out:find(part, 1, true), part .. ' is not in the report')
    end
  end)

  it('exits with 10 where the floor is not reached', function()
    local _, both = require('tests.cli.command').shell(('$DM eval %s:last --mates 1 --fail-under accuracy=0.99')
      :format(run))
    assert.is_true(both:find('scored 800/800', 1, true) < both:find('quality gate:', 1, true), both)
    local line = 'eval %s:last --mates 1 --bootstrap 10 --json --fail-under %s'
    local code, out, err = command(line:format(run, 'accuracy=0.99'))
    assert.are.equal(10, code)
    assert.is_truthy(err:find('quality gate: accuracy is 0.%d+, below 0.99'))
    local r = cjson.decode(out)
    assert.are.same({ 1, 800, 800, 4 }, { r.schema, r.scored, r.total, r.n })
    assert.are.equal(0, (command(line:format(run, 'accuracy=0.01'))))
    code, out, err = command(line:format(run, 'acuracy=0.5'))
    assert.are.same({ 2, '' }, { code, out })
    assert.is_truthy(err:find('did you mean: accuracy', 1, true))
  end)
end)

describe('datamux predict', function()
  it('is a filter: standard input to standard output, the same bytes twice', function()
    local input = file('in.txt', 'the soup was nice\r\n\n\255\nthe hotel was dull')
    local code, out, err = command('predict ' .. run, input)
    assert.are.same({ 0, '' }, { code, err })
    local _, count = out:gsub('\n', '')
    assert.are.equal(4, count)
    local _, again = command('predict ' .. run, input)
    assert.are.equal(out, again)
  end)

  it('ends quietly when its reader goes, and with 3 where a record was faulty', function()
    local p = io.popen(('(yes "the soup was nice" | %s predict %s 2> %s/stderr; echo $? > %s/code) | head -2'):format(
      host.exe(), run, dir, dir))
    local out = p:read '*a'
    p:close()
    assert.is_truthy(out:find '^%a+\t0%.%d+\n%a+\t0%.%d+\n$')
    assert.are.same({ '141\n', '' }, { sys.read(dir .. '/code'), sys.read(dir .. '/stderr') })
    local code, _, err = command('predict ' .. run .. ' --in jsonl', file('bad.jsonl', '{"text":"a"}\n{\n'))
    assert.are.equal(3, code)
    assert.is_truthy(err:find('1 of 2 records could not be answered', 1, true))
  end)

  it('writes the format that the name of its output tells', function()
    local input = file('in.txt', 'the soup was nice\n')
    for name, pattern in pairs { ['a.csv'] = '^text,label,score\nthe soup was nice,', ['a.jsonl'] = '^{"text":',
                                 ['a.out'] = '^%a+\t' } do
      assert.are.equal(0, (command(('predict %s %s -O %s/%s'):format(run, input, dir, name))))
      assert.is_truthy(sys.read(dir .. '/' .. name):find(pattern))
    end
    assert.are.equal(0, (command(('predict %s %s -O %s/b.csv --out jsonl'):format(run, input, dir))))
    assert.is_truthy(sys.read(dir .. '/b.csv'):find '^{"text":')
  end)

  it('answers a line at once when no other follows', function()
    os.execute(('mkfifo %s/more'):format(dir))
    local line = '(echo "the soup was nice"; timeout 60 cat %s/more; echo) | %s predict %s --flush 50'
    local p = io.popen(line:format(dir, host.exe(), run))
    assert.is_truthy(p:read '*l':find '^%a+\t')
    sys.write(dir .. '/end', '')
    os.execute(('cat %s/end > %s/more'):format(dir, dir))         -- only now does the input end
    assert.is_truthy(p:read '*l':find '^%a+\t')
    assert.is_nil(p:read '*l')
    p:close()
  end)
end)

describe('datamux bench', function()
  it('measures the model alone and from file to file', function()
    local code, out = command(('bench %s --texts 128 --repeats 2 --format jsonl'):format(run))
    assert.are.equal(0, code)
    local a, b = out:match '^(.-)\n(.-)\n$'
    a, b = cjson.decode(a), cjson.decode(b)
    assert.are.same({ 'model', 'end-to-end', 4 }, { a.test, b.test, a.n })
    assert.is_true(a.texts_per_second > 0 and b.texts_per_second > 0 and a.p50_ms > 0)
  end)

  it('shows what a model scored, under the name of its metric, and nothing where that is unknown', function()
    local function shown(model_name, more)
      local code, out, err = command(('bench %s --texts 16 --repeats 1 %s'):format(model_name, more or ''))
      assert.are.equal(0, code, err)
      local head, line = out:match '^([^\n]*)\n[^\n]*\n([^\n]*)'
      assert.is_truthy(head:find 'GiB |%s+accuracy |%s+$/1M |$', head)
      return line:match '|%s+([^|]-) |[^|]*|$'
    end
    assert.are.equal('-', shown(run))
    sys.write(run .. '/report.json', '{"metric":"accuracy","value":0.75,"accuracy":0.75,'
      .. '"std":0,"groupings":[0.75],"scored":8,"total":8}')
    assert.are.equal('0.7500', shown(run))
    assert.are.equal('-', shown(run .. ':last'))
    assert.are.equal('-', shown(run, '--int8'))
    saved.export(run, { to = dir .. '/scored' })
    assert.are.equal('0.7500', shown(dir .. '/scored'))
    saved.export(run, { to = dir .. '/packed', int8 = true })
    assert.are.equal('-', shown(dir .. '/packed'))
    sys.write(run .. '/report.json', '{"metric":"f1","value":0.5}')
    assert.are.equal('0.5000 f1', shown(run))
    os.remove(run .. '/report.json')
  end)

  it('is CSV with numbers alone, under the names that JSON has', function()
    local code, out, err = command(('bench %s --texts 16 --repeats 1 --format csv'):format(run))
    assert.are.equal(0, code, err)
    local head, line = out:match '^([^\n]*)\n([^\n]*)'
    assert.is_truthy(head:find('test,texts_per_second,sd,speed_up,p50_ms,p99_ms,gib,', 1, true), head)
    assert.is_truthy(line:find ',model,[%d.e+]+,[%d.e-]+,,[%d.]+,[%d.]+,[%d.]+,,,,,', line)
  end)

  it('measures two models in turns', function()
    local timing = require 'datamux.timing'
    local meter, turns, of = timing.meter, {}, {}
    function timing.meter(...)
      local m, name = meter(...), 'b'
      if #of == 0 then name = 'a' end
      of[#of + 1] = m
      for _, what in ipairs { 'network', 'whole' } do
        m[what] = function(self, warm)
          turns[#turns + 1] = name .. ' ' .. what .. (warm and ' (warm)' or '')
          return getmetatable(self).__index[what](self, warm)
        end
      end
      return m
    end
    local out, real = {}, print
    _G.print = function(text) out[#out + 1] = text end
    local ok, why = pcall(require('datamux.commands.bench').run, { model = run, vs = run .. ':last', texts = 16,
      repeats = 2, format = 'jsonl' })
    timing.meter, _G.print = meter, real
    assert(ok, why)
    local want = {}
    for _, warm in ipairs { ' (warm)', '', '' } do
      for _, what in ipairs { 'network', 'whole' } do
        for _, name in ipairs { 'a', 'b' } do want[#want + 1] = name .. ' ' .. what .. warm end
      end
    end
    assert.are.same(want, turns)
    local first, third = cjson.decode(out[1]), cjson.decode(out[3])
    assert.are.same({ 4, run .. ':last', run, 1 }, { #out, first.model, third.model, first.speed_up })
    assert.is_near(third.texts_per_second / first.texts_per_second, third.speed_up, 1e-9)
    assert.are.same({ 2, 2 }, { #of[1].rates, #of[2].whole_rates })
  end)
end)
