-- estimate.lua -- what a plan costs before it is run: operations of its matrix products, and seconds at a measured
-- rate. Good to a factor of about two: passes over memory, scoring and uneven lengths are left out.
local core = require 'datamux.ffi'
local separate = require 'datamux.nn.demux'
local C = core.C

local M = {}

-- Multiply-adds of separating `pairs` (instance, position) pairs of one row from `states` positions, with split
-- weights: the state's part once per position, the key's part per key, or per pair where keys are unbound. The layers
-- of mlp: once per pair.
local function demux(c, states, pairs)
  local W, inner = c.model.width, c.demux.rank > 0 and c.demux.rank or c.model.width
  local up = c.demux.rank > 0 and pairs * inner * W or 0
  if c.demux.kind == 'unbind' then return (states + pairs) * W * inner + up end
  if c.demux.kind == 'mlp' then return pairs * W * W end
  return (states + c.mux.n) * W * inner + up
end

--- Multiply-adds of one forward pass over `rows` mixed rows of `length` tokens, by part: { encoder, retrieval, task }.
--- c: a configuration; facts: { vocab (entries), asked (retrieval: instances asked for at each position) }.
function M.forward(c, rows, length, facts)
  local W, n, asked = c.model.width, c.mux.n, facts.asked or 1
  local prefix = separate.positions(c.demux.kind, n, c.demux.read)
  local T = length + prefix
  local task = c.demux.read == 'pool' and demux(c, length, n * length) or demux(c, 1, n)
  return {
    encoder = rows * c.model.layers * (T * (4 * W * W + 2 * W * (c.model.inner or 4 * W)) + 2 * T * T * W),
    retrieval = rows * (demux(c, length, length * asked) + length * asked * W * facts.vocab),
    task = rows * (task + n * W * W) }
end

--- Operations (2 for a multiply-add) of one update over `rows` rows: forward, and twice that backward.
function M.step(c, rows, length, facts, task)
  local f = M.forward(c, rows, length, facts)
  return 2 * 3 * (f.encoder + f.retrieval + (task and f.task or 0))
end

--- Operations of a configuration's whole plan; facts: { train (texts), length (mean, in tokens), vocab }.
function M.plan(c, facts)
  local per_epoch = math.floor(facts.train / (c.train.rows * c.mux.n * c.train.accumulate))
  local steps = c.train.steps or c.train.epochs * per_epoch
  local length = c.data.fixed and c.data.length or math.min(facts.length, c.data.length)
  return c.warmup.steps * M.step(c, c.warmup.rows, length, facts, false)
    + steps * c.train.accumulate * M.step(c, c.train.rows, length, facts, true)
end

--- Operations per second of one product of size x size matrices here (default 1024), best of five.
function M.rate(size)
  local dm = require 'datamux'
  local n, best = size or 1024, math.huge
  local a, b = dm.randn(n, n), dm.randn(n, n)
  for _ = 1, 5 do
    dm.step(function()
      local t = C.dm_clock()
      dm.matmul(a, b)
      best = math.min(best, C.dm_clock() - t)
    end)
  end
  return 2 * n ^ 3 / best
end

--- Seconds as a person says them: 40 s, 12 min, 3.5 h, 6 days.
function M.words(seconds)
  if seconds < 90 then return ('%.0f s'):format(seconds) end
  if seconds < 5400 then return ('%.0f min'):format(seconds / 60) end
  if seconds < 48 * 3600 then return ('%.1f h'):format(seconds / 3600) end
  return ('%.0f days'):format(seconds / 86400)
end

return M
