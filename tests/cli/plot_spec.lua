-- plot_spec.lua -- datamux plot: the pictures of runs, made from the files that a run writes.
local cjson = require 'cjson'
local command = require 'tests.cli.command'
local json = require 'datamux.json'
local journal = require 'datamux.journal'
local pictures = require 'datamux.pictures'
local sys = require 'datamux.sys'

local drawn = os.execute 'gnuplot --version > /dev/null 2>&1' == 0
local dir

before_each(function() dir = command.scratch() end)
after_each(function() sys.remove(dir) end)

local function pictured(name, fn)
  it(name, function()
    if not drawn then return pending 'gnuplot is not installed' end
    fn()
  end)
end

local function contains(text, part)
  assert.is_truthy(text:find(part, 1, true), ('expected "%s" in: %s'):format(part, text:sub(1, 3000)))
end

local function lines(records)
  local out = {}
  for i, r in ipairs(records) do out[i] = json.encode(r) end
  return table.concat(out, '\n') .. '\n'
end

-- A run's folder with a warm-up of 40 steps and a task of 30; o: { n, report = false }.
local function make(name, id, o)
  local path = ('%s/runs/%s/20261124-000000-%s'):format(dir, name, id)
  sys.mkdir(path)
  sys.write(path .. '/.datamux-run', 'datamux\n')
  sys.write(path .. '/status.json', '{"state":"finished"}')
  local records = { { kind = 'event', event = 'stage', stage = 'warmup', from_step = 0 } }
  for step = 10, 40, 10 do
    records[#records + 1] = { kind = 'train', stage = 'warmup', step = step, loss = 5 - step / 10, lr = 1e-3,
                              retrieval = 5 - step / 10, hits = step / 50 }
  end
  records[#records + 1] = { kind = 'eval', stage = 'warmup', step = 40, retrieval = 0.75 }
  records[#records + 1] = { kind = 'event', event = 'stage', stage = 'train', from_step = 0 }
  for step = 10, 30, 10 do
    records[#records + 1] = { kind = 'train', stage = 'train', step = step, loss = 1, task = 0.7 - step / 100,
                              retrieval = 1, hits = 0.8, lr = 1e-4 }
    records[#records + 1] = { kind = 'eval', stage = 'train', step = step, metric = 'accuracy', loss = 0.6,
                              value = 0.5 + step / 100, accuracy = 0.5 + step / 100 }
  end
  sys.write(path .. '/metrics.jsonl', lines(records))
  if o.report ~= false then
    local slots = {}
    for i = 1, o.n do slots[i] = 0.7 + i / 100 end
    sys.write(path .. '/report.json', json.encode { schema = 1, name = name, task = 'sst2', n = o.n,
      metric = 'accuracy', value = 0.8 - o.n / 100, std = 0.01, accuracy = 0.8, per_index = slots,
      examples_per_second = 100 * o.n,
      label_names = { 'negative', 'positive' } })
  end
  return path
end

local function words(path)
  local out = {}
  for text in sys.read(path):gmatch '<text[^>]*>(.-)</text>' do
    out[#out + 1] = text:gsub('<.->', ''):gsub('%s+', ' '):gsub('^ ', ''):gsub(' $', '')
  end
  return '|' .. table.concat(out, '|') .. '|'
end

local function refused(code, id, part, args, o)
  local got, out, err = command.run(args, o)
  contains(err, part)
  contains(err, id)
  contains(err, 'fix:')
  assert.are.same({ code, '' }, { got, out }, err)
  assert.is_nil(err:find('traceback', 1, true))
end

describe('datamux plot', function()
  pictured('draws all that one run has into its folder', function()
    local run = make('mine', 'aaaa', { n = 4 })
    local code, out, err = command.run(('plot 20261124-000000-aaaa -o %s/runs'):format(dir))
    assert.are.same({ 0, '' }, { code, err })
    assert.are.equal(('%s/plots/loss.svg\n%s/plots/score.svg\n%s/plots/retrieval.svg\n%s/plots/slots.svg\n')
      :gsub('%%s', function() return run end), out)
    local loss = words(run .. '/plots/loss.svg')
    for _, word in ipairs { 'step', 'cross-entropy loss (nats)', 'retrieval (training)', 'task (training)',
                            'task (dev)', 'train' } do contains(loss, '|' .. word .. '|') end
    contains(words(run .. '/plots/slots.svg'), '|chance, 1 of 2|')
    contains(words(run .. '/plots/slots.svg'), '|0.740|')
  end)

  pictured('compares runs, by N and by throughput too', function()
    local a, b, c = make('x', 'aaaa', { n = 1 }), make('x', 'bbbb', { n = 2 }), make('y', 'cccc', { n = 8 })
    local code, out, err = command.run(('plot %s %s %s -O %s/out --format png --json'):format(a, b, c, dir))
    assert.are.same({ 0, '' }, { code, err })
    local names = {}
    for i, e in ipairs(cjson.decode(out)) do
      names[i] = e.name
      assert.are.equal('\137PNG', sys.read(e.path):sub(1, 4))
    end
    assert.are.same({ 'loss', 'score', 'retrieval', 'slots', 'n', 'frontier' }, names)
    assert.are.equal(0, (command.run(('plot %s %s %s -m frontier -m n -m score -O %s/svg'):format(a, b, c, dir))))
    contains(words(dir .. '/svg/frontier.svg'), '|throughput (texts per second)|')
    contains(words(dir .. '/svg/frontier.svg'), '|N = 8|')
    contains(words(dir .. '/svg/n.svg'), '|8|')
    for _, label in ipairs { 'x, N = 1', 'x, N = 2', 'y' } do
      contains(words(dir .. '/svg/score.svg'), '|' .. label .. '|')
    end
  end)

  pictured('draws any value that was recorded, into a file, or as text', function()
    local run = make('mine', 'aaaa', { n = 4 })
    assert.are.equal(0, (command.run(('plot %s -m lr -O %s/lr.svg'):format(run, dir))))
    contains(words(dir .. '/lr.svg'), '|learning rate|')
    local code, out = command.run(('plot %s --term -m retrieval'):format(run))
    assert.are.equal(0, code)
    contains(out, 'retrieval accuracy')
    assert.is_nil(out:find '[\27\r\f]')
    assert.are.equal('nil', tostring(sys.kind(run .. '/plots')))
  end)

  pictured('counts what a continued run repeated once', function()
    local run = make('mine', 'aaaa', { n = 4 })
    sys.write(run .. '/metrics.jsonl', sys.read(run .. '/metrics.jsonl') .. lines {
      { kind = 'event', event = 'stage', stage = 'train', from_step = 10 },
      { kind = 'eval', stage = 'train', step = 20, metric = 'accuracy', value = 0.9, accuracy = 0.9 } })
    local read = pictures.read { dir = run, name = 'mine', id = 'x-aaaa', status = {} }
    local o = pictures.picture({ read }, 'score')
    assert.are.same({ 50, 60 }, o[1].x)
    assert.are.same({ 0.6, 0.9 }, o[1].y)
    assert.are.equal(#journal.read(run), #read.records)
  end)

  pictured('leaves out what is undefined', function()
    local runs = { make('x', 'aaaa', { n = 2 }), make('y', 'bbbb', { n = 4 }), make('z', 'cccc', { n = 8 }) }
    local function undefined(run)
      local t = cjson.decode(sys.read(run .. '/report.json'))
      t.value, t.std, t.accuracy = cjson.null, cjson.null, nil
      sys.write(run .. '/report.json', json.encode(t))
    end
    undefined(runs[1])
    local line = ('plot %s -m n -O %s/n.svg'):format(table.concat(runs, ' '), dir)
    assert.are.equal(0, (command.run(line)))
    assert.is_nil(words(dir .. '/n.svg'):find('|2|', 1, true))
    undefined(runs[2])
    undefined(runs[3])
    refused(2, 'E220', "nothing to draw 'n' from", line)
    assert.are.equal(0, (command.run('plot ' .. runs[1])))
    assert.is_nil(sys.kind(runs[1] .. '/plots/slots.svg'))
  end)

  it('refuses a run that is not there, has nothing to draw, or recorded no such value', function()
    local run = make('mine', 'aaaa', { n = 4, report = false })
    refused(2, 'E217', "no run 'nobody'", 'plot nobody')
    refused(2, 'E220', "nothing to draw 'slots' from", ('plot %s -m slots'):format(run))
    refused(2, 'E205', 'did you mean: score?', ('plot %s -m scroe'):format(run))
    refused(2, 'E200', '2 pictures cannot go into the one file', ('plot %s -m loss -m score -O a.svg'):format(run))
    sys.write(run .. '/metrics.jsonl', '')
    refused(2, 'E220', 'has no metrics', 'plot ' .. run)
  end)

  it('refuses a place that cannot be written, and says when gnuplot is absent', function()
    local run = make('mine', 'aaaa', { n = 4 })
    refused(4, 'E401', '/proc/loss.svg: cannot be written', ('plot %s -m loss -O /proc'):format(run))
    refused(4, 'E404', 'apt install gnuplot-nox', ('plot %s -m loss'):format(run), { env = 'PATH=/nowhere' })
    assert.are.same({}, sys.list(run .. '/plots'))
  end)
end)
