-- tmux.lua -- class TMux: the multiplexed Transformer, from token ids of N instances to N answers.
--
-- embedding (bound to keys, summed over N) -> encoder -> demultiplexer -> task head and retrieval head.
-- The index lists that say which (instance, position) pairs are wanted are made on the host, by prepare().
-- Sources: DataMUX (Murahari et al. 2022); multiplexers, demultiplexers and read-outs: docs/method.md.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local fault = require 'datamux.fault'
local Module = require 'datamux.nn.module'
local Encoder = require('datamux.nn.encoder').Encoder
local MuxEmbedding = require 'datamux.nn.embedding'
local Demux = require 'datamux.nn.demux'
local Head = require 'datamux.nn.head'
local Linear = require 'datamux.nn.linear'
local LayerNorm = require 'datamux.nn.norm'
local mux = require 'datamux.ops.mux'
local loss = require 'datamux.ops.loss'
local order = require 'datamux.ops.order'
local outputs = require 'datamux.models.outputs'
local C, upload = core.C, outputs.upload

local TMux = Module.class 'TMux'

local IGNORE = outputs.IGNORE
local i32 = ffi.typeof 'int32_t[?]'

--- o: { vocab = { size, pad }, layers, width, heads, inner, dropout, positions, eps, init, classes, twice,
---      output = 'classify' | 'regress' | 'tag'           (see models/outputs.lua)
---      n, mux, norm, overlap, reduce, learn, skip,       multiplexer (see MuxEmbedding)
---      demux, key, rank, read, retrieval, tied, mask }   see the recipe's schema for each
--- The table has size + n + 2 rows where ids are added: index rows, a filler and the added CLS.
function TMux.new(o)
  local self = Module.init(TMux, { o = o, output = o.output or 'classify' })
  local spec = Demux.get(o.demux)
  self.prefix = Demux.positions(o.demux, o.n, o.read)
  self.overwrite = spec.overwrite and self.prefix == 0
  self.rows = o.vocab.size + ((self.prefix > 0 or self.overwrite) and o.n + 2 or 0)
  self.filler, self.cls = o.vocab.size + o.n, o.vocab.size + o.n + 1
  self:child('embeddings', MuxEmbedding.new {
    vocab = self.rows, positions = o.positions, width = o.width, dropout = o.dropout, eps = o.eps, init = o.init,
    pad = o.vocab.pad, pad_position = o.twice and 1 or nil, n = o.n, mux = o.mux or 'hadamard', norm = o.norm,
    overlap = o.overlap, reduce = o.reduce, learn = o.learn, twice = o.twice, type = o.twice, skip = o.skip })
  self:child('encoder', Encoder.new(o))
  local function demux()
    return Demux.new { kind = o.demux, n = o.n, width = o.width, rank = o.rank, init = o.init, eps = o.eps,
                       dropout = o.dropout, key = o.key == 'mux' and self.embeddings:keys() or nil }
  end
  self:child('demux', demux(), 'demultiplexer')
  self:child('head', Head.new { width = o.width, classes = o.classes, init = o.init, eps = o.eps, deep = spec.deep,
                                flat = self.output == 'tag' }, 'classifier')
  local shared = o.retrieval == 'shared'
  self.retrieval_demux = shared and self.demux or self:child('own_demux', demux(), 'retrieval_head.demultiplexer')
  if spec.deep then
    self:child('dense', Linear.new(o.width, o.width, { act = 'gelu', init = o.init }), 'retrieval_head.dense')
    self:child('norm', LayerNorm.new(o.width, { eps = o.eps }), 'retrieval_head.LayerNorm')
  end
  if o.tied then
    self.decoder = self.embeddings.word
  else
    self:param('decoder', { o.vocab.size, o.width }, o.init)
  end
  self:param('decoder_bias', { o.tied and self.rows or o.vocab.size }, { fill = 0 })
  return self
end

--- Number of positions of the mixed sequence for instances of length s.
function TMux:length(s) return s + self.prefix end

-- -- host side: which pairs are wanted -------------------------------------------------------------

-- Bits of stream `site` for this step, as a generator of whole numbers below n (rejection-free: 32 bits, n small).
local counter, key, bits = ffi.new 'uint32_t[4]', ffi.new 'uint32_t[2]', ffi.new 'uint32_t[4]'
local function stream(seed, site, step)
  local block, used = 0, 4
  return function(n)
    if used == 4 then
      counter[0], counter[1], counter[2], counter[3] = block, 0, site, step
      key[0], key[1] = seed % 4294967296, math.floor(seed / 4294967296)
      C.dm_philox(bits, counter, key)
      block, used = block + 1, 0
    end
    used = used + 1
    return math.floor(bits[used - 1] / 4294967296 * n)
  end
end

local SITE_ALIVE, SITE_WHO = 401, 402

-- The batch with `count` instances of each row left, drawn without replacement: the others have no tokens.
local function thinned(batch, count, o)
  local B, N = batch.B, batch.N
  local length, draw, slot = i32(B * N), stream(o.seed, SITE_ALIVE, o.step), i32(N)
  for b = 0, B - 1 do
    for i = 0, N - 1 do slot[i] = i end
    for k = 0, count - 1 do
      local j = k + draw(N - k)
      slot[k], slot[j] = slot[j], slot[k]
      length[b * N + slot[k]] = batch.length[b * N + slot[k]]
    end
  end
  return setmetatable({ length = length }, { __index = batch })
end

-- Ids as the embedding sees them: [B, N, prefix + S], with the prefix in front or the first token overwritten.
function TMux:with_prefix(batch)
  local B, N, S, P = batch.B, batch.N, batch.S, self.prefix
  if P == 0 and not self.overwrite then return batch.ids_host, S end
  local T = P + S
  local out = i32(B * N * T)
  for r = 0, B * N - 1 do
    local at = r * T
    for j = 0, P - 2 do out[at + j] = self.filler end
    if P > 1 then out[at + r % N] = self.o.vocab.size + r % N end
    ffi.copy(out + at + P, batch.ids_host + r * S, 4 * S)
    out[at + math.max(P - 1, 0)] = self.cls
  end
  return out, T
end

-- Position ids of RoBERTa: 2, 3, .. for tokens, 1 for pads; and those of the second pass.
local function published_positions(self, ids, B, N, T, pad)
  local pos, zeros, again = i32(B * N * T), i32(B * T), i32(B * T)
  for r = 0, B * N - 1 do
    local k = 1
    for s = 0, T - 1 do
      local token = ids[r * T + s] ~= pad
      if token then k = k + 1 end
      pos[r * T + s] = token and k or 1
    end
  end
  for r = 0, B * T - 1 do again[r] = 2 + r % T end
  return pos, { zeros = order.list(self.training, zeros, B * T, 1, { B, T }), posid = upload({ B, T }, again) }
end

-- What matrices need to be bound step by step: every position id, every type id (where there are types: q.twice), and
-- the rows that are no pads.
local function matrix_lists(self, q, ids, B, N, T, pad)
  local n = B * N * T
  if q.twice then q.types = order.list(self.training, i32(n), n, 1, { B, N, T }) end
  if not q.posid then
    local pos = i32(n)
    for r = 0, n - 1 do pos[r] = r % T end
    q.posid = upload({ B, N, T }, pos)
  end
  if not pad then return end
  local tokens = i32(n)
  for r = 0, n - 1 do tokens[r] = ids[r] == pad and -1 or r end
  q.tokens = order.list(self.training, tokens, n, n)
end

--- Host lists and tensors for one batch; while it trains with what a backward pass needs.
---   batch: { ids_host int32[B*N*S], length int32[B*N], B, N, S, and targets (see models/outputs.lua) }
---   o: { seed, step, alive (instances mixed in, default all), retrieval (targets per position, 0 = none),
---        task (want the task's pairs) }
--- q.task.at, for tagging: host int32, for each row of the logits its place r S + s in the batch.
function TMux:prepare(batch, o)
  local m = self.o
  local B, N, S, P = batch.B, batch.N, batch.S, self.prefix
  local ids, T = self:with_prefix(batch)
  local count = math.min(o.alive or N, N)
  if count < N then batch = thinned(batch, count, o) end
  local retrieval = (o.retrieval or 0) > 0
  local q = { B = B, N = N, S = S, T = T, batch = batch }
  if o.task and not retrieval then self:leading(q) end
  q.ids = upload({ B, N, T }, ids)
  if self.training then q.order = order.make(ids, B * N * T, self.rows)
  else order.look(ids, B * N * T, self.rows) end
  if m.twice then
    local pos
    pos, q.twice = published_positions(self, ids, B, N, T, m.vocab.pad)
    q.posid = upload({ B, N, T }, pos)
  end
  if self.embeddings.matrices then matrix_lists(self, q, ids, B, N, T, m.skip and m.vocab.pad) end
  if count < N then
    local weight, full = ffi.new(core.real .. '[?]', B * N), self.embeddings:weight_of(count)
    for r = 0, B * N - 1 do weight[r] = batch.length[r] > 0 and full or 0 end
    q.weight = upload({ B, N }, weight, 'f32')
  end
  local longest = i32(B)
  for r = 0, B * N - 1 do
    local b = math.floor(r / N)
    if batch.length[r] > longest[b] then longest[b] = batch.length[r] end
  end
  if m.mask == 'or' then
    local mask = i32(B * T)
    for b = 0, B - 1 do
      for s = 0, T - 1 do mask[b * T + s] = s < P + longest[b] and 1 or 0 end
    end
    q.mask = upload({ B, T }, mask)
  end
  if self.demux.spec.prefix then
    local rows = i32(B * N)
    for r = 0, B * N - 1 do rows[r] = math.floor(r / N) * q.T + r % N end
    q.prefix_rows = order.list(self.training, rows, B * N, B * q.T)
  end
  if retrieval then self:want_retrieval(q, ids, o) end
  if o.task then self:want_task(q, longest) end
  return q
end

-- Where the read-out looks at the first positions alone, only these leave the last layer: their rows, and T of what
-- follows.
function TMux:leading(q)
  local read, P, T = self.o.read, self.prefix, q.T
  local n = read == 'cls' and P or read == 'first' and P + 1 or T
  if n >= T then return end
  local rows = i32(q.B * n)
  for r = 0, q.B * n - 1 do rows[r] = math.floor(r / n) * T + r % n end
  q.leading, q.T = order.list(self.training, rows, q.B * n, q.B * T), n
end

-- The key row of instance i in row b.
function TMux:who(b, i, N) return self.demux.spec.prefix and b * N + i or i end

-- A list of n pairs for a demultiplexer, from the host's. They lie in rows of q.B N keys and q.B q.T states at most.
function TMux:listed(q, demux, who, where, n)
  local pairs = { n = n, who = order.list(self.training, who, n, q.B * q.N),
                  where = order.list(self.training, where, n, q.B * q.T) }
  demux:plan(pairs, who, where, n)
  return pairs
end

-- One (or o.retrieval) of the instances that have a token there, for every position: the pairs and their targets.
-- An overwritten first token is nobody's, and not asked for (of a tagging model it is, as published).
function TMux:want_retrieval(q, ids, o)
  local B, N, S, T, P = q.B, q.N, q.S, q.T, self.prefix
  local length = q.batch.length
  local most = math.max(B * S * math.min(o.retrieval, N), 1)
  local who, where, target, who_of = i32(most), i32(most), i32(most), i32(N)
  local draw, n = stream(o.seed, SITE_WHO, o.step), 0
  for b = 0, B - 1 do
    for s = self.overwrite and self.output ~= 'tag' and 1 or 0, S - 1 do
      local k = 0
      for i = 0, N - 1 do
        if s < length[b * N + i] then
          who_of[k] = i
          k = k + 1
        end
      end
      for d = 0, math.min(o.retrieval, k) - 1 do
        local j = d + draw(k - d)
        who_of[d], who_of[j] = who_of[j], who_of[d]
        who[n] = self:who(b, who_of[d], N)
        where[n] = b * T + P + s
        target[n] = ids[(b * N + who_of[d]) * T + P + s]
        n = n + 1
      end
    end
  end
  for k = n, most - 1 do who[k], target[k] = self:who(0, k % N, N), IGNORE end
  n = outputs.room(n, most)
  q.retrieval = self:listed(q, self.retrieval_demux, who, where, n)
  q.retrieval.target = upload({ n }, target)
end

-- Every token of every instance; spans of instances where they are averaged.
function TMux:want_tokens(q)
  local N, T, P, batch = q.N, q.T, self.prefix, q.batch
  local n = outputs.room(outputs.tokens(batch), q.B * N * q.S)
  local who, where, span = i32(math.max(n, 1)), i32(math.max(n, 1)), i32(2 * q.B * N)
  outputs.each_token(batch, function(k, r, s)
    local b = math.floor(r / N)
    who[k], where[k] = self:who(b, r % N, N), b * T + P + s
  end)
  local at = 0
  for r = 0, q.B * N - 1 do
    span[2 * r], span[2 * r + 1] = at, at + batch.length[r]
    at = at + batch.length[r]
  end
  q.task = self:listed(q, self.demux, who, where, n)
  q.task.span = self.o.read == 'pool' and upload({ q.B * N, 2 }, span) or nil
end

-- One vector of each row for all its instances: the added CLS, the first token, or (mean) the row's average.
function TMux:want_rows(q, longest)
  local B, N, T, P, read = q.B, q.N, q.T, self.prefix, self.o.read
  local who, where, span = i32(B * N), i32(B * N), i32(2 * B)
  local offset = read == 'cls' and P - 1 or P
  for r = 0, B * N - 1 do
    local b = math.floor(r / N)
    who[r] = self:who(b, r % N, N)
    where[r] = read == 'mean' and b or b * T + offset
  end
  for b = 0, B - 1 do span[2 * b], span[2 * b + 1] = b * T + P, b * T + P + longest[b] end
  q.task = self:listed(q, self.demux, who, where, B * N)
  q.task.span = read == 'mean' and upload({ B, 2 }, span) or nil
end

-- What the read-out asks for, and the targets.
function TMux:want_task(q, longest)
  local read = self.o.read
  if read == 'pool' or read == 'token' then self:want_tokens(q) else self:want_rows(q, longest) end
  outputs.want(q.task, self.output, q.batch)
end

-- -- device side -------------------------------------------------------------------------------------

--- Mixed states [B, T, C] of a prepared batch; [B*q.T, C] where only the leading positions are wanted.
function TMux:states(q)
  local x = self:run('embeddings', self.embeddings, q)
  return self:run('encoder', self.encoder, x, q.mask, q.leading)
end

-- The states in which a demultiplexer with a prefix finds its keys; nil for those without.
function TMux:prefix_of(q, x)
  return q.prefix_rows and { x = x, rows = q.prefix_rows } or nil
end

--- What the head sees, from the mixed states, by the read-out of the model: one vector per instance, [B*N, C], or
--- (token) one per token of each.
function TMux:read(q, x)
  local d, t, read = self.demux, q.task, self.o.read
  fault.path[#fault.path + 1] = 'demultiplexer'
  local z
  if read == 'mean' then
    z = d:pairs(d:begin(mux.meanpool(x, t.span), self:prefix_of(q, x)), t)
  elseif read ~= 'pool' then
    z = d:pairs(self:begin(q, x), t)
  elseif d.rank > 0 then
    z = d:finish(mux.meanpool(d:inner(self:begin(q, x), t), t.span))
  else
    z = mux.meanpool(d:pairs(self:begin(q, x), t), t.span)
  end
  fault.path[#fault.path] = nil
  return z
end

-- The demultiplexer's per-position work, shared by task and retrieval where they share the module.
function TMux:begin(q, x, demux)
  demux = demux or self.demux
  if q.began_for == demux then return q.began end
  local state = demux:begin(x, self:prefix_of(q, x))
  q.began, q.began_for = state, demux
  return state
end

--- Task logits [B*N or tokens, classes].
function TMux:logits(q, x) return self:run('classifier', self.head, self:read(q, x)) end

--- Retrieval loss [1] and hits i32 [2] (right, asked).
function TMux:retrieve(q, x)
  local r = q.retrieval
  fault.path[#fault.path + 1] = 'retrieval_head'
  local z = self.retrieval_demux:pairs(self:begin(q, x, self.retrieval_demux), r)
  if self.dense then z = self:run('LayerNorm', self.norm, self:run('dense', self.dense, z)) end
  local l, hits = loss.linear_xent(z, self.decoder, self.decoder_bias, r.target, { ignore = IGNORE })
  fault.path[#fault.path] = nil
  return l, hits
end

--- Everything a step asks for: { logits, task (loss), retrieval (loss), hits }; fields absent where not asked.
function TMux:forward(q)
  local x = self:states(q)
  local out = {}
  if q.task then
    out.logits = self:logits(q, x)
    out.task = outputs.loss(out.logits, q.task, self.output)
  end
  if q.retrieval then out.retrieval, out.hits = self:retrieve(q, x) end
  return out
end

TMux.IGNORE = IGNORE
return TMux
