-- commands/test.lua -- datamux test RECIPE: runs a recipe and holds it to what it expects of itself.
local M = { name = 'test', summary = 'run a recipe and check what it expects; exit 10 if not met' }

function M.configure(p, take)
  p:argument('recipe', 'a recipe; expect = { accuracy = { at_least = 0.78 } } in it says what must be reached')
  p:argument('overrides', 'key=value (all keys: datamux help keys)'):args '*'
  p:flag('--smoke', 'in seconds, without the training: every profile resolves, a small network of it learns 32 '
    .. 'examples by heart (reaches --floor), and a stopped run continues to the same bits')
  p:option('--floor', 'the score that --smoke must reach'):convert(require('datamux.commands.values').number)
    :default '0.9':argname 'X'
  take(p, 'out device threads seed json verbose progress download offline trust')
end

-- Prints the outcome; returns the exit code.
local function verdict(o, name, lines, facts)
  local json, errors = require 'datamux.json', require 'datamux.errors'
  facts.name, facts.passed, facts.unmet = name, #lines == 0, json.list(lines)
  if o.json then print(json.encode(facts, true)) end
  for _, line in ipairs(lines) do io.stderr:write('not met: ', line, '\n') end
  if not o.json then print(('%s: %s'):format(name, #lines == 0 and 'passed' or 'failed')) end
  return #lines == 0 and 0 or errors.codes.gate
end

local function smoke(o, recipe)
  local testing = require 'datamux.testing'
  require('datamux.launch').device('cpu', o.threads)
  local test, lines = testing.of(recipe, o.overrides), {}
  test:check()
  local r = test:smoke()
  if r.value ~= r.value or r.value < o.floor then
    lines[1] = ('%s of what it has seen is %s, expected at least %g'):format(r.metric,
      require('datamux.columns').number(r.value), o.floor)
  end
  if not test:resume_is_exact() then lines[#lines + 1] = 'a continued run has other weights than one left alone' end
  return verdict(o, recipe.file, lines, { metric = r.metric, value = r.value })
end

function M.run(o)
  local errors, launch, testing = require 'datamux.errors', require 'datamux.launch', require 'datamux.testing'
  local recipe = launch.recipe(o)
  if o.smoke then return smoke(o, recipe) end
  local config = launch.resolve(recipe, setmetatable({ dry_run = true }, { __index = o }))
  if not testing.expects(config.expect) then
    errors.raise('E210', { what = ("%s expects nothing: 'expect' is missing"):format(recipe.file or 'the recipe'),
      fix = "expect = { accuracy = { at_least = 0.78 } } in the recipe, or expect.accuracy.at_least=0.78" })
  end
  local code, results, folder = require('datamux.commands.run').train(recipe, o, {})
  if code ~= 0 or not results then return code end
  return verdict(o, config.name, testing.unmet(config.expect, results), { run = folder, metrics = results.metrics,
    retrieval = results.retrieval })
end

return M
