-- plain.lua -- class Plain: the ordinary Transformer, one text per row; what multiplexing is compared with. Same
-- embedding block, encoder, head and outputs as TMux; no keys, no demultiplexer.
local ffi = require 'ffi'
local Module = require 'datamux.nn.module'
local Encoder = require('datamux.nn.encoder').Encoder
local Head = require 'datamux.nn.head'
local MuxEmbedding = require 'datamux.nn.embedding'
local mux = require 'datamux.ops.mux'
local order = require 'datamux.ops.order'
local outputs = require 'datamux.models.outputs'
local upload = outputs.upload

local Plain = Module.class 'Plain'
local i32 = ffi.typeof 'int32_t[?]'

--- o: as TMux.new; output (see models/outputs.lua); read = 'cls' (the state of the first token) or 'pool' (mean over
--- the tokens), for tagging 'token'.
function Plain.new(o)
  local output = o.output or 'classify'
  local self = Module.init(Plain, { o = o, output = output, rows = o.vocab.size, prefix = 0 })
  self:child('embeddings', MuxEmbedding.new {
    vocab = o.vocab.size, positions = o.positions, width = o.width, dropout = o.dropout, eps = o.eps,
    init = o.init, pad = o.vocab.pad, n = 1, reduce = 'sum', skip = true })
  self:child('encoder', Encoder.new(o))
  self:child('head', Head.new { width = o.width, classes = o.classes, init = o.init, flat = output == 'tag' },
    'classifier')
  return self
end

--- Number of positions for sentences of length s.
function Plain:length(s) return s end

--- Host lists and tensors for one batch (see TMux:prepare); the batch has N = 1.
function Plain:prepare(batch)
  local B, S = batch.B, batch.S
  local mask, span, first = i32(B * S), i32(2 * B), i32(B)
  for b = 0, B - 1 do
    local n = batch.length[b]
    for s = 0, n - 1 do mask[b * S + s] = 1 end
    span[2 * b], span[2 * b + 1], first[b] = b * S, b * S + n, b * S
  end
  local q = { B = B, N = 1, S = S, T = S, batch = batch, ids = upload({ B, 1, S }, batch.ids_host),
              mask = upload({ B, S }, mask) }
  if self.training then q.order = order.make(batch.ids_host, B * S, self.rows)
  else order.look(batch.ids_host, B * S, self.rows) end
  q.task = outputs.want({}, self.output, batch)
  if self.output == 'tag' then
    q.rows = order.list(self.training, q.task.at, q.task.label:numel(), B * S)
  elseif self.o.read == 'cls' then
    q.rows = order.list(self.training, first, B, B * S)
  else
    q.span = upload({ B, 2 }, span)
  end
  return q
end

--- { logits [B or tokens, classes], task (loss) }.
function Plain:forward(q)
  local x = self:run('embeddings', self.embeddings, q)
  local z = self:run('encoder', self.encoder, x, q.mask, q.rows)
  if q.span then z = mux.meanpool(z, q.span) end
  local logits = self:run('classifier', self.head, z)
  return { logits = logits, task = outputs.loss(logits, q.task, self.output) }
end

return Plain
