-- analysis_spec.lua -- finished runs as facts, trainings one after the other, published figures, every report.
local cjson = require 'cjson'
local ffi = require 'ffi'
local analysis = require 'datamux.analysis'
local campaign = require 'datamux.campaign'
local finished = require 'datamux.finished'
local published = require 'datamux.published'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local dir, run
local tiny = { 'warmup.steps=2', 'train.steps=4', 'model.layers=1', 'model.width=32', 'eval.bootstrap=0' }

local function entry(name, ...)
  local words = { unpack(tiny) }
  for _, w in ipairs { ... } do words[#words + 1] = w end
  return { name = name, recipe = 'quickstart.lua', words = words }
end

local function settings(said)
  return { root = dir, quiet = true, say = function(text) said[#said + 1] = text end }
end

setup(function()
  dir = command.scratch()
  local one = entry 'one'
  assert.is_true(campaign.train({ one }, settings {}))
  run = one.run
end)

teardown(function() sys.remove(dir) end)

-- What a report prints as JSON.
local function report(words)
  local code, out, err = command.run(('report %s --runs %s --json'):format(words, dir))
  assert.are.same({ 0, '' }, { code, err })
  return cjson.decode(out)
end

describe('finished runs', function()
  it('are known by what they are, with score, date and command', function()
    assert.are.equal(1, #finished.all(dir, {}))
    assert.are.same({ 'synthetic', 5, '1 x 32, hadamard + unbind', 'accuracy' },
      { run.task, run.n, run.model, run.metric })
    assert.is_truthy(run.date:find '^20%d%d%-%d%d%-%d%d$')
    assert.is_truthy(run.command:find('datamux recipes/quickstart.lua', 1, true))
    assert.is_true(run.value > 0 and run.value <= 1)
    assert.are.same({}, finished.all(dir, { task = 'sst2' }))
  end)

  it('are found in their folder, and by a link to it', function()
    local link = run.dir:gsub('[^/]+$', 'latest')
    for _, path in ipairs { run.dir, run.dir .. '/', link, link .. '/' } do
      local r = finished.read(path)
      assert.are.same({ run.id, 'one', run.date, run.value }, { r.id, r.name, r.date, r.value })
    end
    assert.is_nil(finished.read(dir))
  end)

  it('are of the profile that is asked for, or of a recipe that has none', function()
    local path = run.dir .. '/config.json'
    local config = sys.read(path)
    local function found(value)
      local t = cjson.decode(config)
      t.profile.value = value
      sys.write(path, cjson.encode(t))
      return { #finished.all(dir, { profile = 'small' }), #finished.all(dir, { profile = 'paper' }) }
    end
    assert.are.same({ 1, 0 }, found 'small')
    assert.are.same({ 0, 1 }, found 'paper')
    assert.are.same({ 1, 1 }, found 'auto')
    sys.write(path, config)
  end)

  it('are chosen by the length of training, never by score', function()
    local function r(n, steps, value, dev)
      return { task = 't', model = 'm', n = n, steps = steps, value = value, values = { ['task.dev'] = dev } }
    end
    local list = { r(5, 10, 0.9), r(5, 20, 0.5), r(5, 20, 0.4), r(2, 1, 0.1), r(2, 1, 0.2, 'a.tsv'),
                   r(2, 1, 0.3, 'b.tsv') }
    assert.are.same({ r(5, 20, 0.4), r(2, 1, 0.1), r(2, 1, 0.2, 'a.tsv'), r(2, 1, 0.3, 'b.tsv') },
      finished.longest(list, finished.cell))
    list[1].dir = 'planned'
    assert.are.equal(0.9, finished.longest(list, finished.cell, { planned = true })[1].value)
  end)

  it('have the channels of a mixture beside its name where it has several', function()
    local function words(kind, channels)
      return finished.model_words { ['model.kind'] = 'cnn', ['mux.kind'] = kind, ['mux.channels'] = channels }
    end
    assert.are.same({ 'cnn, nonlinear x 8', 'cnn, nonlinear', 'cnn, rotation', 'cnn, plain', 'cnn, of a recipe' },
      { words('nonlinear', 8), words('nonlinear', 1), words('rotation', 8), words('none', 8), words('of a recipe', 8) })
  end)

  it('belong to an entry whose every value they have', function()
    local e = campaign.find({ entry 'another-name' }, settings {})[1]
    assert.are.equal(run.dir, e.run.dir)
    for _, w in ipairs { 'train.lr=2e-3', 'seed=7', 'mux.kind=sign', 'data.limit=100' } do
      assert.is_nil(campaign.find({ entry('one', w) }, settings {})[1].run, w)
    end
    assert.is_not_nil(campaign.find({ entry('one', 'log.every=7') }, settings {})[1].run)
  end)
end)

describe('trainings one after the other', function()
  it('leave out what is finished, and go on where the budget ended', function()
    local said, long = {}, { name = 'long', recipe = 'quickstart.lua', words = { 'warmup.steps=60', 'train.steps=640',
      'train.every=640', 'eval.bootstrap=0' } }
    local o = settings(said)
    o.budget = 2
    assert.is_false(campaign.train({ entry 'one', long }, o))
    assert.is_truthy(said[1]:find('1 of 2 one: finished', 1, true))
    local stopped = campaign.find({ long }, o)[1].stopped
    assert.is_not_nil(stopped)
    o.budget = nil
    assert.is_true(campaign.train({ long }, o))
    assert.are.equal(stopped.id, long.run.id)
    assert.are.equal(700, long.run.steps)
  end)

  it('say why one cannot be trained, and go on with the next', function()
    local said, bad, good = {}, entry('bad', 'train.rows=100000'), entry('good', 'seed=3')
    assert.are.same({ true, 2 }, { campaign.train({ bad, good }, settings(said)) })
    assert.is_truthy(table.concat(said, '\n'):find('bad: ended with 2', 1, true))
    assert.is_nil(bad.run)
    assert.is_not_nil(good.run)
    assert.has_error(function() campaign.locate 'no_such.lua' end)
  end)
end)

describe('published figures', function()
  it('have a mark that is explained, a source, and agree with the abstract', function()
    local n, of = 0, {}
    for _, list in ipairs { published.tasks, published.throughput, published.images } do
      for _, p in ipairs(list) do
        assert.is_truthy(p.source)
        for k, cell in pairs(p) do
          if type(k) == 'number' then
            n = n + 1
            assert.is_truthy(published.marks:find(cell[2] .. ': ', 1, true))
            assert.is_true(cell[1] > 0 and (list == published.throughput or cell[1] < 1))
          end
        end
        if p.task then of[p.task .. p.model] = p end
      end
    end
    assert.are.equal(60 + 16 + 8, n)
    local plain, mixed = of['mnli12 x 768, plain'], of['mnli12 x 768, hadamard + index']
    assert.is_true(plain[1][1] - mixed[20][1] < 0.02 and plain[1][1] - mixed[40][1] < 0.04)
    assert.are.same({ 0.788, 'G' }, of['sst212 x 768, hadamard + index'][20])
    assert.are.equal(11.1, published.throughput[1][20][1])
  end)
end)

describe('the plane of most variance', function()
  it('holds points of a plane wholly, with their distances', function()
    local n, width = 40, 6
    local points = ffi.new('double[?]', n * width)
    for i = 0, n - 1 do
      local a, b = math.sin(3 * i), math.cos(7 * i) / 3
      for c, v in ipairs { a, a, b, -b, 0, 5 } do points[i * width + c - 1] = v end
    end
    local xy, explained = require('datamux.analysis.interference').plane(points, n, width)
    assert.is_near(1, explained, 1e-9)
    for i = 1, n - 1 do
      local square = 0
      for c = 0, width - 1 do square = square + (points[i * width + c] - points[c]) ^ 2 end
      assert.is_near(math.sqrt(square), math.sqrt((xy[1][i + 1] - xy[1][1]) ^ 2 + (xy[2][i + 1] - xy[2][1]) ^ 2), 1e-6)
    end
  end)
end)

describe('every report', function()
  it('is a file with the same interface', function()
    for _, name in ipairs(analysis.names) do
      local a = analysis.get(name)
      assert.is_true(#a.summary > 10 and #a.summary < 90, name)
      assert.are.same({ 'table', 'function', 'function' }, { type(a.columns), type(a.collect), type(a.picture) })
      for _, c in ipairs(a.columns) do assert.are.equal(3, #c, name) end
    end
    local ok, e = pcall(analysis.get, 'strategy')
    assert.is_false(ok)
    assert.is_truthy(tostring(e):find('did you mean: strategies?', 1, true))
  end)

  it('has plans whose entries fit together, each by a name of its own', function()
    for _, name in ipairs(analysis.names) do
      local a = analysis.get(name)
      for _, profile in ipairs(a.plan and { 'small', 'paper' } or {}) do
        local seen, o = {}, settings {}
        o.profile = profile
        local list = campaign.find(a.plan(o), o)               -- raises what does not fit
        assert.is_true(#list >= 2, name)
        for _, e in ipairs(list) do
          assert.is_nil(seen[e.name], e.name)
          seen[e.name] = true
        end
      end
    end
    assert.are.equal(32, #analysis.get('strategies').plan {})
  end)

  it('tells of models what the run itself scored', function()
    local r = report('accuracy ' .. run.dir).rows[1]
    assert.are.same({ run.value, 800, 5 }, { r.value, r.scored, r.n })
    local slots = report('slots ' .. run.dir).rows
    assert.are.equal(5, #slots)
    for s, row in ipairs(slots) do assert.is_near(run.report.per_index[s], row.value, 1e-9) end
    assert.is_near(run.report.retrieval, report('retrieval ' .. run.dir).rows[1].retrieval, 1e-9)
    assert.is_near(run.report.flips, report('neighbours ' .. run.dir).rows[1].flips, 1e-9)
  end)

  it('shows every run that is named, and a frontier of the task that they are for', function()
    local all = finished.all(dir, {})
    local rows = report(('accuracy %s %s'):format(all[1].dir, all[#all].dir)).rows
    assert.are.equal(2, #rows)
    assert.are_not.equal(rows[1].model, rows[2].model)
    local r = report('frontier --texts 20 --repeats 1 ' .. run.dir)
    for _, row in ipairs(r.rows) do
      if row.kind ~= 'fastText' then assert.are.equal(run.value, row.value) end
    end
    assert.is_truthy(r.notes[#r.notes]:find '^synthetic, 20 texts')
  end)

  it('ensembles from one copy to N', function()
    local rows = report('ensemble --groupings 2 ' .. run.dir).rows
    local copies = {}
    for i, r in ipairs(rows) do copies[i] = r.copies .. (r.where and ' ' .. r.where or '') end
    assert.are.same({ '1', '2 beside others', '3 beside others', '5 beside others', '5 in one row' }, copies)
    assert.are.equal(0, rows[1].gain)
    assert.are.equal(1, rows[5].cost)
    assert.is_near(rows[4].value - rows[1].value, rows[4].gain, 1e-12)
    assert.are.equal(1, rows[4].cost)
  end)

  it('has one standard deviation over the groupings, that of the run\'s own report', function()
    assert.is_near(run.report.std, report('ensemble ' .. run.dir).rows[1].std, 1e-9)
    local slots, by = report('slots --groupings 2 ' .. run.dir), {}
    for g = 1, 2 do by[g] = report(('slots --groupings %d %s'):format(g, run.dir)).rows[1].value end
    assert.is_near(math.abs(by[2] - by[1]), slots.rows[1].std, 1e-9)     -- half of what lies between two
    local means, mean, square = {}, slots.tables[1].rows[1].value, 0
    for s, row in ipairs(slots.rows) do means[s], square = row.value, square + (row.value - mean) ^ 2 end
    assert.is_near(math.sqrt(square / #means), slots.tables[1].rows[1].between, 1e-9)
  end)

  it('measures interference with cosines, and draws it', function()
    local r = report(('interference %s --to %s/out -q'):format(run.dir, dir))
    local row = r.rows[1]
    assert.is_true(row.within <= 1 and row.within > row.between and row.between >= -1)
    assert.is_near(row.within - row.between, row.margin, 1e-12)
    assert.are.equal(240, #r.planes[1].x)
    for _, ending in ipairs { 'md', 'json', 'svg' } do
      assert.is_true(#sys.read(('%s/out/interference.%s'):format(dir, ending)) > 300)
    end
  end)

  it('leaves out what has no states to compare and says why, or refuses it where it is named', function()
    local interference, each = analysis.get 'interference', analysis.each
    finally(function() analysis.each = each end)
    for id, item in pairs { ['E215: reads images'] = { saved = { images = true } },
                            ['E215: tags words'] = { saved = { output = 'tag' } },
                            ['E306: dev of sst2 has 1 text, expected at least 12'] =
                              { saved = {}, n = 4, set = { n = 1, name = 'dev of sst2' } } } do
      function analysis.each(_, _, fn) fn(item) end
      local number, why = id:match '^(.-): (.*)$'
      item.path = 'runs/x/y'
      local rows, more = interference.collect { paths = {} }
      assert.are.same({}, rows)
      assert.is_nil(interference.picture(rows, more))
      assert.is_truthy(more.notes[2]:find('^Left out: runs/x/y %(.*' .. why))
      local ok, e = pcall(interference.collect, { paths = { 'runs/x/y' } })
      assert.are.same({ false, number }, { ok, e.id })
      assert.is_truthy(e.message:find('^runs/x/y: .*' .. why))
    end
  end)

  it('times models, the limit beside', function()
    local row = report('throughput --texts 64 --repeats 1 ' .. run.dir).rows[1]
    assert.is_true(row.rate > 0)
    assert.are.same({ 5, 5, 0 }, { row.n, row.limit, row.prefix })
  end)

  it('times fresh networks of a recipe, of the sizes that are said', function()
    local seen = {}
    for i, row in ipairs(report('throughput --texts 40 --repeats 1 task=synthetic data.length=16 model.layers=1 '
      .. 'model.width=32 model.heads=2').rows) do
      assert.is_true(row.rate > 0 and row.speedup > 0)
      seen[i] = { row.model, row.n, row.limit }
    end
    local want = { { '1 x 32, plain', 1, 1 } }
    for _, n in ipairs { 1, 2, 5, 10, 20, 40 } do want[#want + 1] = { '1 x 32, hadamard + unbind', n, n } end
    assert.are.same(want, seen)
  end)

  it('leaves cells empty that nobody ran', function()
    local r = report 'paper --task sst2'
    assert.are.equal(4, #r.rows)
    assert.is_nil(r.rows[1].n20)
    assert.are.same({ 0.788, 'published' }, { r.rows[3].n20, r.rows[3].from })
    local code, out = command.run(('report paper --task sst2 --format csv --runs %s'):format(dir))
    assert.are.equal(0, code)
    assert.is_truthy(out:find('sst2,"12 x 768, plain",published,0.8140,,,,,,G\n', 1, true))
  end)

  it('shows of the paper\'s tables those of the task that is asked for', function()
    local r = report 'paper --task mnist'
    assert.are.same({ 'n1', 'n2', 'n4', 'n8', 'n16' }, { unpack(r.columns, 4, 8) })
    assert.are.same({ 4, 'mnist', 1 }, { #r.rows, r.rows[1].task, #r.tables })
    assert.are.equal(1, #report('paper --task sst2').tables)
    local all = report 'paper'
    assert.are.same({ 'n40', 2, 'n16' }, { all.columns[9], #all.tables, all.tables[1].columns[8] })
    local code, out = command.run(('report paper --task mnist -q --picture %s/paper.txt --runs %s'):format(dir, dir))
    assert.are.equal(0, code)
    assert.is_truthy(sys.read(dir .. '/paper.txt'):find('mnist: cnn, nonlinear x 8', 1, true), out)
  end)

  it('refuses what it cannot do, before any work', function()
    for words, id in pairs { ['slots --train'] = 'E200', ['nothing'] = 'E200', ['slots --task sst2'] = 'E217',
                             ['accuracy --task sst2'] = 'E217', ['accuracy --task sst3'] = 'E200',
                             ['retrieval --task sst2'] = 'E217', ['accuracy --runs /nowhere'] = 'E217',
                             [('accuracy %s/model'):format(run.dir)] = 'E217', ['heads ' .. run.dir] = 'E200',
                             ['throughput model.hads=2'] = 'E201', ['strategies -n name=x'] = 'E200',
                             ['heads -n model.hads=2'] = 'E201' } do
      local code, out, err = command.run(('report --runs %s %s'):format(dir, words))
      assert.are.same({ 2, '' }, { code, out }, words)
      assert.is_truthy(err:find(id, 1, true), err)
    end
  end)
end)

describe('an undefined score', function()
  local folder
  setup(function()
    folder = dir .. '/constant'
    sys.mkdir(folder)
    local train, dev = { 'sentence\tscore' }, { 'sentence\tscore' }
    for i = 1, 80 do train[i + 1] = ('film number %d\t%d'):format(i, i % 5) end
    for i = 1, 16 do dev[i + 1] = ('film %d\t2.5'):format(i) end
    sys.write(folder .. '/train.tsv', table.concat(train, '\n') .. '\n')
    sys.write(folder .. '/dev.tsv', table.concat(dev, '\n') .. '\n')
    sys.write(folder .. '/constant.lua', [[return { task = { type = 'regress', train = 'train.tsv', dev = 'dev.tsv',
      text = 'sentence', label = 'score' }, model = { layers = 1, width = 32, heads = 2, vocab = { kind = 'words',
      size = 200 } }, mux = { n = 2 }, data = { length = 16 }, warmup = { steps = 0 },
      train = { steps = 4, rows = 4, every = 4, alpha = 0 } }]])
    local code, out, err = command.run(('%s/constant.lua -d cpu -o %s'):format(folder, folder))
    assert(code == 0, err)
    assert.is_truthy(out:find '\n  pearson    undefined   %(')
    assert.is_truthy(err:find 'dev pearson undefined')
    assert.is_nil((out .. err):find('nan', 1, true))
  end)

  it('is a word in tables, null in JSON, and in no picture', function()
    local model = folder .. '/constant/latest'
    for _, name in ipairs { 'accuracy', 'slots', 'ensemble', 'neighbours' } do
      local code, out, err = command.run(('report %s %s --picture %s/%s.svg'):format(name, model, folder, name))
      assert.are.equal(0, code, err)
      assert.is_truthy(out:find('undefined', 1, true), name)
      if name ~= 'neighbours' then                               -- that picture is of the answers
        assert.are.equal('no picture: the table has nothing to draw\n', err)
        assert.is_nil(sys.kind(('%s/%s.svg'):format(folder, name)))
      end
      code, out = command.run(('report %s %s --json'):format(name, model))
      assert.are.equal(0, code)
      assert.are.equal(cjson.null, cjson.decode(out).rows[1].value, name)
    end
    local code, out = command.run(('report accuracy --runs %s --json'):format(folder))
    assert.are.same({ 0, cjson.null }, { code, cjson.decode(out).rows[1].value })
  end)

  it('meets no floor', function()
    local code, _, err = command.run(('eval %s/constant/latest --bootstrap 0 --fail-under pearson=-1'):format(folder))
    assert.are.equal(10, code)
    assert.is_truthy(err:find('pearson is undefined, expected at least -1', 1, true))
  end)

  it('is told from none, which a named run is said to have', function()
    local code, _, err = command.run(('report retrieval %s/constant/latest'):format(folder))
    assert.are.equal(2, code)
    assert.is_truthy(err:find('/constant/latest is a finished run without a retrieval score', 1, true), err)
  end)

  it('is not on the frontier', function()
    local code, out = command.run(('report frontier %s/constant/latest --texts 4 --repeats 1 --json'):format(folder))
    assert.are.equal(0, code)
    local row = cjson.decode(out).rows[1]
    assert.are.same({ cjson.null, 'no' }, { row.value, row.best })
  end)
end)

describe('the frontier', function()
  local frontier = require 'datamux.analysis.frontier'

  it('says what is missing where fastText is not installed', function()
    local path = os.getenv 'PATH'
    finally(function() sys.setenv('PATH', path) end)
    sys.setenv('PATH', '/nowhere')
    local r, why = frontier.fasttext { texts = 10, repeats = 1 }
    assert.is_nil(r)
    assert.is_truthy(why:find('apt install fasttext', 1, true))
  end)

  it('scores and times fastText on the real files', function()
    if os.execute 'command -v fasttext > /dev/null' ~= 0 then return pending 'needs fasttext' end
    if not require('datamux.data.cache').look('SST-2', 'train.tsv') then return pending 'needs SST-2' end
    local r = frontier.fasttext { texts = 100, repeats = 1 }
    assert.are.equal(872, r.scored)
    assert.is_true(r.value > 0.75 and r.value < 0.9 and r.rate > 0)
    assert.is_true(r.rate < 1e6)                       -- 100 texts alone are sooner read than a clock can tell
  end)
end)
