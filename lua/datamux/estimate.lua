-- estimate.lua -- what a plan costs before it is run: operations of its matrix products, seconds at a measured rate,
-- and bytes. Time is good to a factor of about two: passes over memory, scoring and uneven lengths are left out. Bytes
-- of a step are counted tensor by tensor, at the longest text, and are good to about a tenth.
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local scope = require 'datamux.scope'
local loss = require 'datamux.ops.loss'
local mux = require 'datamux.nn.mux'
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

-- -- bytes -----------------------------------------------------------------------------------------------------------

-- Bytes of separating `pairs` (instance, position) pairs from `states` positions of `keys` keys: outputs, what the
-- backward pass reads of them, and their gradients. s: bytes of an activation.
local function separation(c, s, keys, states, pairs)
  local W, rank, kind = c.model.width, c.demux.rank, c.demux.kind
  local inner = rank > 0 and rank or W
  if kind == 'mlp' then                      -- slots: for the instance with most pairs; see demux/mlp
    local slots = (scope.records() and 2 or 1.5) * pairs
    return s * (slots * (2 + 2 * (c.model.dropout > 0 and 1 or 0) + 2 + 3 + 2 + 2) + 2 * pairs) * W + 32 * slots
  end
  local prefix = separate.get(kind).prefix and 2 * keys * W or 0
  local of_key = kind ~= 'unbind' and 2 * keys * inner or 0
  return s * (prefix + of_key + 2 * states * inner + pairs * (3 * inner + (rank > 0 and 2 * W or 0) + 2 * W))
    + 8 * pairs
end

--- Bytes of one step over `rows` mixed rows of `length` tokens at most: activations and their gradients. facts: { vocab
--- (entries), output ('classify', ...) }; task, retrieval: whether their losses are asked for; asked: instances that
--- retrieval asks for at each position.
function M.bytes(c, rows, length, facts, task, retrieval, asked)
  local m, n, s = c.model, c.mux.n, c.precision == 'bf16' and 2 or 4
  local W, I, plain = m.width, m.inner or 4 * m.width, m.kind == 'plain'
  local prefix = plain and 0 or separate.positions(c.demux.kind, n, c.demux.read)
  local T = rows * (length + prefix)
  local layer = T * (s * (16 * W + 3 * I) + 4 * (m.heads + 4))
  local encoder = c.train.recompute and m.layers * 2 * W * s * T + layer or m.layers * layer
  local embedding = T * (2 * W * s + n * 8) + (m.embed_twice and T * 6 * W * s or 0)
  if not plain and mux.matrices(c.mux.kind, { n = n, width = W, norm = c.mux.norm, overlap = c.mux.overlap,
                                              learn = c.mux.learn }) then
    embedding = embedding + T * n * W * s * (4 + (m.dropout > 0 and 2 or 0) + (c.mux.pads == 'skip' and 2 or 0))
  end
  local lists = 4 * T * n * (2 + (m.embed_twice and 1 or 0))
  local total = encoder + embedding + lists + 512               -- and the marks of a recording
  if plain then return total + (task and s * rows * 6 * W or 0) end
  if task then
    local tokens = c.demux.read == 'pool' or c.demux.read == 'token' or facts.output == 'tag'
    local pairs = tokens and rows * n * length or rows * n
    total = total + separation(c, s, rows * n, T, pairs) + 8 * s * W * (facts.output == 'tag' and pairs or rows * n)
  end
  if retrieval then
    local pairs = rows * length * math.min(asked, n)
    total = total + separation(c, s, rows * n, T, pairs) + loss.kept(pairs, facts.vocab, c.precision)
      + (separate.get(c.demux.kind).deep and pairs * 5 * W * s or 0) + 16 * pairs
  end
  return total
end

local function gigabytes(n)
  return n >= 1e9 and ('%.1f GB'):format(n / 1e9) or ('%.0f MB'):format(n / 1e6)
end

--- Raises (code 5) where a stage's step cannot fit beside the model, and says how many rows would. model: declared, not
--- yet built; data: see assemble.data; stages: see assemble.stages; room: bytes there are (0: not known, nothing is
--- refused).
function M.fit(config, model, data, stages, room)
  if not data.tok or room <= 0 then return end
  local values = 0
  for _, e in ipairs(model:tensors()) do
    local k = 1
    for _, size in ipairs(e.tensor.spec.shape) do k = k * size end
    values = values + k
  end
  local held = values * (config.precision == 'bf16' and 18 or 16)     -- value, gradient, two moments, bf16 copy
  local facts = { vocab = data.tok.vocab_size, output = data.output }
  for _, stage in ipairs(stages) do
    local retrieval = data.retrieval and (not stage.task or stage.alpha > 0)
    local function need(rows, c)
      return held + M.bytes(c or config, rows, config.data.length, facts, stage.task, retrieval, stage.targets)
    end
    local rows = stage.loader.o.rows
    if need(rows) > room then
      local fits = rows
      while fits > 0 and need(fits) > room do fits = fits - 1 end
      local again = setmetatable({ train = setmetatable({ recompute = true }, { __index = config.train }) },
        { __index = config })
      local fix = fits > 0 and ('%s.rows=%d'):format(stage.name, fits) or nil
      if not config.train.recompute and need(rows, again) <= room then
        fix = (fix and fix .. ', or ' or '') .. 'train.recompute=true'
      end
      errors.raise('E501', {
        what = ('%s.rows is %d: a step of %d x %d texts of %d tokens takes about %s, %s of it for the model, expected '
          .. 'at most the %s that %s has left'):format(stage.name, rows, rows, config.mux.n, config.data.length,
          gigabytes(need(rows)), gigabytes(held), gigabytes(room), scope.about():match '^%S+'),
        fix = fix or 'a smaller model, or a smaller data.length: not even one row fits' })
    end
  end
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
