-- small_run.lua -- for specs: a run directory of a small untrained model with two checkpoints, in a temporary folder.
local recipe = require 'datamux.recipe'
local saved = require 'datamux.saved'
local sys = require 'datamux.sys'

--- Returns the temporary folder (to be removed), the run directory in it (runs/small/ID; best is step 10, last is step
--- 20 with other weights) and the session.
return function()
  local dir = os.tmpname()
  os.remove(dir)
  local run = dir .. '/runs/small/20261124-000000-aaaa'
  sys.mkdir(run)
  sys.write(run .. '/.datamux-run', 'datamux\n')
  sys.link('20261124-000000-aaaa', dir .. '/runs/small/latest')
  local r = recipe.new({ name = 'small', task = 'synthetic', model = { layers = 1, width = 32, heads = 2,
    vocab = { size = 300 } }, mux = { n = 4 }, data = { length = 16 }, warmup = { steps = 2 }, train = { steps = 4 } },
    'small.lua')
  local config, list = r:resolve {}
  local flat = {}
  for _, e in ipairs(list) do flat[e.path] = { value = e.value, from = e.from } end
  sys.write(run .. '/config.json', require('datamux.json').encode(flat) .. '\n')
  local log = require('datamux.log').new { mode = 'none' }
  local session = require('datamux.train').new(config, { run = run, log = log })
  saved.begin(session)
  session.at.global, session.at.best = 10, { value = 0.5, step = 10 }
  session:save 'best'
  session.model.block.p:normal(0, 0.1, 5, 5)
  session.at.global = 20
  session:save 'last'
  return dir, run, session
end
