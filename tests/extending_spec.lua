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

local dir = ('%s/datamux-extending-%d'):format(os.getenv 'TMPDIR' or '/tmp', sys.pid())

-- Runs the command in `dir`.
local function datamux(arguments)
  sys.write(dir .. '/in', 'the soup was good\n')
  os.execute(('cd %s && DATAMUX_RUNS=%s/runs %s %s > out 2> err < in; echo $? > code'):format(dir, dir, host.exe(),
    arguments))
  return tonumber(sys.read(dir .. '/code')), sys.read(dir .. '/out'), sys.read(dir .. '/err')
end

local function run(file, arguments)
  sys.write(dir .. '/' .. file, recipe(file))
  return datamux(file .. ' ' .. arguments)
end

describe('the recipes of docs/extending.md', function()
  before_each(function() sys.mkdir(dir) end)
  after_each(function() sys.remove(dir) end)

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

  it('make models that are read again: of a run, and of a folder where its recipe is trusted', function()
    local function ends(code, arguments, part)
      local got, out, err = datamux(arguments)
      assert.are.equal(code, got, arguments .. ': ' .. err)
      assert.is_truthy((out .. err):find(part or '', 1, true), out .. err)
      return out
    end
    sys.write(dir .. '/own.lua', (recipe('walsh.lua'):gsub('mux = { n = 5', "mux = { n = dm.arg('mux.n', 4)")))
    ends(0, 'own.lua mux.n=3 name=own warmup.steps=2 warmup.rows=2 train.steps=2 -q')
    local answer = ends(0, 'predict runs/own/latest')
    ends(0, 'eval runs/own/latest', 'N = 3')
    ends(0, 'model export runs/own/latest --to copy')
    assert.are.equal(sys.read(dir .. '/own.lua'), sys.read(dir .. '/copy/recipe.lua'))
    ends(7, 'predict copy', "copy: mux.kind is 'walsh', which the recipe beside the model registers")
    assert.are.equal(answer, ends(0, 'predict copy --trust'))
    os.remove(dir .. '/copy/recipe.lua')
    os.remove(dir .. '/copy/SHA256SUMS')
    ends(7, 'predict copy', 'which no recipe here registers')
    sys.write(dir .. '/copy/recipe.lua', sys.read(dir .. '/own.lua'))
    assert.are.equal(answer, ends(0, 'predict copy --trust'))
  end)

  it('refuse more instances than there are rows', function()
    local code, _, err = run('walsh.lua', 'mux.n=40 model.width=32')
    assert.are.equal(2, code)
    assert.is_truthy(err:find('walsh has no more rows', 1, true), err)
  end)
end)
