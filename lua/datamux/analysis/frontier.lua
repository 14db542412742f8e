-- frontier.lua -- the dev score of a task (SST-2 unless said) against texts per second from file to file, on one
-- machine and the same texts: multiplexed models at every N, plain Transformers of several sizes, and fastText. Drawn
-- whatever it shows.
local analysis = require 'datamux.analysis'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local task = require 'datamux.data.task'
local sys = require 'datamux.sys'
local timing = require 'datamux.timing'
local C = core.C

local M = { summary = 'accuracy against texts per second: multiplexed, plain, fastText' }

--- Plain Transformers of the sizes up to the multiplexed one's.
function M.plan(o)
  local out = {}
  local sizes = o.profile == 'paper' and { { 2, 128 }, { 4, 256 }, { 4, 768 }, { 12, 768 } }
    or { { 2, 128 }, { 4, 128 }, { 2, 256 }, { 4, 256 } }
  for _, s in ipairs(sizes) do
    out[#out + 1] = { name = ('frontier-plain-%dx%d'):format(s[1], s[2]), recipe = 'sst2_n1.lua', words = {
      'model.layers=' .. s[1], 'model.width=' .. s[2], 'model.heads=' .. math.max(2, math.floor(s[2] / 64)) } }
  end
  return out
end

M.columns = { { 'kind', 'kind', '%s' }, { 'model', 'model', '%s' }, { 'n', 'N', '%d' },
              { 'value', 'dev score', '%.4f' }, { 'rate', 'texts/s', '%.1f' }, { 'sd', 'sd', '%.1f' },
              { 'best', 'on the frontier', '%s' } }

local function shell(line) return os.execute(line) == 0 end

-- Lines for fastText: its label, then the text in lower case.
local function written(path, set, names)
  local lines = {}
  for i = 1, set.n do
    lines[i] = (names and '__label__' .. set.labels[i - 1] .. ' ' or '') .. set.texts[i]:lower():gsub('\n', ' ')
  end
  sys.write(path, table.concat(lines, '\n') .. '\n')
end

local function seconds(line)
  local t = C.dm_clock()
  if not shell(line) then errors.raise('E404', 'fasttext failed: ' .. line) end
  return C.dm_clock() - t
end

--- fastText on the files of a task (configuration and labels; default: SST-2), one thread: { value, rate, sd, scored };
--- nil and the reason where it is absent. Its time is that of predicting o.texts texts, again and again until that
--- takes a second, less that of a single one: starting it and reading the model are left out, as for our models.
function M.fasttext(o, config, labels)
  config, labels = config or { task = 'sst2', eval = {} }, labels or { 'negative', 'positive' }
  if not shell 'command -v fasttext > /dev/null 2>&1' then
    return nil, 'fastText is not installed, its point is missing. fix: apt install fasttext'
  end
  local train, dev = task.split(config, 'train', labels).set, task.split(config, 'dev', labels).set
  if not (train.labels and train.texts) or train.pairs then
    return nil, 'fastText gives a label to one text, its point is missing for this task'
  end
  local dir = os.tmpname()
  os.remove(dir)
  sys.mkdir(dir)
  local ok, r = pcall(function()
    written(dir .. '/train', train, true)
    written(dir .. '/dev', dev, false)
    local many = { n = o.texts, texts = {} }
    for k = 1, many.n do many.texts[k] = dev.texts[(k - 1) % dev.n + 1] end
    written(dir .. '/many', many, false)
    written(dir .. '/one', { n = 1, texts = dev.texts }, false)
    seconds(('fasttext supervised -input %s/train -output %s/model -epoch 5 -wordNgrams 2 -thread 1 -seed 1 '
      .. '> /dev/null 2>&1'):format(dir, dir))
    seconds(('fasttext predict %s/model.bin %s/dev > %s/answers'):format(dir, dir, dir))
    local right, i = 0, 0
    for label in io.lines(dir .. '/answers') do
      if label == '__label__' .. dev.labels[i] then right = right + 1 end
      i = i + 1
    end
    local function predicting()                              -- without what a single text takes
      local whole = seconds(('fasttext predict %s/model.bin %s/many > /dev/null'):format(dir, dir))
      return whole - seconds(('fasttext predict %s/model.bin %s/one > /dev/null'):format(dir, dir))
    end
    local text, rates = sys.read(dir .. '/many'), {}
    local times, took = 1, predicting()
    while took < 1 do                                        -- it is quick: a time that can be measured
      times = times * math.ceil(math.min(1.5 / math.max(took, 1e-3), 100))
      sys.write(dir .. '/many', text:rep(times))
      took = predicting()
    end
    for k = 1, o.repeats do rates[k] = times * many.n / predicting() end
    local rate, sd = timing.spread(rates)
    return { value = right / i, rate = rate, sd = sd, scored = i }
  end)
  sys.remove(dir)
  if not ok then error(r, 0) end
  return r
end

-- Marks rows that no other beats in both; one whose score is undefined is none.
local function mark(rows)
  for _, r in ipairs(rows) do
    r.best = analysis.defined(r.value) and 'yes' or 'no'
    for _, s in ipairs(rows) do
      if s ~= r and s.value >= r.value and s.rate >= r.rate and (s.value > r.value or s.rate > r.rate) then
        r.best = 'no'
      end
    end
  end
end

-- Raises E215 where a model is for another task than the first.
local function one_task(first, item)
  local a, b = first.config, item.saved.config
  if a.task ~= b.task or a.task == 'own' and a.own.dev ~= b.own.dev then
    errors.raise('E215', { what = ('%s is for %s and %s for %s, expected models of one task'):format(first.path, a.task,
      item.path, b.task == a.task and 'other files' or b.task), fix = 'leave out one, or --task TASK' })
  end
end

function M.collect(o)
  local evaluate, rows, notes = require 'datamux.evaluate', {}, {}
  local of = setmetatable({ task = o.task or 'sst2', runs = {} }, { __index = o })
  for _, r in ipairs(o.runs) do
    if r.task == of.task then of.runs[#of.runs + 1] = r end
  end
  local first
  if #o.paths > 0 or #of.runs > 0 or of.task ~= 'sst2' then
    analysis.each(of, false, function(item)
      first = first or { path = item.path, config = item.saved.config, labels = item.saved.labels }
      one_task(first, item)
      local options = setmetatable({ detail = false }, { __index = item.options })
      local r = evaluate.score(item.net, item.set, options, item.n > 1 and o.groupings or 1)
      local rate, sd = timing.spread(timing.whole_way(item.saved, timing.texts(item.saved, { texts = o.texts }), {
        repeats = o.repeats, rows = o.rows }))
      rows[#rows + 1] = { kind = item.n > 1 and 'multiplexed' or 'plain', model = item.words, n = item.n,
        value = r.value, rate = rate, sd = sd, run = item.path }
    end)
  end
  local peer, why = M.fasttext(o, first and first.config, first and first.labels)
  if peer then
    peer.kind, peer.model = 'fastText', 'fastText, bigrams'
    rows[#rows + 1] = peer
  else
    notes[1] = why
  end
  mark(rows)
  table.sort(rows, function(a, b) return a.rate < b.rate end)
  notes[#notes + 1] = ('%s, %d texts, %s. Models: JSON lines in, JSON lines out; fastText: text in, labels out, one '
    .. 'thread, the texts again and again for a second; starting the process is left out of both.'):format(
    first and first.config.task or of.task, o.texts, require('datamux.scope').about())
  return rows, { notes = notes, task = first and first.config.task or of.task }
end

function M.picture(rows, more)
  local series = analysis.series(rows, function(r) return r.kind end, 'rate', 'value')
  local text = {}
  for _, r in ipairs(rows) do
    text[r.kind] = text[r.kind] or {}
    if analysis.defined(r.value) then
      table.insert(text[r.kind], r.n and r.n > 1 and 'N = ' .. r.n or r.model:match '^[^,]+')
    end
  end
  for _, s in ipairs(series) do s.text = text[s.label] end
  local ticks = {}
  for power = 0, 6 do
    for _, k in ipairs { 1, 2, 5 } do
      local t = k * 10 ^ power                           -- rows are in the order of their rates
      if #rows > 0 and t >= rows[1].rate / 2 and t <= rows[#rows].rate * 2 then ticks[#ticks + 1] = t end
    end
  end
  return analysis.picture(series, { kind = 'points', x = 'texts per second, file to file', y = 'dev score',
    x_log = 10, x_ticks = ticks, title = more.task .. ': score against speed' })
end

return M
