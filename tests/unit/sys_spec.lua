-- sys_spec.lua -- files and folders: what is swapped, and what is told where it cannot be.
local sys = require 'datamux.sys'

describe('two folders', function()
  local dir
  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    for _, name in ipairs { 'a', 'b' } do
      sys.mkdir(dir .. '/' .. name)
      sys.write(dir .. '/' .. name .. '/which', name)
    end
  end)
  after_each(function() sys.remove(dir) end)

  local function which() return sys.read(dir .. '/a/which') .. sys.read(dir .. '/b/which') end

  it('are swapped, and swapped back', function()
    sys.exchange(dir .. '/a', dir .. '/b')
    assert.are.equal('ba', which())
    sys.exchange(dir .. '/a', dir .. '/b')
    assert.are.equal('ab', which())
    assert.are.same({ 'a', 'b' }, sys.list(dir))
  end)

  it('stay as they are where one is not there', function()
    local ok, e = pcall(sys.exchange, dir .. '/none', dir .. '/b')
    assert.are.same({ false, 'E401' }, { ok, e.id })
    assert.are.equal('ab', which())
  end)
end)
