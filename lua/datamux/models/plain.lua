-- plain.lua -- class Plain: the ordinary Transformer classifier, one sentence per row; what multiplexing is
-- compared with. Same embedding block, encoder and head as TMux; no keys, no demultiplexer.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local Module = require 'datamux.nn.module'
local Encoder = require('datamux.nn.encoder').Encoder
local Head = require 'datamux.nn.head'
local MuxEmbedding = require 'datamux.nn.embedding'
local embed = require 'datamux.ops.embed'
local mux = require 'datamux.ops.mux'
local loss = require 'datamux.ops.loss'
local C = core.C

local Plain = Module.class 'Plain'
local i32 = ffi.typeof 'int32_t[?]'

--- o: as TMux.new; read = 'cls' (the state of the first token) or 'pool' (mean over the tokens).
function Plain.new(o)
  local self = Module.init(Plain, { o = o, rows = o.vocab.size, prefix = 0 })
  self:child('embeddings', MuxEmbedding.new {
    vocab = o.vocab.size, positions = o.positions, width = o.width, dropout = o.dropout, eps = o.eps,
    init = o.init, pad = o.vocab.pad, n = 1, reduce = 'sum', skip = true })
  self:child('encoder', Encoder.new(o))
  self:child('head', Head.new(o), 'classifier')
  return self
end

--- Number of positions for sentences of length s.
function Plain:length(s) return s end

--- Host lists and tensors for one batch (see TMux:prepare); the batch has N = 1.
function Plain:prepare(batch)
  local B, S = batch.B, batch.S
  local order, mask, span, rows = i32(B * S), i32(B * S), i32(2 * B), i32(B)
  core.check(C.dm_order(order, batch.ids_host, B * S, self.rows))
  for b = 0, B - 1 do
    local n = batch.length[b]
    for s = 0, n - 1 do mask[b * S + s] = 1 end
    span[2 * b], span[2 * b + 1], rows[b] = b * S, b * S + n, b * S
  end
  local function upload(shape, host) return Tensor.new(shape, 'i32'):put(host) end
  return { B = B, N = 1, S = S, T = S, batch = batch,
           ids = upload({ B, 1, S }, batch.ids_host), order = upload({ B * S }, order),
           mask = upload({ B, S }, mask), span = upload({ B, 2 }, span), first = upload({ B }, rows),
           task = { label = upload({ B }, batch.label) } }
end

--- { logits [B, classes], task (loss) }.
function Plain:forward(q)
  local x = self:run('embeddings', self.embeddings, q)
  x = self:run('encoder', self.encoder, x, q.mask)
  local z = self.o.read == 'cls' and embed.gather(x, q.first) or mux.meanpool(x, q.span)
  local logits = self:run('classifier', self.head, z)
  return { logits = logits, task = loss.xent(logits, q.task.label, { ignore = -100 }) }
end

return Plain
