-- data_spec.lua -- reading files, SST-2, corpora, downloads, the built-in sentences.
local host = require 'datamux.host'
local sys = require 'datamux.sys'
local cache = require 'datamux.data.cache'
local reader = require 'datamux.data.reader'
local glue = require 'datamux.data.glue'
local corpus = require 'datamux.data.corpus'
local download = require 'datamux.data.download'
local synthetic = require 'datamux.data.synthetic'
local text = require 'datamux.text'

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

local function lines(path)
  local out = {}
  for line in reader.lines(path) do out[#out + 1] = line end
  return out
end

local function refused(code, pattern, fn, ...)
  local ok, e = pcall(fn, ...)
  assert.is_false(ok)
  assert.are.equal(code, e.code, tostring(e))
  assert.is_truthy(tostring(e):find(pattern), tostring(e))
end

describe('the reader', function()
  it('gives lines without their ends, also without a last newline', function()
    assert.are.same({ 'a', '', 'b' }, lines(file('x', 'a\r\n\nb')))
    assert.are.same({ 'a', 'b' }, lines(file('y', 'a\nb\n')))
    assert.are.same({}, lines(file('z', '')))
  end)

  it('reads gz and zst as they are, told by their first bytes', function()
    local body = {}
    for i = 1, 50000 do body[i] = 'line ' .. i end
    local plain = file('plain', table.concat(body, '\n') .. '\n')
    os.execute(('gzip -c %s > %s/a; cat %s/a %s/a > %s/twice'):format(plain, dir, dir, dir, dir))
    local got = lines(dir .. '/a')
    assert.are.same({ 50000, 'line 50000' }, { #got, got[#got] })
    assert.are.equal(100000, #lines(dir .. '/twice'))
    assert.are.equal(reader.text(plain), reader.text(dir .. '/a'))
    if os.execute('command -v zstd > /dev/null') == 0 then
      os.execute(('zstd -q -c %s > %s/b'):format(plain, dir))
      assert.are.equal(reader.text(plain), reader.text(dir .. '/b'))
    end
  end)

  it('refuses compressed files that are cut off or broken', function()
    local plain = file('plain', ('some text\n'):rep(10000))
    os.execute(('gzip -c %s | head -c 60 > %s/cut'):format(plain, dir))
    refused(3, 'cut: the gzip stream is cut off', reader.text, dir .. '/cut')
    refused(3, 'not valid gzip', reader.text, file('bad', '\31\139\8\0garbage garbage garbage'))
    refused(3, 'nothere', reader.text, dir .. '/nothere')
  end)

  it('finds the first byte that is not UTF-8', function()
    assert.is_nil(reader.invalid_utf8 'é 中 😀')
    assert.are.equal(2, reader.invalid_utf8 'a\255')
    assert.are.equal(1, reader.invalid_utf8 '\237\160\128')       -- a surrogate
    assert.are.equal(1, reader.invalid_utf8 '\192\128')           -- overlong
  end)
end)

describe('SST-2', function()
  it('is read with literal quotes and trailing blanks off', function()
    local set = glue.read_file('sst2', file('t.tsv', 'sentence\tlabel\na "quoted film \t1\nbad\t0\n'))
    assert.are.same({ 'a "quoted film', 'bad' }, set.texts)
    assert.are.same({ 2, 1, 0 }, { set.n, set.labels[0], set.labels[1] })
    assert.are.same({ 'negative', 'positive' }, set.label_names)
  end)

  it('is refused with file and line', function()
    local function try(body) return function() glue.read_file('sst2', file('t.tsv', body)) end end
    refused(3, 't.tsv:3: 1 column, expected 2', try 'sentence\tlabel\na\t1\nb\n')
    refused(3, "t.tsv:2: label is '2', expected one of 0, 1", try 'sentence\tlabel\na\t2\n')
    refused(3, "t.tsv:1: no column 'sentence', columns are: text, label", try 'text\tlabel\na\t1\n')
    refused(3, 't.tsv:2: the text is not valid UTF%-8', try 'sentence\tlabel\na\255\t1\n')
    refused(3, 'no examples', try 'sentence\tlabel\n')
    refused(2, "unknown task 'sst3', expected one of cola, mnli", glue.read, 'sst3', 'train')
  end)

  it('has 67,349 and 872 sentences', function()
    if not os.getenv 'DATAMUX_DATA' then return pending 'needs SST-2 under DATAMUX_DATA' end
    local train, dev = glue.read('sst2', 'train'), glue.read('sst2', 'dev')
    assert.are.same({ 67349, 872 }, { train.n, dev.n })
    local positive = 0
    for i = 0, dev.n - 1 do positive = positive + dev.labels[i] end
    assert.are.equal(444, positive)
    assert.are.equal(1821, glue.read('sst2', 'test').n)
  end)
end)

describe('a corpus', function()
  local tok = text.train { kind = 'words', lines = { 'a b c d e' }, vocab_size = 10 }

  it('is cut into chunks of exactly the length, remainders dropped', function()
    local train, held = corpus.encode(tok, file('c', ('a b c\n\nd e\n'):rep(40)), { length = 10, chunk = true,
      held_out = 0.25 })
    assert.are.equal(28, train.n + held.n)                        -- 40 (4 + 3) ids
    for i = 0, train.n - 1 do assert.are.equal(10, train.offset[i + 1] - train.offset[i]) end
    assert.are.equal(7, held.n)
    assert.are.equal(10, held.offset[1] - held.offset[0])
    assert.are.same({ 2, 4, 5, 6, 2, 7 }, { train.ids[0], train.ids[1], train.ids[2], train.ids[3], train.ids[4],
      train.ids[5] })
  end)

  it('can be one text a line', function()
    local train, held = corpus.encode(tok, file('c', 'a b c\nd e\na\n'), { length = 3, chunk = false, held_out = 0.4 })
    assert.are.same({ 1, 2, 3 }, { train.n, held.n, train.offset[1] })
  end)

  it('is refused when it is too short or absent', function()
    refused(3, 'expected at least 2', corpus.encode, tok, file('c', 'a\n'),
      { length = 50, chunk = true, held_out = 0.1 })
    refused(3, 'is not here', corpus.encode, tok, 'nowhere/x.txt', { length = 5, chunk = true, held_out = 0.1 })
  end)
end)

describe('a download', function()
  local server

  local function serve()
    server = { port = 20000 + sys.pid() % 20000 }
    local f = io.popen(('cd %s && python3 -m http.server %d --bind 127.0.0.1 > /dev/null 2>&1 & echo $!'):format(dir,
      server.port))
    server.pid = f:read '*l'
    f:close()
    os.execute(('for i in $(seq 100); do (echo > /dev/tcp/127.0.0.1/%d) 2> /dev/null && break; sleep 0.05; done')
      :format(server.port):gsub('^', 'bash -c \''):gsub('$', '\''))
    return ('http://127.0.0.1:%d/'):format(server.port)
  end

  after_each(function()
    if server then os.execute('kill ' .. server.pid .. ' 2> /dev/null') end
    server = nil
    download.sets.spec = nil
  end)

  it('passes over a dead address, refuses wrong bytes, and leaves whole files only', function()
    if os.execute 'command -v python3 > /dev/null' ~= 0 then return pending 'needs python3 for a local server' end
    local body = ('a line\n'):rep(1000)
    file('set.txt', body)
    os.execute(('cd %s && python3 -c "import zipfile; z = zipfile.ZipFile(\'set.zip\', \'w\', zipfile.ZIP_DEFLATED); '
      .. 'z.write(\'set.txt\', \'in/set.txt\')"'):format(dir))
    local url = serve()
    download.sets.spec = { urls = { 'http://127.0.0.1:1/none', url .. 'set.zip' }, zip = true,
                           files = { ['set.txt'] = { member = 'in/set.txt', sha256 = sys.sha256(body) } } }
    assert.is_true(download.fetch('spec', dir .. '/cache'))
    assert.are.equal(body, sys.read(dir .. '/cache/spec/set.txt'))
    assert.is_nil(sys.kind(dir .. '/cache/spec/download.part'))
    download.sets.spec.files['set.txt'].sha256 = ('0'):rep(64)
    local ok, why = download.fetch('spec', dir .. '/other')
    assert.is_nil(ok)
    assert.is_truthy(why:find 'another checksum')
    assert.is_nil(sys.kind(dir .. '/other/spec/set.txt'))
  end)

  it('comes only where it is asked for: by --download, or by a yes on the terminal', function()
    local fetch, isatty, read, stderr = download.fetch, host.isatty, io.read, io.stderr
    local offline, asked, words = os.getenv 'DATAMUX_OFFLINE', 0, ''
    download.sets.spec = { urls = { 'http://127.0.0.1:1/' }, files = {} }
    local function find(terminal, answer)
      download.fetch = function() asked = asked + 1 return nil, 'dead' end
      host.isatty = function() return terminal end
      io.read = function() return answer end                               -- luacheck: ignore
      io.stderr = { write = function(_, said) words = words .. said end }  -- luacheck: ignore
      asked, words = 0, ''
      local _, e = pcall(cache.find, 'spec', 'one')
      download.fetch, host.isatty, io.read, io.stderr = fetch, isatty, read, stderr                -- luacheck: ignore
      assert.are.equal('E801', e.id)
      assert.is_truthy(e.message:find('fix: datamux data get spec, or --download', 1, true), e.message)
      assert.is_truthy(e.message:find('download:  ' .. (asked > 0 and 'dead' or 'not asked for'), 1, true), e.message)
      return { asked, words:find('Download spec', 1, true) ~= nil }
    end
    sys.setenv('DATAMUX_OFFLINE', '')
    assert.are.same({ 0, false }, find(false, 'y'))
    for _, answer in ipairs { 'n', '', 'never' } do assert.are.same({ 0, true }, find(true, answer)) end
    assert.are.same({ 0, true }, find(true, nil))
    assert.are.same({ 1, true }, find(true, 'y'))
    sys.setenv('DATAMUX_DOWNLOAD', '1')
    assert.are.same({ 1, false }, find(false))
    sys.setenv('DATAMUX_DOWNLOAD', '')
    sys.setenv('DATAMUX_OFFLINE', offline or '')
  end)

  it('goes on where it stopped, or from the start where the address cannot', function()
    if os.execute 'command -v python3 > /dev/null' ~= 0 then return pending 'needs python3 for a local server' end
    local body = ('0123456789'):rep(5000)
    file('set.txt', body)
    download.sets.spec = { urls = { serve() .. 'set.txt' }, files = { ['set.txt'] = { sha256 = sys.sha256(body) } } }
    sys.mkdir(dir .. '/cache/spec')
    sys.write(dir .. '/cache/spec/download.part', body:sub(1, 1234))
    assert.is_true(download.fetch('spec', dir .. '/cache'))
    assert.are.equal(body, sys.read(dir .. '/cache/spec/set.txt'))
  end)

  it('fetches files that lie one by one', function()
    if os.execute 'command -v python3 > /dev/null' ~= 0 then return pending 'needs python3 for a local server' end
    file('one', 'first')
    file('two', 'second')
    download.sets.spec = { urls = { 'http://127.0.0.1:1/', serve() }, each = true,
                           files = { one = { sha256 = sys.sha256 'first' }, two = { sha256 = sys.sha256 'second' } } }
    assert.is_true(download.fetch('spec', dir .. '/cache'))
    assert.are.equal('first', sys.read(dir .. '/cache/spec/one'))
    assert.are.equal('second', sys.read(dir .. '/cache/spec/two'))
    download.sets.spec.files.three = { sha256 = ('0'):rep(64) }
    local ok, why = download.fetch('spec', dir .. '/cache')
    assert.is_nil(ok)
    assert.is_truthy(why:find '/three')
  end)

  it('knows the published checksums of SST-2 and MNIST', function()
    local data = os.getenv 'DATAMUX_DATA'
    if not data then return pending 'needs SST-2 and MNIST under DATAMUX_DATA' end
    for _, folder in ipairs { 'SST-2', 'MNIST' } do
      for name, f in pairs(download.sets[folder].files) do
        assert.are.equal(f.sha256, sys.sha256_file(('%s/%s/%s'):format(data, folder, name)))
      end
    end
  end)
end)

describe('the built-in sentences', function()
  it('are balanced, distinct, and not shared between train and dev', function()
    local train, dev = synthetic.read 'train', synthetic.read 'dev'
    local seen, positive, words = {}, 0, {}
    for _, set in ipairs { train, dev } do
      for i, s in ipairs(set.texts) do
        assert.is_nil(seen[s], s)
        seen[s] = true
        positive = positive + set.labels[i - 1]
        for w in s:gmatch '%S+' do words[w] = true end
      end
    end
    assert.is_near((train.n + dev.n) / 2, positive, 300)
    local n = 0
    for _ in pairs(words) do n = n + 1 end
    assert.is_true(n > 140)
  end)

  it('cannot be told by any single word', function()
    local set, count = synthetic.read 'train', {}
    for i, s in ipairs(set.texts) do
      local once = {}
      for w in s:gmatch '%S+' do
        if not once[w] then
          once[w] = true
          count[w] = count[w] or { 0, 0 }
          count[w][set.labels[i - 1] + 1] = count[w][set.labels[i - 1] + 1] + 1
        end
      end
    end
    for w, c in pairs(count) do
      if c[1] + c[2] > 200 then assert.is_true(math.max(c[1], c[2]) / (c[1] + c[2]) < 0.75, w) end
    end
  end)
end)
