-- commands/bench.lua -- datamux bench MODEL: texts per second of the model alone and from file to file, with warm-up.
local M = { name = 'bench', summary = 'measure a finished model: speed, memory, price' }

local function whole(text)
  local v = tonumber(text)
  if v and v >= 1 and v == math.floor(v) then return v end
  return nil, ("'%s' is no whole number >= 1"):format(text)
end

function M.configure(p)
  p:argument('model', 'a run directory, RUN:best, RUN:last, RUN:step-N, or a model folder')
  p:option('--vs', 'a model that speed-ups refer to (one with N = 1)'):argname 'MODEL'
  p:option('--data', 'a file of lines (default: the dev texts of the model\'s task)'):argname 'FILE'
  p:option('--rows', 'rows in a batch'):convert(whole):argname 'R'
  p:option('--texts', 'texts of one measurement'):convert(whole):default '2000':argname 'T'
  p:option('--repeats', 'measurements, after one that warms up'):convert(whole):default '5':argname 'K'
  p:option('-o --output', 'md, csv, json or jsonl'):target 'format':choices { 'md', 'csv', 'json', 'jsonl' }
    :default 'md'
end

-- Mean and standard deviation.
local function spread(list)
  local mean, square = 0, 0
  for _, v in ipairs(list) do mean = mean + v / #list end
  for _, v in ipairs(list) do square = square + (v - mean) ^ 2 end
  return mean, math.sqrt(square / math.max(#list - 1, 1))
end

local function quantile(list, q)
  table.sort(list)
  return list[math.max(1, math.ceil(q * #list))]
end

-- `n` texts (pairs of them for a model of pairs), again from the start where there are fewer.
local function texts_of(model, o)
  local reader, list = require 'datamux.data.reader', {}
  local texts, seconds, words
  if o.data then
    texts = {}
    for line in reader.lines(o.data) do texts[#texts + 1] = line end
  else
    local set = require('datamux.data.task').split(model.config, 'dev', model.labels).set
    texts, seconds, words = set.texts, set.pairs, set.words
  end
  local count = #(words or texts)
  if count == 0 then require('datamux.errors').raise('E306', { what = o.data .. ': no texts in it' }) end
  for k = 1, o.texts do
    local i = (k - 1) % count + 1
    list[k] = { text = words and words[i] or texts[i], pair = model.pairs and (seconds or texts)[i] or nil }
    if model.output == 'tag' and not words then list[k].text = { texts[i] } end
  end
  return list
end

-- Times the network alone: texts per second of each measurement, ms of each batch, tokens of a padded text.
local function network(model, list, o)
  local C, predict = require('datamux.ffi').C, require 'datamux.predict'
  local p, rates, batches = predict.new(model, { rows = o.rows }), {}, {}
  local run = model.logits
  local spent, timing = 0, false
  function model.logits(self, batch)                 -- an instance's own method, above its class's
    local t = C.dm_clock()
    local v, k = run(self, batch)
    t = C.dm_clock() - t
    spent = spent + t
    if timing then batches[#batches + 1] = 1000 * t end
    return v, k
  end
  for r = 0, o.repeats do
    spent, timing = 0, r > 0
    for k, t in ipairs(list) do
      if type(t.text) == 'table' then p:add_words(t.text) else p:add(t.text, t.pair) end
      if p:full() or k == #list then
        p:score()
        p:clear()
      end
    end
    if r > 0 then rates[r] = #list / spent end
  end
  model.logits = nil
  return rates, batches, p.figures.places / p.figures.texts, p.rows
end

-- Times the way from a file of JSON lines to JSON lines, nothing left out but the start of the process.
local function whole_way(model, list, o)
  local C, json, sys = require('datamux.ffi').C, require 'datamux.json', require 'datamux.sys'
  local lines, rates, path = {}, {}, os.tmpname()
  for k, t in ipairs(list) do
    local text = type(t.text) == 'table' and json.list(t.text) or t.text
    lines[k] = json.encode { id = k, text = text, pair = t.pair }
  end
  sys.write(path, table.concat(lines, '\n') .. '\n')
  local ok, why = pcall(function()
    for r = 0, o.repeats do
      local t = C.dm_clock()
      require('datamux.filter').run(model, { files = { path }, input = 'jsonl', output = 'same', text = 'text',
        pair = model.pairs and 'pair' or nil, pairs = model.pairs, rows = o.rows, on_error = 'fail', flush = 0,
        sink = function() end })
      if r > 0 then rates[r] = #list / (C.dm_clock() - t) end
    end
  end)
  os.remove(path)
  if not ok then error(why, 0) end
  return rates
end

-- Largest resident memory of the process so far, GiB.
local function resident()
  local f = io.open('/proc/self/status')
  local kib = f and tonumber(f:read('*a'):match 'VmHWM:%s*(%d+)')
  if f then f:close() end
  return kib and kib / 1048576
end

local function measure(path, o, price)
  local scope = require 'datamux.scope'
  local model = require('datamux.saved').load(path)
  local list = texts_of(model, o)
  local rates, batches, length, rows = network(model, list, o)
  local out = { {}, {} }
  for i, test in ipairs { 'model', 'end-to-end' } do
    local e = out[i]
    e.model, e.n, e.rows, e.length, e.dtype, e.test = path, model.n, rows, length, 'f32', test
    e.texts_per_second, e.sd = spread(i == 1 and rates or whole_way(model, list, o))
    if i == 1 then e.p50_ms, e.p99_ms = quantile(batches, 0.5), quantile(batches, 0.99) end
    e.device, e.gib = scope.about(), scope.about():find '^cuda' and scope.memory().peak / 2 ^ 30 or resident()
    e.dollars_per_million = price and price / 3600 * 1e6 / e.texts_per_second
  end
  return out
end

local names = { 'model', 'N', 'rows', 'seq', 'dtype', 'test', 'texts/s', 'speed-up', 'p50 ms', 'p99 ms', 'GiB', '$/1M' }

local function cells(e)
  local function shown(v, form) return v and form:format(v) or '-' end
  return { e.model, ('%d'):format(e.n), ('%d'):format(e.rows), ('%.1f'):format(e.length), e.dtype, e.test,
    ('%.1f ± %.1f'):format(e.texts_per_second, e.sd), shown(e.speed_up, '%.2f'), shown(e.p50_ms, '%.1f'),
    shown(e.p99_ms, '%.1f'), shown(e.gib, '%.2f'), shown(e.dollars_per_million, '%.4f') }
end

local function markdown(list)
  local rows, width, out = { names }, {}, {}
  for _, e in ipairs(list) do rows[#rows + 1] = cells(e) end
  local function size(s) return #s - (s:find('±', 1, true) and 1 or 0) end        -- one sign, two bytes
  for _, row in ipairs(rows) do
    for k, c in ipairs(row) do width[k] = math.max(width[k] or 3, size(c)) end
  end
  for i, row in ipairs(rows) do
    local line = {}
    for k, c in ipairs(row) do line[k] = (' '):rep(width[k] - size(c)) .. c end
    out[#out + 1] = '| ' .. table.concat(line, ' | ') .. ' |'
    if i == 1 then
      for k in ipairs(row) do line[k] = ('-'):rep(width[k] - 1) .. ':' end
      out[2] = '| ' .. table.concat(line, ' | ') .. ' |'
    end
  end
  return table.concat(out, '\n')
end

function M.run(o)
  local json, about = require 'datamux.json', require('datamux.launch').device(o.device, o.threads)
  local price = tonumber(os.getenv 'DATAMUX_GPU_PRICE')
  local list = o.vs and measure(o.vs, o, price) or {}
  local base = o.vs and { model = list[1].texts_per_second, ['end-to-end'] = list[2].texts_per_second }
  for _, e in ipairs(measure(o.model, o, price)) do list[#list + 1] = e end
  for _, e in ipairs(list) do e.speed_up = base and e.texts_per_second / base[e.test] end
  local format = o.json and 'json' or o.format
  if format == 'json' then
    print(json.encode(json.list(list), true))
  elseif format == 'jsonl' then
    for _, e in ipairs(list) do print(json.encode(e)) end
  elseif format == 'csv' then
    print(table.concat(names, ','))
    for _, e in ipairs(list) do print((table.concat(cells(e), ','))) end
  else
    print(markdown(list))
    print(('%d texts, %d measurements after warm-up, %s'):format(o.texts, o.repeats, about))
  end
  return 0
end

return M
