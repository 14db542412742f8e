-- commands/new.lua -- a project to start from: a recipe, its test, settings of busted, luacheck and editors, CI.
local M = { name = 'new', summary = 'write a project: recipe, test, settings, CI' }

function M.configure(p)
  p:argument('name', 'the folder to make')
  p:option('--task', 'what the recipe learns (datamux data ls)'):argname 'T':default 'synthetic'
end

local files = {}

files['recipes/NAME.lua'] = [[
-- NAME.lua -- a first recipe: five texts read at once. Keys and defaults: datamux help keys.
local dm = require 'datamux'

return dm.recipe {
  name = 'NAME',
  task = 'TASK',
  model = { layers = 2, width = 128, heads = 2, vocab = { kind = 'words', size = 4000 } },
  mux = { n = 5 },
  data = { length = 24 },
  warmup = { steps = 600, rows = 16, lr = 1e-3, every = 100 },
  train = { epochs = 6, rows = 16, lr = 1e-3 },
}
]]

files['tests/NAME_spec.lua'] = [[
-- NAME_spec.lua -- the recipe is valid, and learns.
local recipe = dofile 'recipes/NAME.lua'

describe('recipes/NAME.lua', function()
  it('resolves, with its values and their origins', function()
    local config, list = recipe:resolve {}
    assert.are.equal('NAME', config.name)
    assert.is_true(#list > 0)
  end)

  it('lowers its loss within a few steps', function()
    local session = recipe:session { 'warmup.steps=40', 'train.steps=0', 'data.warmup.source=task' }
    local stage = session.stages[1]
    local first, last = session:step(stage, 1).loss, nil
    for step = 2, 40 do last = session:step(stage, step).loss end
    assert.is_true(last < first, ('loss %.3f at first, %.3f at last'):format(first, last))
  end)
end)
]]

files['.busted'] = [[
return { default = { ROOT = { 'tests' }, pattern = '_spec', lua = 'datamux' } }
]]

files['.luacheckrc'] = [[
std = 'luajit'
files['tests'] = { std = '+busted' }
max_line_length = 120
]]

files['.luarc.json'] = [[
{ "runtime.version": "LuaJIT", "diagnostics.globals": ["describe", "it", "before_each", "after_each", "pending"] }
]]

files['.github/workflows/test.yml'] = [[
name: test
on: [push, pull_request]
jobs:
  test:
    runs-on: ubuntu-latest
    container: debian:12
    steps:
      - uses: actions/checkout@v4
      # datamux itself: install the package or build it here, so that `datamux` is on the PATH.
      - run: apt-get update && apt-get install -y lua-busted lua-check
      - run: luacheck .
      - run: busted
]]

files['.gitignore'] = [[
runs/
]]

files['README.md'] = [[
# NAME

    datamux recipes/NAME.lua                   train, evaluate, report
    datamux recipes/NAME.lua mux.n=10 -n       every value with its origin
    datamux check recipes/NAME.lua             data, lengths, memory, one step
    busted                                     the tests
]]

function M.run(o)
  local errors, schema, sys = require 'datamux.errors', require 'datamux.schema', require 'datamux.sys'
  local override = require 'datamux.override'
  local name = o.name:match '([^/]+)/*$'
  if not name or not name:find '^[%w_][%w_%-]*$' then
    errors.raise('E200', { what = ("the name is '%s', expected letters, digits, _ and -"):format(o.name),
                           fix = 'datamux new my_project' })
  end
  override.check('task', schema.find(schema.root, 'task'), o.task, '--task ' .. o.task)
  if sys.kind(o.name) then
    errors.raise('E218', { what = o.name .. ' is there already', fix = 'datamux new ' .. o.name .. '_2' })
  end
  local made = {}
  for path in pairs(files) do made[#made + 1] = path end
  table.sort(made)
  for _, path in ipairs(made) do
    local file = o.name .. '/' .. path:gsub('NAME', name)
    sys.mkdir(file:match '^(.*)/')
    sys.write(file, (files[path]:gsub('NAME', name):gsub('TASK', o.task)))
    print(file)
  end
  io.stdout:flush()
  io.stderr:write(('next:  cd %s && datamux recipes/%s.lua\n'):format(o.name, name))
  return 0
end

return M
