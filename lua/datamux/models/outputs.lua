-- outputs.lua -- what a text model answers: classes or a score of each text, or classes of each token; its targets
-- and loss. TMux and Plain share it.
--
--   output      logits               target in the batch          loss
--   'classify'  [B N, classes]       label  int32[B*N]            cross-entropy; -100 is not counted
--   'regress'   [B N, 1]             score  float[] of B*N        mean squared error over the texts that are not filler
--   'tag'       [pairs, classes]     tags   int32[B*N*S]          cross-entropy; -100 is not counted
-- For 'tag' the pairs are the real tokens of every instance, text by text; task.at says where each lies in the batch.
-- A batch without targets (prediction) has none counted.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local scope = require 'datamux.scope'
local Tensor = require 'datamux.tensor'
local embed = require 'datamux.ops.embed'
local loss = require 'datamux.ops.loss'

local M = { IGNORE = -100 }

local i32 = ffi.typeof 'int32_t[?]'

--- The kinds.
M.kinds = { 'classify', 'regress', 'tag' }

--- A tensor of host values in the running step. shape: list; host: C array; dtype: 'i32' (default) or 'f32'.
function M.upload(shape, host, dtype) return Tensor.new(shape, dtype or 'i32'):put(host) end

--- How many entries a list has that is n long now and at most `most`: all, where the device records steps, so that one
--- recording serves every batch of a length; the rest refers to row 0 and asks for nothing (IGNORE). Else n.
function M.room(n, most) return scope.records() and most or n end

--- Number of real tokens of a batch.
function M.tokens(batch)
  local n = 0
  for r = 0, batch.B * batch.N - 1 do n = n + batch.length[r] end
  return n
end

--- Calls fn(k, r, s) for every real token: k counts them, r is the text (b N + i), s the position.
function M.each_token(batch, fn)
  local k = 0
  for r = 0, batch.B * batch.N - 1 do
    for s = 0, batch.length[r] - 1 do
      fn(k, r, s)
      k = k + 1
    end
  end
end

--- Logits [R, K] as a host array, and K. rows: how many of the R are answers. Raises E602 where one is no finite
--- number.
function M.host(logits, rows)
  local v, K = logits:real():host(), logits:cols()
  for k = 0, rows * K - 1 do
    if v[k] ~= v[k] or math.abs(v[k]) == math.huge then
      errors.raise('E602', ('an answer of the network is %s, expected a finite number: weights are damaged, or a value '
        .. 'overflowed'):format(tostring(v[k])))
    end
  end
  return v, K
end

--- Of the logits v[at .. at + K - 1]: the best class (from 0; of equals the first), its logit, and the sum of
--- exp(v - that), so that its probability is 1 / sum.
function M.best(v, at, K)
  local best, largest, sum = 0, v[at], 0
  for k = 1, K - 1 do
    if v[at + k] > largest then best, largest = k, v[at + k] end
  end
  for k = 0, K - 1 do sum = sum + math.exp(v[at + k] - largest) end
  return best, largest, sum
end

local function labels(batch, n)
  local out = i32(math.max(n, 1))
  for r = 0, n - 1 do out[r] = batch.label and batch.length[r] > 0 and batch.label[r] or M.IGNORE end
  return M.upload({ n }, out)
end

-- An f32 tensor in the type that activations have.
local function activation(t)
  if scope.compute == 'f32' then return t end
  return Tensor.new(t:shape()):assign(t)
end

local function scores(batch, n)
  local value, rows, k = ffi.new(core.real .. '[?]', n), i32(n), 0
  for r = 0, n - 1 do
    if batch.score and batch.length[r] > 0 and not (batch.index and batch.index[r] < 0) then
      value[k], rows[k] = batch.score[r], r
      k = k + 1
    end
  end
  if k == 0 then return nil end
  return { n = k, value = activation(M.upload({ k, 1 }, value, 'f32')), rows = k < n and M.upload({ k }, rows) or nil }
end

--- Adds the targets of a batch to the lists `task` of what is wanted: label, score, or label, at (host int32) and count
--- (how many of its entries are real). A text without tokens has none: it was not mixed in.
function M.want(task, output, batch)
  local n = batch.B * batch.N
  if output == 'regress' then
    task.score = scores(batch, n)
  elseif output == 'tag' then
    task.count = M.tokens(batch)
    local size = M.room(task.count, n * batch.S)
    local label = i32(math.max(size, 1))
    task.at = i32(math.max(size, 1))
    for k = task.count, size - 1 do label[k] = M.IGNORE end
    M.each_token(batch, function(k, r, s)
      task.at[k] = r * batch.S + s
      label[k] = batch.tags and batch.tags[task.at[k]] or M.IGNORE
    end)
    task.label = M.upload({ size }, label)
  else
    task.label = labels(batch, n)
  end
  return task
end

--- The loss [1] of logits against the targets that want made; nil where a batch has no scores.
function M.loss(logits, task, output)
  if output ~= 'regress' then return loss.xent(logits, task.label, { ignore = M.IGNORE }) end
  local t = task.score
  if not t then return nil end
  return loss.mse(t.rows and embed.gather(logits, t.rows) or logits, t.value)
end

return M
