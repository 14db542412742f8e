-- published.lua -- class Published: the networks of published checkpoints as their programs compute them, quirks kept.
--
--   plain       RoBERTa's or BERT's encoder, with or without a head of classification -> hidden states, logits
--   index       DataMUX (and MUX-PLM) with a prefix of index tokens
--   mlp         DataMUX with a layer for each instance
--   index_pos   MUX-PLM with private keys
-- The multiplexed ones embed each instance, mix, and embed the mixture again (positions and norm twice). The encoder
-- attends to everything, pads too. Paths are the published names, but for q, k, v (packed) and the first layer of a
-- demultiplexer (in its two halves: key, state). For running only; what is trained here is TMux.
-- Sources: DataMUX (Murahari et al. 2022), MUX-PLM (Murahari et al. 2023); docs/method.md.
local ffi = require 'ffi'
local Module = require 'datamux.nn.module'
local Tensor = require 'datamux.tensor'
local Encoder = require('datamux.nn.encoder').Encoder
local Linear = require 'datamux.nn.linear'
local LayerNorm = require 'datamux.nn.norm'
local embed = require 'datamux.ops.embed'
local mux = require 'datamux.ops.mux'
local point = require 'datamux.ops.point'
local reshape = require('datamux.ops.shape').reshape
local outputs = require 'datamux.models.outputs'
local upload = outputs.upload

local i32 = ffi.typeof 'int32_t[?]'

-- -- embeddings -----------------------------------------------------------------------------------------------------

local Embeddings = Module.class 'Embeddings'

function Embeddings.new(o)
  local self = Module.init(Embeddings, {})
  self.word = self:param('word_embeddings.weight', { o.vocab, o.width }, 0.02)
  self.position = self:param('position_embeddings.weight', { o.positions, o.width }, 0.02)
  self.type = self:param('token_type_embeddings.weight', { o.types, o.width }, 0.02)
  self:child('norm', LayerNorm.new(o.width, { eps = o.eps }), 'LayerNorm')
  return self
end

-- ids, posid, types i32 [.., T] -> [.., T, C].
function Embeddings:forward(ids, posid, types)
  local x = embed.embed(ids, self.word, { pos = self.position, posid = posid })
  return self:run('LayerNorm', self.norm, x, embed.embed(types, self.type))
end

-- The second pass: x [.., T, C] in place of the words.
function Embeddings:again(x, posid, types)
  local r = embed.embed(types, self.type, { pos = self.position, posid = posid })
  return self:run('LayerNorm', self.norm, x, r)
end

local Backbone = Module.class 'Backbone'

function Backbone.new(o)
  local self = Module.init(Backbone, {})
  self:child('embeddings', Embeddings.new(o))
  self:child('encoder', Encoder.new(o))
  return self
end

-- -- demultiplexers: mixed states h [B, T, C] -> [n, C] for the pairs of `t` ----------------------------------------
-- t: { n, who (instance), key (b N + i), where (row of h), i32 [n]; prefix i32 [B*N]; of[i] = { rows, at } i32 }.

-- W [p ; h] + b as Wp p + (Wh h + b).
local Split = Module.class 'Split'

function Split.new(c)
  local self = Module.init(Split, {})
  self:child('of_key', Linear.new(c, c, { bias = false }))
  self:child('of_state', Linear.new(c, c))
  return self
end

-- p [K, C], h [B, T, C], k, where i32 [n] -> gelu(..) [n, C].
function Split:forward(p, h, k, where)
  return mux.demux(self:run('of_key', self.of_key, p), self:run('of_state', self.of_state, h), k, where,
    { act = 'gelu' })
end

local Prefix = Module.class 'PrefixDemux'

function Prefix.new(o, self)
  self = Module.init(Prefix, self or {})
  self:child('dense', Split.new(o.width))
  self:child('norm', LayerNorm.new(o.width, { eps = o.eps }), 'layer_norm')
  return self
end

function Prefix:forward(h, t)
  local x = self:run('dense', self.dense, embed.gather(h, t.prefix), h, t.key, t.where)
  return self:run('layer_norm', self.norm, x)
end

local Each = Module.class 'EachDemux'

function Each.new(o)
  local self = Module.init(Each, { n = o.n })
  for i = 0, o.n - 1 do
    self:child('dense_' .. i, Linear.new(o.width, o.width, { act = 'gelu' }))
    self:child('layer_norm_' .. i, LayerNorm.new(o.width, { eps = o.eps }))
  end
  return self
end

function Each:forward(h, t)
  local y
  for i = 0, self.n - 1 do
    local dense, norm, of = 'dense_' .. i, 'layer_norm_' .. i, t.of[i]
    local z = self:run(norm, self[norm], self:run(dense, self[dense], embed.gather(h, of.rows)))
    z = embed.scatter(z, of.at, t.n)
    y = y and point.add(y, z) or z
  end
  return y
end

-- The keys and layers that the task and retrieval share. The task path leaves the norms out and the last layer too.
local Keys = Module.class 'KeyDemux'

function Keys.new(o)
  local self = Module.init(Keys, { depth = o.depth })
  self.keys = self:param('demux_instance_embedding', { o.n, o.width }, 1, false)
  self:child('dense_1', Split.new(o.width))
  for d = 2, o.retrieval and math.max(2, o.depth - 1) or o.depth - 1 do
    self:child('dense_' .. d, Linear.new(o.width, o.width, { act = 'gelu' }))
  end
  for d = 1, o.retrieval and 2 or 0 do self:child('layer_norm_' .. d, LayerNorm.new(o.width, { eps = o.eps })) end
  return self
end

function Keys:forward(h, t)
  local x = self:run('dense_1', self.dense_1, self.keys, h, t.who, t.where)
  for d = 2, self.depth - 1 do
    local name = 'dense_' .. d
    x = point.add(x, self:run(name, self[name], x))
  end
  return x
end

-- Of retrieval: two layers with their norms, no skips.
function Keys:normed(h, t)
  local x = self:run('dense_1', self.dense_1, self.keys, h, t.who, t.where)
  x = self:run('layer_norm_1', self.layer_norm_1, x)
  return self:run('layer_norm_2', self.layer_norm_2, self:run('dense_2', self.dense_2, x))
end

-- -- heads: from what a demultiplexer gives to logits ---------------------------------------------------------------

-- A list of layers { name, module }, one after the other, under one path.
local Chain = Module.class 'Chain'

function Chain.new(layers, self)
  self = Module.init(Chain, self or {})
  self.layers = layers
  for _, l in ipairs(layers) do self:child(l[1], l[2]) end
  return self
end

function Chain:forward(x)
  for _, l in ipairs(self.layers) do x = self:run(l[1], l[2], x) end
  return x
end

local function linear(o, d) return Linear.new(o.width, d or o.width, { act = not d and 'gelu' or nil }) end
local function norm(o) return LayerNorm.new(o.width, { eps = o.eps }) end

-- kind -> the modules of the task and of retrieval, as { demultiplexer(h, t) } and what follows.
local kinds = {}

-- Layers that stand beside a demultiplexer under its path.
local function beside(self, layers)
  local names = {}
  for i, l in ipairs(layers) do
    self:child(l[1], l[2])
    names[i] = l
  end
  self.after = names
  return self
end

local function run_all(self, x)
  for _, l in ipairs(self.after) do x = self:run(l[1], l[2], x) end
  return x
end

function kinds.index(self, o)
  local z = self:child('demultiplexer', Prefix.new(o))
  if o.family == 'muxplm' then
    self:child('classifier', Linear.new(o.width, o.classes))
    beside(z, {})
  else
    beside(z, o.output == 'tag' and { { 'decoder', linear(o, o.classes) } }
      or { { 'dense_before_out_proj', linear(o) }, { 'out_proj', linear(o, o.classes) } })
  end
  if o.retrieval then
    beside(self:child('retrieval_head', Prefix.new(o)), { { 'decoder', linear(o, o.vocab) } })
  end
end

function kinds.mlp(self, o)
  local function head(name, layers)
    local h = self:child(name, Module.init(Chain, {}))
    h:child('demux_module', Each.new(o))
    h.forward = function(m, x, t) return m:run('demux_module', m.demux_module, x, t) end
    beside(h, layers)
  end
  head('demultiplexer', { { 'dense_before_out_proj', linear(o) }, { 'layernorm_presoftmax', norm(o) },
    { 'out_proj', linear(o, o.classes) } })
  if o.retrieval then
    head('retrieval_head', { { 'dense_pre_vocab', linear(o) }, { 'layer_norm_pre_vocab', norm(o) },
      { 'decoder', linear(o, o.vocab) } })
  end
end

function kinds.index_pos(self, o)
  local keys = self:child('demux_module', Keys.new(o))
  local function pre_decoder() return { { 'pre_decoder', linear(o) }, { 'pre_decoder_layer_norm', norm(o) } } end
  local task = self:child('demultiplexer', Chain.new(pre_decoder()))
  task.after = {}
  task.forward = function(m, h, t)
    local x = keys:forward(h, t)
    return point.add(x, Chain.forward(m, x))
  end
  self:child('classifier', Linear.new(o.width, o.classes))
  if o.retrieval then
    local r = self:child('retrieval_head', Chain.new(pre_decoder()))
    local decoder = Linear.new(o.width, o.vocab)
    decoder.weight, decoder.names = self.backbone.embeddings.word, { 'bias' }          -- tied
    r.after = { { 'decoder', r:child('decoder', decoder) } }
    r.forward = function(m, h, t) return Chain.forward(m, keys:normed(h, t)) end
  end
end

-- Heads of the plain encoders, by the classes that have them:
--   pooled   BertForSequenceClassification: the encoder's pooler, then one layer
--   dense    RobertaForSequenceClassification
--   token    ..ForTokenClassification: one layer on every token
local heads = {}

function heads.pooled(self, o)
  local dense = Linear.new(o.width, o.width, { act = 'tanh' })
  local pooler = self.backbone:child('pooler', Chain.new { { 'dense', dense } })
  self:child('classifier', linear(o, o.classes))
  return function(z)
    return self:run('classifier', self.classifier, self:run(o.arch .. '.pooler', pooler, z))
  end
end

function heads.dense(self, o)
  self:child('classifier', Chain.new { { 'dense', Linear.new(o.width, o.width, { act = 'tanh' }) },
    { 'out_proj', linear(o, o.classes) } })
  return function(z) return self:run('classifier', self.classifier, z) end
end

function heads.token(self, o)
  self:child('classifier', linear(o, o.classes))
  return function(z) return self:run('classifier', self.classifier, z) end
end

-- -- the model ------------------------------------------------------------------------------------------------------

local Published = Module.class 'Published'

--- o: { arch = 'roberta' | 'bert', vocab, positions, types, width, layers, heads, inner, eps, pad (id), output =
---      'classify' | 'regress' | 'tag' and classes (where there is a head), head = 'pooled' | 'dense' | 'token' (of
---      plain ones, nil: none), eos (id that ends a text), and, of multiplexed ones, n, demux = 'index' | 'mlp' |
---      'index_pos', family = 'datamux' | 'muxplm', matrices (whether keys are [C, C]), retrieval (whether there is
---      that head), depth (layers of index_pos), ids = { filler, cls, index (of instance 0; the next are below it) } }.
function Published.new(o)
  local self = Module.init(Published, { o = o, output = o.output })
  o.dropout, o.init = 0, 0.02
  self:child('backbone', Backbone.new(o), o.arch)
  self.encoder = self.backbone.encoder
  if o.head then self.head = heads[o.head](self, o) end
  if not o.demux then return self end
  self.key = self:param('instance_embedding', o.matrices and { o.n, o.width, o.width } or { o.n, o.width }, 1, false)
  kinds[o.demux](self, o)
  self.prefix = o.demux == 'index' and o.n + 1 or 0
  return self
end

-- RoBERTa counts tokens from pad + 1 on, pads are at position pad; BERT counts places from 0.
local function positions(o, ids, rows, T)
  local out = i32(rows * T)
  for r = 0, rows - 1 do
    local k = o.pad
    for s = 0, T - 1 do
      local token = not ids or ids[r * T + s] ~= o.pad
      if token then k = k + 1 end
      out[r * T + s] = o.arch == 'bert' and s or token and k or o.pad
    end
  end
  return upload({ rows, T }, out)
end

--- Hidden states of texts, each alone: ids, types (or nil), mask (or nil: everything is attended) int32 host arrays
--- [B, S] -> [B, S, C]; with o.rows (i32 [R], places in [B, S]) only those, [R, C].
function Published:states(ids, B, S, o)
  local b, types, mask = self.backbone, o and o.types, o and o.mask
  local x = b.embeddings:forward(upload({ B, S }, ids), positions(self.o, ids, B, S),
    types and upload({ B, S }, types) or Tensor.zeros({ B, S }, 'i32'))
  return b.encoder:forward(x, mask and upload({ B, S }, mask) or nil, o and o.rows)
end

-- The ids with the prefix in front, or with the first token overwritten.
local function with_prefix(self, ids, rows, S)
  local o, P = self.o, self.prefix
  local T = P + S
  local out = i32(rows * T)
  for r = 0, rows - 1 do
    local at = r * T
    for j = 0, P - 2 do out[at + j] = o.ids.filler end
    ffi.copy(out + at + P, ids + r * S, 4 * S)
    if P > 0 then out[at + r % o.n] = o.ids.index - r % o.n end
    out[at + math.max(P - 1, 0)] = o.ids.cls
  end
  return out, T
end

--- Mixed states: ids int32 host array [B*N, S] -> [B, T, C] and T.
function Published:mixed(ids, B, S)
  local o, b = self.o, self.backbone
  local rows = B * o.n
  local full, T = with_prefix(self, ids, rows, S)
  local x = b.embeddings:forward(upload({ rows, T }, full), positions(o, full, rows, T),
    Tensor.zeros({ rows, T }, 'i32'))
  x = mux.mux(reshape(x, { B, o.n, T, o.width }), self.key, { scale = o.matrices and o.n ^ -0.5 or 1 / o.n })
  x = b.embeddings:again(x, positions(o, nil, B, T), Tensor.zeros({ B, T }, 'i32'))
  return b.encoder:forward(x), T
end

-- The pairs (instance, position): every own position of every instance, or the one that a sentence is read from.
local function pairs_of(self, B, T, tokens)
  local N, P = self.o.n, self.prefix
  local first = tokens and P or math.max(P - 1, 0)
  local S = tokens and T - P or 1
  local n = B * N * S
  local who, key, where, prefix = i32(n), i32(n), i32(n), i32(B * N)
  local t = { n = n, of = {} }
  for r = 0, B * N - 1 do
    local b, i = math.floor(r / N), r % N
    prefix[r] = b * T + i
    for s = 0, S - 1 do
      local k = r * S + s
      who[k], key[k], where[k] = i, r, b * T + first + s
    end
  end
  for i = 0, self.o.demux == 'mlp' and N - 1 or -1 do
    local rows, at = i32(B * S), i32(B * S)
    for k = 0, B * S - 1 do
      local b, s = math.floor(k / S), k % S
      rows[k], at[k] = b * T + first + s, (b * N + i) * S + s
    end
    t.of[i] = { rows = upload({ B * S }, rows), at = upload({ B * S }, at) }
  end
  t.who, t.key, t.where = upload({ n }, who), upload({ n }, key), upload({ n }, where)
  t.prefix = upload({ B * N }, prefix)
  return t
end

--- Answers: ids int32 host array [B*N, S] -> logits [B*N, classes], of taggers [B*N*S, classes].
function Published:logits(ids, B, S)
  local h, T = self:mixed(ids, B, S)
  local d = self.demultiplexer
  local z = run_all(d, self:run('demultiplexer', d, h, pairs_of(self, B, T, self.o.output == 'tag')))
  return self.classifier and self:run('classifier', self.classifier, z) or z
end

--- What retrieval says of every position of every instance: ids int32 host array [B*N, S] -> [B*N*S, vocab].
function Published:recall(ids, B, S)
  local h, T = self:mixed(ids, B, S)
  local r = self.retrieval_head
  return run_all(r, self:run('retrieval_head', r, h, pairs_of(self, B, T, true)))
end

-- -- as other models are run ----------------------------------------------------------------------------------------

-- BERT's types: 1 after the first [SEP] of a pair.
local function types_of(q, eos)
  local out, b = i32(q.B * q.S), q.batch
  for r = 0, q.B - 1 do
    local second = 0
    for k = r * q.S, r * q.S + b.length[r] - 1 do
      out[k] = second
      if b.ids_host[k] == eos then second = 1 end
    end
  end
  return out
end

--- What forward needs of a batch (see data/loader.lua): its ids and which rows are answered.
function Published:prepare(batch)
  local B, S = batch.B, batch.S
  local q = { B = B, N = batch.N, S = S, batch = batch, task = outputs.want({}, self.output, batch) }
  if self.o.demux then return q end
  q.mask = i32(B * S)
  for r = 0, B - 1 do
    for k = r * S, r * S + batch.length[r] - 1 do q.mask[k] = 1 end
  end
  if self.o.types > 1 then q.types = types_of(q, self.o.eos) end
  local at = q.task.at
  if not at then
    at = i32(B)
    for r = 0, B - 1 do at[r] = r * S end
  end
  q.rows = upload({ q.task.at and q.task.label:numel() or B }, at)
  return q
end

--- { logits [B*N, classes], of taggers [tokens, classes] }.
function Published:forward(q)
  local ids = q.batch.ids_host
  if not self.o.demux then return { logits = self.head(self:states(ids, q.B, q.S, q)) } end
  local logits = self:logits(ids, q.B, q.S)
  if q.task.at then logits = embed.gather(logits, upload({ q.task.label:numel() }, q.task.at)) end
  return { logits = logits }
end

return Published
