-- records_spec.lua -- records out of text, TSV, CSV, JSONL and CoNLL; what is refused, with file and line.
local host = require 'datamux.host'
local records = require 'datamux.data.records'
local sys = require 'datamux.sys'

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

-- All records as lists of cells, with their lines.
local function all(r)
  local cells, lines = {}, {}
  for record in r:each() do
    cells[#cells + 1] = { unpack(record) }
    lines[#lines + 1] = record.line
  end
  return cells, lines
end

local function read(r)
  for _ in r:each() do end
end

describe('records', function()
  it('of text are its lines, empty ones too', function()
    local cells, lines = all(records.open(file('a.txt', '\239\187\191one\r\n\n"three"')))
    assert.are.same({ { 'one' }, { '' }, { '"three"' } }, cells)
    assert.are.same({ 1, 2, 3 }, lines)
  end)

  it('of TSV are split on tabs alone; columns go by name or number', function()
    local r = records.open(file('a.tsv', 'id\ttext\n1\ta "quoted\n\n2\tb\n'))
    assert.are.same({ 'id', 'text' }, r.header)
    local text, second = r:column 'text', r:column(2)
    local got = {}
    for record in r:each() do
      assert.are.equal(text(record), second(record))
      got[#got + 1] = text(record)
    end
    assert.are.same({ 'a "quoted', 'b' }, got)
    assert.are.same({ { 'id', 'text' }, { '1', 'x' } },
      (all(records.open(file('b.tsv', 'id\ttext\n1\tx\n'), { header = false }))))
    refused(3, "b.tsv:1: no column 'txt', columns are: id, text. Did you mean 'text'?", function()
      records.open(dir .. '/b.tsv'):column 'txt'
    end)
    refused(2, "column is 'text', expected a number", function()
      records.open(dir .. '/b.tsv', { header = false }):column 'text'
    end)
    refused(3, "c.tsv:1: column 'a' is there twice", function()
      records.open(file('c.tsv', 'a\ta\n')):column 'a'
    end)
  end)

  it('of CSV follow RFC 4180', function()
    local r = records.open(file('a.csv', 'id,text\r\n1,"a, ""b"""\r\n2,"two\nlines, ""\nmore"\r\n3,\r\n4,""\n'))
    local cells, lines = all(r)
    assert.are.same({ { '1', 'a, "b"' }, { '2', 'two\nlines, "\nmore' }, { '3', '' }, { '4', '' } }, cells)
    assert.are.same({ 2, 3, 6, 7 }, lines)
  end)

  it('of JSONL are objects', function()
    local r = records.open(file('a.jsonl', '{"text": "x\\ty", "n": 1}\n\n{"n": null}\n'))
    local text, n = r:column 'text', r:column 'n'
    local first, second = r:next(), r:next()
    assert.are.same({ 'x\ty', 1 }, { text(first), n(first) })
    assert.are.same({ 3, '{"n": null}' }, { second.line, second.raw })
    local value, why = text(second)
    assert.is_nil(value)
    assert.are.equal("no key 'text'", why)
    assert.is_nil(n(second))
    assert.is_nil(r:next())
  end)

  it('of CoNLL are sentences, with their columns', function()
    local r = records.open(file('a.conll', '-DOCSTART- O\n\nEU I-ORG\nrejects O\n  \n\nPeter I-PER'))
    local got = {}
    for record in r:each() do got[#got + 1] = { record.line, record.n, record.document, record[1], record[2] } end
    assert.are.same({ { 1, 1, true, { '-DOCSTART-' }, { 'O' } }, { 3, 2, nil, { 'EU', 'rejects' }, { 'I-ORG', 'O' } },
                      { 7, 1, nil, { 'Peter' }, { 'I-PER' } } }, got)
  end)

  it('are refused with file and line', function()
    local function try(name, body) return function() read(records.open(file(name, body))) end end
    refused(3, 'a.tsv:3: 1 column, expected 2 (x, y)', try('a.tsv', 'x\ty\n1\t2\n3\n'))
    refused(3, 'a.tsv: is empty, expected a line of column names', try('a.tsv', ''))
    refused(3, 'a.csv:2: a quoted cell is not closed', try('a.csv', 'x,y\n1,"2\n3\n'))
    refused(3, 'a.csv:2: column 1 goes on after its closing quote', try('a.csv', 'x,y\n"1"2,3\n'))
    refused(3, 'a.csv:2: column 2 has a quote inside', try('a.csv', 'x,y\n1,2"\n'))
    refused(3, 'a.jsonl:2: not valid JSON', try('a.jsonl', '{}\n{"a":\n'))
    refused(3, 'a.jsonl:1: expected a JSON object', try('a.jsonl', '[1]\n'))
    refused(3, 'a.conll:2: 3 columns, expected 2', try('a.conll', 'a O\nb O O\n'))
    refused(2, 'its format cannot be told from its name, expected one of text, tsv', records.open, file('a.bin', ''))
    refused(2, "its format is 'xml'", records.open, file('a.bin', ''), { format = 'xml' })
    refused(3, 'nothere.tsv', records.open, dir .. '/nothere.tsv')
  end)

  it('that are malformed are kept where the caller asks, in their place', function()
    local function bad(name, body)
      local out = {}
      for record in records.open(file(name, body), { keep = true }):each() do
        out[#out + 1] = { record.line, record.raw, record.bad or false }
      end
      return out
    end
    assert.are.same({ { 2, '1\t2', false }, { 3, '', 'an empty line' }, { 4, '3', '1 column, '
      .. 'expected 2 (x, y)' }, { 5, '4\t5', false } }, bad('a.tsv', 'x\ty\n1\t2\n\n3\n4\t5\n'))
    assert.are.same({ { 2, '', false } }, bad('b.tsv', 'x\n\n'))
    local list = bad('a.jsonl', '{"a": 1}\n\n{\n{"a": 2}\n')
    assert.are.same({ 4, false, '' }, { #list, list[4][3], list[2][2] })
    assert.are.equal('an empty line', list[2][3])
    assert.is_truthy(list[3][3]:find 'not valid JSON')
    list = bad('a.csv', 'x,y\n1,"2\n')
    assert.are.same({ { 2, '1,"2', 'a quoted cell is not closed' } }, list)
  end)

  it('use a given table again', function()
    local r = records.open(file('a.tsv', 'x\ty\n1\t2\n3\t4\n'))
    local one = {}
    assert.are.equal(one, r:next(one))
    assert.are.same({ '1', '2' }, { one[1], one[2] })
    assert.are.equal(one, r:next(one))
    assert.are.same({ '3', '4', 3 }, { one[1], one[2], one.line })
    assert.is_nil(r:next(one))
  end)

  it('come out of gz and zst, and their format out of the name below', function()
    file('a.tsv', 'x\ty\n1\t2\n')
    os.execute(('gzip -k %s/a.tsv'):format(dir))
    assert.are.same({ { '1', '2' } }, (all(records.open(dir .. '/a.tsv.gz'))))
    assert.are.same({ 'tsv', 'jsonl', 'conll' }, { records.format_of 'a/b.tsv.zst', records.format_of 'x.JSONL',
      records.format_of 'eng.testa' })
    assert.is_nil(records.format_of 'a.b/train')
  end)
end)

describe('standard input', function()
  local function pipe(command, code)
    local path = file('script.lua', code)
    local f = io.popen(('%s | %s %s 2>&1'):format(command, host.exe(), path))
    local out = f:read '*a'
    f:close()
    return out
  end

  local printer = "for r in require('datamux.data.records').open('-', { format = 'text' }):each() do\n"
    .. "  io.write(r.line, ' ', r.raw, '\\n')\nend\n"

  it('is read as it arrives, before it ends', function()
    local out = pipe("(printf 'a\\nb'; sleep 1; printf 'c\\nd\\n'; sleep 1)", [[
      local reader = require 'datamux.data.reader'
      local r = require('datamux.data.records').open('-')
      local t = os.time()
      print(r:next().raw, r:waiting(), reader.ready(1))
      print(r:next().raw, r:waiting())
      print(r:next().raw, r:waiting(), os.time() - t <= 2)
      print(r:next(), reader.ready(0))]])
    assert.are.equal('a\ttrue\tfalse\nbc\tfalse\nd\ttrue\ttrue\nnil\ttrue\n', out)
  end)

  it('is told by its first bytes, also when they come one by one', function()
    assert.are.equal('1 x\n2 y\n', pipe("printf 'x\\ny\\n' | gzip -c", printer))
    assert.are.equal('1 x\n', pipe("printf 'x\\n' | gzip -c | (head -c 1; sleep 0.3; cat)", printer))
    assert.are.equal('1 (\n2 \31\n', pipe("(printf '('; sleep 0.2; printf '\\n\\037')", printer))
    assert.are.equal('', pipe("printf ''", printer))
  end)
end)
