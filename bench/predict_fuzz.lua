-- predict_fuzz.lua -- the work of bench/predict_fuzz: many random files in one process, through the whole filter.
-- Half of the files go through real networks of one layer, half through a stand-in whose answer to a text depends on
-- that text alone, so that answers that changed places show. arg: number of files, seed.
local ffi = require 'ffi'
local cjson = require 'cjson'
local core = require 'datamux.ffi'
local filter = require 'datamux.filter'
local reader = require 'datamux.data.reader'
local words = require 'datamux.text.words'
local Module = require 'datamux.nn.module'
local TMux = require 'datamux.models.tmux'
local saved = require 'datamux.saved'

local files, seed = tonumber(arg[1]), tonumber(arg[2])
core.C.dm_threads_set(1)

local counter, key, bits, used, block = ffi.new 'uint32_t[4]', ffi.new 'uint32_t[2]', ffi.new 'uint32_t[4]', 4, 0
local function draw(n)
  if used == 4 then
    counter[0], counter[1], key[0] = block % 4294967296, math.floor(block / 4294967296), seed
    core.C.dm_philox(bits, counter, key)
    block, used = block + 1, 0
  end
  used = used + 1
  return math.floor(bits[used - 1] / 4294967296 * n)
end

local pieces = {
  'a', 'b', ' c', ' d', 'e f', '\n', '\n', '\n', '\r\n', '\r', '\t', '"', '""', ',', '{', '}', '{"text":"a b"}',
  '{"text":"\\u00e9"}', '{"text":1}', '\0', '\255', '\xc3', '\xc3\xa9', '\xe2\x82', '\xf0\x9f\x98\x80', '\xed\xa0\x80',
  '\239\187\191', '\\', '[', ']', 'null', '\11', '\12', '\127', '__label__x', ('long '):rep(40), ('x'):rep(200) }

local function random_text()
  local out = {}
  for k = 1, draw(40) do out[k] = draw(8) == 0 and string.char(draw(256)) or pieces[draw(#pieces) + 1] end
  return table.concat(out)
end

local tokenizer = words.train({ 'a b c d e f long x' }, 8)
local config = { data = { length = 12, fixed = false, multiple = 1 } }
local labels = { 'even', 'odd' }

-- As tests/predict_spec.lua: the answer is the parity of the ids' sum.
local function stand_in(n)
  local m = { n = n, output = 'classify', labels = labels, config = config, tokenizer = tokenizer }
  function m.logits(_, b)
    local out = ffi.new('float[?]', 2 * b.B * b.N)
    for k = 0, b.B * b.N - 1 do
      local sum = 0
      for s = 0, b.length[k] - 1 do sum = sum + b.ids_host[k * b.S + s] end
      out[2 * k + sum % 2] = 1
    end
    return out, 2
  end
  return m
end

local function network(n)
  local net = Module.build(TMux.new {
    vocab = { size = tokenizer.vocab_size, pad = 0 }, layers = 1, width = 8, heads = 2, inner = 8, dropout = 0,
    positions = 16, eps = 1e-5, init = 0.3, classes = 2, output = 'classify', n = n,
    mux = 'hadamard', norm = math.sqrt(8), reduce = 'sqrt', learn = false, skip = true, demux = 'unbind', key = 'mux',
    rank = 0, read = 'pool', retrieval = 'shared', tied = true, mask = 'or' }, 3):train(false)
  return saved.of(net, { data = config.data, model = { kind = 'tmux' }, mux = { n = n }, capture = false },
    { tok = tokenizer, label_names = labels })
end

local models = {}
for _, n in ipairs { 1, 2, 5, 20 } do
  models[#models + 1] = stand_in(n)
  models[#models + 1] = network(n)
end

local function run(model, path, o)
  local out = {}
  local figures = filter.run(model, { files = { path }, input = o.input, output = o.output, text = o.text,
    header = o.header, on_error = 'null', flush = 0, ensemble = o.ensemble, group = o.group,
    sink = function(text) out[#out + 1] = text end })
  return table.concat(out), figures
end

local function count(text)
  local _, n = text:gsub('\n', '')
  return n
end

-- Whether predict may refuse a JSONL file, before any answer: no record of the first window has the key.
local function refusable(text, model, o)
  if o.input ~= 'jsonl' then return false end
  local line = 0
  for record in text:gmatch '[^\n]+' do
    line = line + 1
    local ok, value = pcall(cjson.decode, record)
    if ok and type(value) == 'table' and value.text ~= nil then return line > 8 * model.n end
  end
  return true
end

local function fail(number, why, text, model, o)
  io.stderr:write(('file %d (seed %d), N = %d, %s -> %s: %s\n%q\n'):format(number, seed, model.n, o.input, o.output,
    why, text))
  os.exit(1)
end

local inputs = { { input = 'text' }, { input = 'jsonl', text = 'text' }, { input = 'tsv', text = '1', header = false },
                 { input = 'csv', text = '1', header = false } }
local outputs = { 'jsonl', 'text', 'same', 'fasttext' }
local path, start = os.tmpname(), core.C.dm_clock()
local records, refused = 0, 0

for number = 1, files do
  local text, model = random_text(), models[draw(#models) + 1]
  local from = inputs[draw(#inputs) + 1]
  local o = { input = from.input, text = from.text, header = from.header, output = outputs[draw(#outputs) + 1],
              ensemble = draw(4) == 0 and model.n > 1 and 2 or 1, group = draw(2) == 0 and 'file' or 'length' }
  local f = assert(io.open(path, 'wb'))
  f:write(text)
  f:close()
  local ok, out, figures = pcall(run, model, path, o)
  if not ok and tostring(out):find "no column 'text'" and refusable(text, model, o) then
    ok, out, figures, refused = true, '', { records = 0 }, refused + 1
    text = ''
  end
  if not ok then fail(number, 'an error: ' .. tostring(out), text, model, o) end
  if reader.invalid_utf8(out) then fail(number, 'the output is not UTF-8', text, model, o) end
  local lines = count(text) + (text ~= '' and text:byte(-1) ~= 10 and 1 or 0)
  if from.input ~= 'csv' then                          -- there a record may have several lines
    if figures.records ~= lines then fail(number, figures.records .. ' records of ' .. lines, text, model, o) end
    if count(out) ~= lines then fail(number, count(out) .. ' lines of ' .. lines, text, model, o) end
  elseif o.output ~= 'same' and count(out) ~= figures.records then
    fail(number, count(out) .. ' lines of ' .. figures.records .. ' records', text, model, o)
  end
  if from.input == 'text' and o.output == 'text' and not model.model then
    local i = 0
    for line in (text:byte(-1) == 10 and text or text .. '\n'):gmatch '(.-)\r?\n' do
      i = i + 1
      if i > lines then break end
      if i == 1 then line = line:gsub('^\239\187\191', '') end
      local sum = 0
      for _, id in ipairs((tokenizer:encode(line, 12))) do sum = sum + id end
      local got = out:match('^([^\t]*)\t[^\n]*\n')
      out = out:gsub('^[^\n]*\n', '', 1)
      if got ~= labels[sum % 2 + 1] then fail(number, ('line %d is %s'):format(i, tostring(got)), text, model, o) end
    end
  end
  records = records + figures.records
  if number % 10000 == 0 or number == files then
    print(('%d files (%d refused: no record with the column), %d records, no mismatch, %.0f s'):format(number, refused,
      records, core.C.dm_clock() - start))
    io.flush()
  end
end
os.remove(path)
