-- embedding.lua -- class MuxEmbedding: word + position (+ type), norm, dropout, bound to keys and summed over N.
-- Keys [N, C] are bound in one pass (embed_mux); matrices [N, C, C] step by step, where the [B, N, S, C] tensor exists.
-- Source: DataMUX (Murahari et al. 2022); the embedding block of RoBERTa.
local Module = require 'datamux.nn.module'
local LayerNorm = require 'datamux.nn.norm'
local mux = require 'datamux.nn.mux'
local embed = require 'datamux.ops.embed'
local point = require 'datamux.ops.point'
local reshape = require('datamux.ops.shape').reshape
local bind = require('datamux.ops.mux').mux

local MuxEmbedding = Module.class 'MuxEmbedding'

--- o: { vocab (rows of the table), positions, width, dropout, eps, init, pad (id), pad_position (row of the
---      position table that pads use, or nil), n, mux (name of the multiplexer, default 'identity'), norm (of each
---      key), overlap (of masks), reduce = 'mean' | 'sqrt' | 'sum' | 'auto' (the multiplexer's own), learn (train the
---      keys), twice (positions, norm and dropout once more on the mixture, as published), type (a token-type row),
---      skip (pads are left out of the sum) }.
--- n = 1 without a multiplexer is the plain embedding block. self.matrices: whether the keys are matrices.
function MuxEmbedding.new(o)
  local self = Module.init(MuxEmbedding, { o = o, sites = 2, args = {} })
  local kind = o.mux or 'identity'
  local key = { n = o.n, width = o.width, norm = o.norm, overlap = o.overlap or 0, learn = o.learn }
  self:param('word', { o.vocab, o.width }, o.init).spec.zero_row = o.pad
  self:param('position', { o.positions, o.width }, o.init).spec.zero_row = o.pad_position
  if o.type then self:param('type', { 1, o.width }, o.init, false) end
  self:child('norm', LayerNorm.new(o.width, { eps = o.eps }), 'LayerNorm')
  mux.declare(self, 'key', kind, key)
  self.matrices = #self.key.spec.shape == 3
  self.reduce = mux.reduction(kind, o.reduce, o.twice)
  self.scale = mux.scale(self.reduce, o.n)
  return self
end

-- The mixture in one pass.
function MuxEmbedding:fused(batch, p)
  local o, a = self.o, self.args
  a.g, a.c, a.key, a.type = self.norm.weight, self.norm.bias, self.key, self.type
  a.weight, a.scale, a.posid, a.order = batch.weight, self.scale, batch.posid, batch.order
  a.pad, a.p, a.site, a.eps = o.skip and o.pad or -1, p, self.site, o.eps
  return embed.embed_mux(batch.ids, self.word, self.position, a)
end

-- The same, step by step: what matrices take.
function MuxEmbedding:stepwise(batch, p)
  local ids = batch.ids
  local x = embed.embed(ids, self.word, { pos = self.position, posid = batch.posid, order = batch.order })
  x = self:run('LayerNorm', self.norm, x, self.type and embed.embed(batch.types, self.type))
  if p > 0 then x = point.dropout(x, p, self.site) end
  if batch.tokens then x = reshape(embed.gather(x, batch.tokens), x:shape()) end
  return bind(x, self.key, { weight = batch.weight, scale = self.scale })
end

--- batch: { ids i32 [B, N, S], order, posid i32 [B, N, S] (or nil: position s), weight f32 [B, N] (or nil), tokens i32
--- [B*N*S] (row numbers, -1 for pads; or nil), types i32 [B, N, S] (all 0; or nil), twice = { zeros i32 [B, S],
--- posid i32 [B, S] } where the mixture is embedded again } -> [B, S, C]. Matrices need posid, types where there are
--- any, and tokens where pads are skipped.
function MuxEmbedding:forward(batch)
  local p = self:drop(self.o.dropout)
  local x = self.matrices and self:stepwise(batch, p) or self:fused(batch, p)
  if self.o.twice then
    local again = embed.embed(batch.twice.zeros, self.type, { pos = self.position, posid = batch.twice.posid })
    x = self:run('LayerNorm', self.norm, x, again)
    if p > 0 then x = point.dropout(x, p, self.site + 1) end
  end
  return x
end

--- What each of the live instances is multiplied by when only `count` are mixed: the reduction of count, not of N.
function MuxEmbedding:weight_of(count) return mux.scale(self.reduce, count) / self.scale end

--- The keys as a tensor [N, C] that an unbinding demultiplexer shares.
function MuxEmbedding:keys() return self.key end

return MuxEmbedding
