-- log_spec.lua -- what a run says: plain lines, the live line and the table of a terminal, metrics.jsonl, spikes.
local cjson = require 'cjson'
local columns = require 'datamux.columns'
local journal = require 'datamux.journal'
local log = require 'datamux.log'
local outlier = require 'datamux.outlier'
local sys = require 'datamux.sys'
local Tensor = require 'datamux.tensor'

-- What fn(log) writes to stderr, and the folder's log.txt and metrics.jsonl.
local function said(o, fn)
  local dir, out, stderr = os.tmpname(), {}, io.stderr
  os.remove(dir)
  sys.mkdir(dir)
  o.run = dir
  local l = log.new(o)
  local function write(_, ...)
    for _, s in ipairs { ... } do out[#out + 1] = s end
  end
  rawset(io, 'stderr', { write = write, flush = function() end })
  local ok, why = pcall(fn, l)
  rawset(io, 'stderr', stderr)
  l:close()
  local text, metrics = sys.read(dir .. '/log.txt'), sys.read(dir .. '/metrics.jsonl')
  sys.remove(dir)
  assert(ok, why)
  return table.concat(out), text, metrics
end

local function step(k, more)
  local r = { step = k, epoch = k / 169, loss = 0.2712, task = 0.2701, retrieval = 0.2811, hits = 0.964, lr = 4.67e-5,
              examples = 400, rows = 20, grad_norm = 1.02 }
  for name, v in pairs(more or {}) do r[name] = v end
  return r
end

local evaluation = { stage = 'train', step = 1260, seconds = 3725, metric = 'accuracy', value = 0.828, scored = 872,
                     total = 872, best = true, highest = 0.828 }

describe('a plain line', function()
  it('comes after the first step, then now and then, and tells losses, speed, memory, time left', function()
    local out, text = said({ mode = 'lines', every = 3600 }, function(l)
      l:stage('train', 6760, 0)
      for k = 1, 30 do l:step(step(k)) end
    end)
    local _, n = out:gsub('\n', '')
    assert.are.equal(2, n)
    assert.is_truthy(out:find('^%S+Z train: 6760 steps\n%S+Z train 0%.0%% step 1/6760 epoch 0%.01 loss 0%.2712 '
      .. 'task 0%.2701 retr 0%.281 96%.4%% lr 4%.7e%-05 ex/s %d+ rows/s %d+ mem [%d.]+ [MG]iB eta [%d:]+\n$'), out)
    assert.are.equal((text:gsub('%S+Z ', '')), (out:gsub('%S+Z ', '')))
  end)

  it('has at most 160 columns, whatever the numbers', function()
    local out = said({ mode = 'lines' }, function(l)
      l:stage('train', 5000000, 1234567)
      l:step(step(1234568, { loss = 12345.678, task = 12345.678, retrieval = 12345.678, examples = 1e9, rows = 1e8 }))
    end)
    local line = out:match '\n([^\n]+)\n$'
    assert.is_true(#line <= 160, line)
    for _, word in ipairs { 'step 1234568/5000000', 'loss 12345.6780', 'ex/s', 'eta' } do
      assert.is_truthy(line:find(word, 1, true), line)
    end
  end)

  it('is written for evaluations and checkpoints, too', function()
    local out = said({ mode = 'lines' }, function(l)
      l:stage('train', 6760, 0)
      l:step(step(1260))
      l:eval(evaluation)
      l:eval { stage = 'warmup', step = 7, seconds = 3, retrieval = 0.5, asked = 1 }
      l:saved { name = 'step-001260', reason = 'best', bytes = 513802, seconds = 0.84 }
    end)
    assert.is_truthy(out:find('Z eval  step 1260 dev accuracy 0.8280 (872 of 872 scored) best yes\n', 1, true), out)
    assert.is_truthy(out:find('Z eval  step 7 held-out retrieval 0.5000 (1 position)\n', 1, true), out)
    assert.is_truthy(out:find('Z save  step-001260 reason=best 0.5 MiB 0.8 s\n', 1, true), out)
    assert.is_nil(out:find '[\r\27]')
  end)
end)

describe('a terminal', function()
  local function screen(width)
    return said({ mode = 'bar', columns = function() return width end }, function(l)
      l:stage('train', 6760, 0)
      l:step(step(1149))
      l:eval(evaluation)
      evaluation.best = false
      l:eval(evaluation)
      evaluation.best = true
      l:saved { name = 'step-001260', reason = 'best', bytes = 513802, seconds = 0.84 }
      l:saved { name = 'step-001261', reason = 'stop', bytes = 513802, seconds = 0.84 }
    end)
  end

  it('has a live line of what matters', function()
    local out = screen(200)
    assert.is_truthy(out:find('\r\27%[K 17%% [━─]+ train · 1,149/6,760 · epoch 6%.80 · loss 0%.2712 · task 0%.2701 '
      .. '· retr 0%.281 96%.4%% · lr 4%.7e%-05 · [%d.k]+ ex/s · [%d.k]+ rows/s · [%d.]+ [MG]iB · eta [%d:]+\r'), out)
  end)

  it('has a table of evaluations with one head, a star at a new best, and the checkpoint that ends the run', function()
    local out, text = screen(200)
    local rows = {}
    for line in out:gmatch '([^\n]*)\n' do rows[#rows + 1] = line:match '[^\r]*$':gsub('^\27%[K', '') end
    assert.are.equal('train: 6760 steps', rows[1])
    assert.are.equal(' epoch    step    loss    task    retr       lr dev accuracy      best      ex/s     time',
      rows[2])
    assert.is_truthy(rows[3]:find('^  6%.80   1,260  0%.2712  0%.2701  0%.2811  4%.7e%-05       0%.8280   0%.8280%* +'
      .. '[%d,]+  1:02:05$'), rows[3])
    assert.is_truthy(rows[4]:find('0%.8280   0%.8280  +[%d,]+  1:02:05$'), rows[4])
    assert.are.same({ 'saved step-001261 (0.8 s)' }, { unpack(rows, 5) })
    assert.is_truthy(text:find('Z eval  step 1260 dev accuracy', 1, true), text)
    assert.is_truthy(text:find('Z save  step-001260 reason=best', 1, true), text)
    assert.is_truthy(text:find('Z train 17.0% step 1149/6760', 1, true), text)
  end)

  it('is never wider than it is', function()
    for _, width in ipairs { 120, 80, 60, 40 } do
      for line in screen(width):gsub('\27%[K', ''):gmatch '[^\r\n]+' do
        assert.is_true(columns.width(line) < width, ('%d: %s'):format(width, line))
      end
    end
    assert.is_truthy(screen(80):find('━', 1, true))
    assert.is_truthy(screen(40):find('1,149/6,760 · loss 0.2712', 1, true))
  end)
end)

describe('metrics.jsonl', function()
  it('has epoch, rows a second, the norm of the gradients and memory', function()
    local held = Tensor.lasting({ 1000 }, 'f32')
    local _, _, metrics = said({ mode = 'none' }, function(l)
      l:stage('train', 6760, 0)
      l:step(step(1))
    end)
    local r = cjson.decode(metrics:match '\n(.-)\n')
    assert.are.same({ 'train', 1, 1.02 }, { r.kind, r.step, r.grad_norm })
    assert.is_near(1 / 169, r.epoch, 1e-9)
    assert.is_near(20, r.ex_s / r.rows_s, 1e-6)
    assert.is_true(r.mem >= held:bytes())
  end)
end)

describe('a spike', function()
  local function noise(k) return 1 + 0.1 * math.sin(1.7 * k) end

  it('is told once, with its z-score, and again only after it was over', function()
    local out, _, metrics = said({ mode = 'lines', every = 3600 }, function(l)
      l:stage('train', 1000, 0)
      for k = 1, 300 do
        local far = k >= 100 and k < 104 or k == 200
        l:step(step(k, { loss = noise(k) * (far and 4 or 1), grad_norm = k == 250 and 50 or noise(k) }))
      end
    end)
    local list = {}
    for what, at in out:gmatch 'notice: ([%a ]+) is [%d.]+ at step (%d+), [%d.]+ standard deviations' do
      list[#list + 1] = what .. ' ' .. at
    end
    assert.are.same({ 'loss 100', 'loss 200', 'norm of the gradients 250' }, list)
    local records, spikes = journal.clean(metrics), 0
    for _, r in ipairs(records) do
      if r.event == 'spike' then
        spikes = spikes + 1
        assert.is_true(r.z >= 6 and r.value > r.mean)
      end
    end
    assert.are.equal(3, spikes)
    assert.are.equal(1, records[2].step)                         -- a spike begins no stage: nothing was superseded
  end)

  it('is no slow rise, no noise, no early step and nothing that is no number', function()
    local o = outlier.new()
    for k = 1, 2000 do assert.is_nil((o:see(noise(k) * (1 + k / 500)))) end
    assert.is_nil((o:see(0 / 0)))
    assert.is_nil((o:see(math.huge)))
    local early = outlier.new()
    for k = 1, 40 do early:see(noise(k)) end
    assert.is_nil((early:see(100)))
  end)
end)
