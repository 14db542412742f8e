-- explain_spec.lua -- every error number has a page, every page is used, and no error goes without a number.
local lfs = require 'lfs'
local sys = require 'datamux.sys'
local errors = require 'datamux.errors'
local explain = require 'datamux.explain'

local function files(dir, out)
  out = out or {}
  for name in lfs.dir(dir) do
    local path = dir .. '/' .. name
    if name:sub(1, 1) ~= '.' then
      if lfs.attributes(path, 'mode') == 'directory' then
        files(path, out)
      elseif path:find '%.lua$' and not path:find 'explain%.lua$' then
        out[#out + 1] = path
      end
    end
  end
  return out
end

-- Numbers named in code, and where.
local used = {}
for _, path in ipairs(files 'lua/datamux') do
  for id in sys.read(path):gmatch "'(E%d%d%d)'" do used[id] = used[id] or path end
end

describe('error numbers', function()
  it('each have a page', function()
    for id, path in pairs(used) do assert.is_truthy(explain.page(id), ('%s (%s) has no page'):format(id, path)) end
  end)

  it('stand on no page that nothing uses', function()
    for _, id in ipairs(explain.numbers()) do assert.is_truthy(used[id], id .. ' is used nowhere') end
  end)

  it('go with every error', function()
    for _, path in ipairs(files 'lua/datamux') do
      for line in sys.read(path):gmatch '[^\n]+' do
        assert.is_nil(line:match 'errors%.raise%(%d', path .. ': an error without a number: ' .. line)
      end
    end
  end)

  it('have pages of 3 to 10 lines with a title, and exit with their class', function()
    for id, p in pairs(explain.pages) do
      local n = select(2, p[2]:gsub('[^\n]+', ''))
      assert.is_true(n >= 1 and n <= 10, ('%s has %d lines'):format(id, n))
      assert.is_true(#p[1] > 5 and #p[1] < 70, id)
      local ok, e = pcall(errors.raise, id, { what = 'something', fix = 'this' })
      assert.is_false(ok)
      assert.are.equal(tonumber(id:sub(2, 2)), e.code)
      assert.are.equal('something\n  fix: this', tostring(e))
    end
  end)
end)

describe('an error', function()
  it('says what, where, why, what was meant and the fix, in this order', function()
    local _, e = pcall(errors.raise, 'E201', { what = 'w', where = 'here', why = 'so', near = 'n', fix = 'f' })
    assert.are.equal('w\n  where: here\n  why: so\n  did you mean: n?\n  fix: f', e.message)
    assert.are.same({ 'E201', 2 }, { e.id, e.code })
    _, e = pcall(errors.raise, 'E303', 'as text')
    assert.are.same({ 'E303', 3, 'as text' }, { e.id, e.code, e.message })
  end)
end)
