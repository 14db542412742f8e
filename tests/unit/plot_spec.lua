-- plot_spec.lua -- pictures: what is drawn, what is refused, and that nothing is left half-written.
local plot = require 'datamux.plot'
local sys = require 'datamux.sys'

local dir

before_each(function()
  dir = os.tmpname()
  os.remove(dir)
  sys.mkdir(dir)
end)

after_each(function() sys.remove(dir) end)

local drawn = os.execute 'gnuplot --version > /dev/null 2>&1' == 0

-- A case that needs gnuplot; pending, with the reason, where it is not installed.
local function pictured(name, fn)
  it(name, function()
    if not drawn then return pending 'gnuplot is not installed' end
    fn()
  end)
end

local function refused(code, part, o)
  local ok, e = pcall(plot.draw, o)
  assert.is_false(ok)
  assert.are.equal(code, type(e) == 'table' and e.code, tostring(e))
  assert.is_truthy(tostring(e):find(part, 1, true), tostring(e))
end

local function contains(text, part)
  assert.is_truthy(text:find(part, 1, true), ('expected "%s" in: %s'):format(part, text:sub(1, 2000)))
end

-- The texts in an SVG, as a reader sees them: "|step|loss (nats)|..|".
local function words(path)
  local out = {}
  for text in sys.read(path):gmatch '<text[^>]*>(.-)</text>' do
    out[#out + 1] = text:gsub('<.->', ''):gsub('&lt;', '<'):gsub('&gt;', '>'):gsub('&#39;', "'"):gsub('%s+', ' ')
      :gsub('^ ', ''):gsub(' $', '')
  end
  return '|' .. table.concat(out, '|') .. '|'
end

describe('a picture', function()
  pictured('has its title, axes, legend and limits in an SVG', function()
    local path = dir .. '/deep/loss.svg'
    assert.are.equal(path, plot.draw { { label = 'sst2_n20', x = { 1, 2, 3 }, y = { 3, 2, 1 } },
      { label = "it's <b>", x = { 1, 2, 3 }, y = { 2, 2, 0 / 0 } }, title = 'Loss', x = 'step', y = 'loss (nats)',
      limits = { { y = 0.5, label = 'chance' }, { x = 2, label = 'task begins' } }, out = path })
    for _, word in ipairs { 'Loss', 'step', 'loss (nats)', 'sst2_n20', "it's <b>", 'chance', 'task begins' } do
      contains(words(path), '|' .. word .. '|')
    end
    contains(sys.read(path), '</svg>')
    assert.are.same({ 'loss.svg' }, sys.list(dir .. '/deep'))
  end)

  pictured('of nothing but undefined values is empty, also on logarithmic axes', function()
    for _, base in ipairs { false, 2 } do
      assert.are.equal(dir .. '/none.svg', plot.draw { { x = { 1, 2 }, y = { 0 / 0, 0 / 0 } }, x_log = base or nil,
        y_log = base or nil, out = dir .. '/none.svg' })
    end
  end)

  pictured('is a PNG by its ending, and by its format', function()
    for _, o in ipairs { { out = dir .. '/a.png' }, { out = dir .. '/b.svg', format = 'png' } } do
      o[1] = { y = { 1, 4, 2 } }
      assert.are.equal('\137PNG', sys.read(plot.draw(o)):sub(1, 4))
    end
  end)

  pictured('is text without escape codes when there is no path', function()
    local text = plot.draw { { label = 'up', y = { 1, 2, 3 } }, y = 'accuracy', x = 'step', columns = 60, lines = 15 }
    contains(text, 'accuracy')
    contains(text, 'step')
    contains(text, 'up')
    assert.is_nil(text:find '[\27\f\r]')
    for line in text:gmatch '[^\n]+' do assert.is_true(#line <= 60, line) end
    assert.are.equal(text, sys.read(plot.draw { { label = 'up', y = { 1, 2, 3 } }, y = 'accuracy', x = 'step',
      columns = 60, lines = 15, out = dir .. '/deep/a.txt' }))
  end)

  pictured('ticks each N of a base-2 axis', function()
    local text = words(plot.draw { { x = { 1, 2, 5, 10, 20, 40 }, y = { 9, 8, 7, 6, 5, 4 } }, x_log = 2,
      out = dir .. '/n.svg' })
    for _, n in ipairs { 1, 2, 5, 10, 20, 40 } do contains(text, ('|%d|'):format(n)) end
  end)

  pictured('starts bars at zero, names them and writes their values', function()
    local text = words(plot.draw { { x = { 'sst2', 'mnli' }, y = { 0.9, 0.8 }, error = { 0.01, 0.02 } },
      kind = 'bars', values = '%.3f', out = dir .. '/b.svg' })
    for _, word in ipairs { 'sst2', 'mnli', '0.900', '0.800', '0' } do contains(text, '|' .. word .. '|') end
  end)

  pictured('averages long series down and draws a smoothed line over the pale values', function()
    local y = {}
    for i = 1, 50000 do y[i] = math.sin(i / 5000) + (i % 7) / 7 end
    local path = plot.draw { { y = y, smooth = 0.99 }, out = dir .. '/long.svg' }
    assert.is_true(#sys.read(path) < 150000)
    contains(sys.read(path), "opacity='0.31'")
  end)

  pictured('of a single value, and of none that is finite, is still one', function()
    for k, y in ipairs { { 0.5 }, { 0 / 0, math.huge } } do
      contains(sys.read(plot.draw { { y = y }, out = ('%s/%d.svg'):format(dir, k) }), '</svg>')
    end
  end)

  it('refuses what does not fit, naming it', function()
    refused(2, 'there is no series', { out = 'x.svg' })
    refused(2, "series 1 is number, expected { label, x = list, y = list }", { 3 })
    refused(2, 'series 1 has 2 values of x, expected 3 as of y', { { x = { 1, 2 }, y = { 1, 2, 3 } } })
    refused(2, "Did you mean 'lines'?", { { y = { 1 } }, kind = 'linse' })
    refused(2, "format is 'gif', expected svg, png or text", { { y = { 1 } }, out = 'x.gif' })
    refused(2, 'out is missing', { { y = { 1 } }, format = 'svg' })
    refused(2, "x[2] of series 1 is 'b', expected a number", { { x = { 1, 'b' }, y = { 1, 2 } } })
    refused(2, 'smooth of series 1 is 1', { { y = { 1 }, smooth = 1 } })
    refused(2, 'x is 0, expected values above 0 on a logarithmic axis', { { x = { 0, 1 }, y = { 1, 2 } }, x_log = 2 })
    refused(2, 'limits[1] has neither x nor y', { { y = { 1 } }, limits = { { label = 'lost' } } })
  end)

  it('that cannot be written is refused, and leaves nothing', function()
    sys.write(dir .. '/file', 'old')
    refused(4, 'file', { { y = { 1 } }, out = dir .. '/file/x.svg' })
    sys.mkdir(dir .. '/folder.svg')
    refused(4, 'it is a folder', { { y = { 1 } }, out = dir .. '/folder.svg' })
    refused(4, '/proc/x.svg: cannot be written', { { y = { 1 } }, out = '/proc/x.svg' })
    assert.are.same({ 'file', 'folder.svg' }, sys.list(dir))
  end)

  it('without gnuplot is refused with the package to install', function()
    local exe = require('datamux.host').exe()
    local code = ('local ok, e = pcall(require([[datamux.plot]]).draw, { { y = { 1 } }, out = [[%s/x.svg]] }) '
      .. 'print(e.code, e.message)'):format(dir)
    local p = io.popen(("PATH=/nowhere %s -e '%s'"):format(exe, code))
    local said = p:read '*a'
    p:close()
    assert.are.equal('4\tgnuplot is not installed; it draws the pictures\n  fix: apt install gnuplot-nox\n', said)
    assert.are.same({}, sys.list(dir))
  end)
end)
