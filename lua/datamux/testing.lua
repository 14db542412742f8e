-- testing.lua -- recipes under test: does one load, learn a little by heart, continue to the same bits?
--
--   local recipe = require('datamux.testing').recipe 'recipes/sst2_n20.lua'
--   recipe:check()
--   assert.is_true(recipe:smoke().value > 0.95)
--   assert.is_true(recipe:resume_is_exact())
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local checkpoint = require 'datamux.checkpoint'
local columns = require 'datamux.columns'
local fit = require 'datamux.models.fit'
local launch = require 'datamux.launch'
local log = require 'datamux.log'
local report = require 'datamux.report'
local sys = require 'datamux.sys'
local train = require 'datamux.train'

local M = {}

local Recipe = {}
Recipe.__index = Recipe

--- A recipe under test. words: key=value that hold in each of its tests.
function M.of(recipe, words) return setmetatable({ recipe = recipe, words = words or {} }, Recipe) end

--- A recipe file under test; as the spec itself, it is in no sandbox. Raises E207, E208 and what its keys raise.
function M.recipe(path) return M.of(launch.load(path, {}, { trust = true })) end

--- Resolves the recipe as it is and in each of its profiles; raises what does not fit. Returns the configurations by
--- profile ('' where it has none).
function Recipe:check()
  local out = {}
  for name in pairs(self.recipe.table.profiles or { [''] = true }) do
    out[name] = self.recipe:resolve({ 'profile=' .. (name ~= '' and name or 'auto'), unpack(self.words) }, false)
  end
  return out
end

-- The same strategies in a size that learns a few examples within seconds.
local function small(self, o)
  local recipe = self.recipe
  local words = { 'profile=small', 'device=cpu', 'precision=f32', 'warmup.steps=0', 'eval.groupings=1',
    'eval.ensemble=1', 'eval.protocol=full', 'eval.bootstrap=0', 'train.accumulate=1', 'train.alpha=0',
    'train.patience=none', 'train.schedule=constant', 'train.warmup=0', 'train.rows=4', 'data.limit=' .. o.limit,
    'train.steps=' .. o.steps, 'train.every=' .. o.steps, 'train.lr=' .. o.lr, 'data.draw=epoch' }
  local function add(...) for _, w in ipairs { ... } do words[#words + 1] = w end end
  local c = recipe:resolve({ 'profile=small' }, false)
  if c.mux.n > 1 then add('mux.n=' .. math.min(c.mux.n, o.n)) end
  if not fit.images(c) then
    add('model.layers=1', 'model.width=64', 'model.heads=2', 'model.inner=128', 'model.dropout=0',
      'model.vocab.kind=words', 'model.vocab.size=2000', 'data.length=' .. math.min(c.data.length, 32))
    if c.demux.rank > 0 then add 'demux.rank=16' end
  end
  add(unpack(self.words))
  add(unpack(o.words or {}))
  return (recipe:resolve(words, false))
end

local function options(o, defaults)
  o = o or {}
  for k, v in pairs(defaults) do
    if o[k] == nil then o[k] = v end
  end
  return o
end

-- A session that says nothing; on_step(session, count) is called after each update.
local function session(config, dir, on_step)
  local quiet, count, s = log.new { mode = 'none' }, 0, nil
  local step = quiet.step
  function quiet.step(self, r)
    step(self, r)
    count = count + 1
    if on_step then on_step(s, count) end
  end
  s = train.new(config, { log = quiet, run = dir })
  return s
end

--- Trains a small network of the recipe's strategies on the first examples of its task and scores it on the same ones:
--- what Session:results returns; value is the score, 1 for what was learned by heart. o: { limit = 32 examples,
--- steps = 400, n = 4 (at most so many instances), lr = 2e-3, words = further key=value }. Raises where the data are
--- not at hand (code 3).
function Recipe:smoke(o)
  local s = session(small(self, options(o, { limit = 32, steps = 400, n = 4, lr = 2e-3 })))
  s.data.dev = s.data.train
  return s:run()
end

local function bytes(s)
  local p = s.model.block.p
  return ffi.string(p:host(), p:bytes())
end

-- Trains in `dir` from its newest checkpoint on, if there is one; stops after `count` updates where count is given.
local function leg(config, dir, count)
  local s = session(config, dir, count and function(self, done) self.stop_asked = done == count end)
  if checkpoint.any(dir) then s:restore(checkpoint.load(dir)) end
  return s:run(), s
end

--- True where a training that is stopped after each of o.stops = { 3, 4 } further updates and continued ends with the
--- weights, bit for bit, of one that was left alone; else false. o: { steps = 12, stops, limit = 32, n = 4, lr }.
function Recipe:resume_is_exact(o)
  o = options(o, { limit = 32, steps = 12, n = 4, lr = 1e-3, stops = { 3, 4 } })
  local config, dirs = small(self, o), { os.tmpname(), os.tmpname() }
  for _, dir in ipairs(dirs) do
    os.remove(dir)
    sys.mkdir(dir)
  end
  local ok, same = pcall(function()
    local _, whole = leg(config, dirs[1])
    local want = bytes(whole)
    for _, count in ipairs(o.stops) do
      if leg(config, dirs[2], count) then core.raise('resume_is_exact: it ended before it was stopped') end
    end
    local done, again = leg(config, dirs[2])
    return done ~= nil and again.at.global == whole.at.global and bytes(again) == want
  end)
  for _, dir in ipairs(dirs) do sys.remove(dir) end
  if not ok then error(same, 0) end
  return same
end

--- What of the recipe's `expect` the results do not meet, as sentences. expect: the configuration's; results: what
--- Session:results returns.
function M.unmet(expect, results)
  local out = {}
  for _, e in ipairs(report.expectations(expect, results)) do
    if not e.met then
      out[#out + 1] = ('%s is %s, expected at least %g'):format(e.metric, e.value and columns.number(e.value)
        or 'not scored', e.at_least)
    end
  end
  return out
end

--- Whether a recipe expects anything.
function M.expects(expect)
  for _, e in pairs(expect or {}) do
    if e.at_least then return true end
  end
  return false
end

return M
