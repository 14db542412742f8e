-- embedding.lua -- class MuxEmbedding: word + position (+ type), norm, dropout, bound to keys and summed over N.
-- Source: DataMUX (Murahari et al. 2022), Hadamard multiplexing; the embedding block of RoBERTa.
local Module = require 'datamux.nn.module'
local LayerNorm = require 'datamux.nn.norm'
local embed = require 'datamux.ops.embed'
local point = require 'datamux.ops.point'

local MuxEmbedding = Module.class 'MuxEmbedding'

local reduction = {
  mean = function(n) return 1 / n end,
  sqrt = function(n) return 1 / math.sqrt(n) end,
  sum = function() return 1 end,
}

-- Rows of a standard normal, each divided by its Euclidean norm and multiplied by `norm`.
local function gaussian_keys(norm)
  return function(t, seed, site)
    t:normal(0, 1, seed, site)
    local n, c = t:rows(), t:cols()
    local v = t:host()
    for i = 0, n - 1 do
      local s = 0
      for k = 0, c - 1 do s = s + v[i * c + k] ^ 2 end
      s = norm / math.sqrt(s)
      for k = 0, c - 1 do v[i * c + k] = v[i * c + k] * s end
    end
    t:put(v)
  end
end

--- o: { vocab (rows of the table), positions, width, dropout, eps, init, pad (id), pad_position (row of the
---      position table that pads use, or nil), n, norm (of each key),
---      reduce = 'mean' | 'sqrt' | 'sum', learn (train the keys), twice (positions, norm and dropout once more
---      on the mixture, as published), type (a token-type row), skip (pads are left out of the sum) }.
--- n = 1 with norm nil is the plain embedding block.
function MuxEmbedding.new(o)
  local self = Module.init(MuxEmbedding, { o = o, sites = 2, args = {} })
  self:param('word', { o.vocab, o.width }, o.init).spec.zero_row = o.pad
  self:param('position', { o.positions, o.width }, o.init).spec.zero_row = o.pad_position
  if o.type then self:param('type', { 1, o.width }, o.init, false) end
  self:child('norm', LayerNorm.new(o.width, { eps = o.eps }), 'LayerNorm')
  if o.norm then
    if o.learn then
      self:param('key', { o.n, o.width }, gaussian_keys(o.norm), false)
    else
      self:buffer('key', { o.n, o.width }, gaussian_keys(o.norm))
    end
  else
    self:buffer('key', { o.n, o.width }, function(t) t:fill(1) end)
  end
  self.scale = reduction[o.reduce or 'sum'](o.n)
  return self
end

--- batch: { ids i32 [B, N, S], order, posid (or nil), weight f32 [B, N] (or nil), twice = { zeros i32 [B, S],
--- posid i32 [B, S] } where the mixture is embedded again } -> [B, S, C].
function MuxEmbedding:forward(batch)
  local o, a = self.o, self.args
  local p = self:drop(o.dropout)
  a.g, a.c, a.key, a.type = self.norm.weight, self.norm.bias, self.key, self.type
  a.weight, a.scale, a.posid, a.order = batch.weight, self.scale, batch.posid, batch.order
  a.pad, a.p, a.site, a.eps = o.skip and o.pad or -1, p, self.site, o.eps
  local x = embed.embed_mux(batch.ids, self.word, self.position, a)
  if o.twice then
    local again = embed.embed(batch.twice.zeros, self.type, { pos = self.position, posid = batch.twice.posid })
    x = self:run('LayerNorm', self.norm, x, again)
    if p > 0 then x = point.dropout(x, p, self.site + 1) end
  end
  return x
end

--- The keys as a tensor [N, C] that an unbinding demultiplexer shares.
function MuxEmbedding:keys() return self.key end

return MuxEmbedding
