-- extending_spec.lua -- the recipes printed in docs/extending.md run as they stand, with fewer steps.
local host = require 'datamux.host'
local sys = require 'datamux.sys'

local document = sys.read 'docs/extending.md'

-- The recipe of the document whose first line names `file`.
local function recipe(file)
  for block in document:gmatch '```lua[^\n]*\n(.-)```' do
    if block:find('^%-%- ' .. file:gsub('%p', '%%%0')) then return block end
  end
  error(file .. ' is not in docs/extending.md')
end

local function run(file, arguments)
  local dir = ('%s/datamux-extending-%d'):format(os.getenv 'TMPDIR' or '/tmp', sys.pid())
  sys.mkdir(dir)
  sys.write(dir .. '/' .. file, recipe(file))
  os.execute(('cd %s && DATAMUX_RUNS=%s/runs %s %s %s > out 2> err < /dev/null; echo $? > code'):format(
    dir, dir, host.exe(), file, arguments))
  local code, out, err = tonumber(sys.read(dir .. '/code')), sys.read(dir .. '/out'), sys.read(dir .. '/err')
  sys.remove(dir)
  return code, out, err
end

describe('the recipes of docs/extending.md', function()
  for file, control in pairs { ['walsh.lua'] = 'mux.kind=identity', ['shift.lua'] = 'demux.kind=rsa' } do
    it(('train: %s, and with %s'):format(file, control), function()
      for _, extra in ipairs { '', control } do
        local code, out, err = run(file, 'warmup.steps=3 warmup.rows=2 model.layers=1 ' .. extra)
        assert.are.equal(0, code, err)
        assert.is_truthy(out:find('retrieval%s+0%.%d+ on held%-out text'), out)
      end
    end)
  end

  it('have their names in what is refused', function()
    local code, _, err = run('walsh.lua', 'mux.kind=walhs')
    assert.are.equal(2, code)
    assert.is_truthy(err:find('did you mean: walsh?', 1, true), err)
  end)

  it('refuse more instances than there are rows', function()
    local code, _, err = run('walsh.lua', 'mux.n=40 model.width=32')
    assert.are.equal(2, code)
    assert.is_truthy(err:find('walsh has no more rows', 1, true), err)
  end)
end)
