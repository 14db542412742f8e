-- evaluate.lua -- scoring a model: every example once per grouping, accuracy by slot, retrieval accuracy.
-- The answer to a text depends on which others share its row, so accuracy is taken over several random
-- groupings; fillers of the last group are never counted (METHOD: published scripts drop the tail instead).
local scope = require 'datamux.scope'
local loader = require 'datamux.data.loader'

local M = {}

local function argmax(v, at, k)
  local best, value = 0, v[at]
  for j = 1, k - 1 do
    if v[at + j] > value then best, value = j, v[at + j] end
  end
  return best
end

--- Scores one grouping. set: { ids, offset, n, labels }; o: { rows, group, length, pad, multiple, grouping (seed) }.
--- Returns { right, scored, slot_right = [N], slot_scored = [N], seconds }.
function M.grouping(model, set, o)
  local batches = loader.new(set, {
    rows = o.rows, group = o.group, length = o.length, pad = o.pad, multiple = o.multiple, fixed = o.fixed,
    shuffle = true, seed = o.grouping, bucket = o.bucket, drop_last = false })
  local r = { right = 0, scored = 0, slot_right = {}, slot_scored = {} }
  for i = 1, o.group do r.slot_right[i], r.slot_scored[i] = 0, 0 end
  model:train(false)
  for k = 1, batches:steps_per_epoch() do
    scope.step(function()
      local batch = batches:batch(0, k - 1)
      local q = model:prepare(batch, { seed = o.grouping, step = k, task = true })
      local logits = model:forward(q).logits
      local v, classes = logits:host(), logits:cols()
      for row = 0, logits:rows() - 1 do
        if batch.index[row] >= 0 then
          local slot = row % o.group + 1
          local right = argmax(v, row * classes, classes) == batch.label[row] and 1 or 0
          r.right, r.scored = r.right + right, r.scored + 1
          r.slot_right[slot] = r.slot_right[slot] + right
          r.slot_scored[slot] = r.slot_scored[slot] + 1
        end
      end
    end)
  end
  return r
end

--- Scores `groupings` random groupings. Returns { accuracy (mean), std, min, max, scored, total,
--- groupings = { accuracy, .. }, per_index = { accuracy of slot 1, .. } }.
function M.accuracy(model, set, o, groupings)
  local out = { groupings = {}, per_index = {}, total = set.n, scored = set.n }
  local right, seen, sum, square = {}, {}, 0, 0
  for g = 1, groupings do
    o.grouping = 7000 + g
    local r = M.grouping(model, set, o)
    local a = r.right / math.max(r.scored, 1)
    out.groupings[g], out.scored = a, math.min(out.scored, r.scored)
    sum, square = sum + a, square + a * a
    for i = 1, o.group do
      right[i], seen[i] = (right[i] or 0) + r.slot_right[i], (seen[i] or 0) + r.slot_scored[i]
    end
  end
  for i = 1, o.group do out.per_index[i] = seen[i] > 0 and right[i] / seen[i] or nil end
  out.accuracy = sum / groupings
  out.std = math.sqrt(math.max(square / groupings - out.accuracy ^ 2, 0))
  out.min, out.max = math.min(unpack(out.groupings)), math.max(unpack(out.groupings))
  return out
end

--- Retrieval accuracy on a set of texts: one random instance per position, all positions of one random grouping.
--- Returns accuracy, positions asked.
function M.retrieval(model, set, o)
  local batches = loader.new(set, {
    rows = o.rows, group = o.group, length = o.length, pad = o.pad, multiple = o.multiple, fixed = o.fixed,
    shuffle = true, seed = 7000, bucket = o.bucket, drop_last = false })
  local right, asked = 0, 0
  model:train(false)
  for k = 1, batches:steps_per_epoch() do
    scope.step(function()
      local q = model:prepare(batches:batch(0, k - 1), { seed = 7000, step = k, retrieval = 1 })
      local hits = model:forward(q).hits:host()
      right, asked = right + hits[0], asked + hits[1]
    end)
  end
  return right / math.max(asked, 1), asked
end

return M
