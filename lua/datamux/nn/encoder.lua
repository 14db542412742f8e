-- encoder.lua -- classes Attention, Layer and Encoder: the post-LN Transformer encoder of BERT and RoBERTa.
-- Source: Vaswani et al. 2017; Devlin et al. 2019. Parameter paths as Hugging Face, with q, k, v packed.
local Module = require 'datamux.nn.module'
local Linear = require 'datamux.nn.linear'
local LayerNorm = require 'datamux.nn.norm'
local Tensor = require 'datamux.tensor'
local scope = require 'datamux.scope'
local tape = require 'datamux.tape'
local embed = require 'datamux.ops.embed'
local ops = require 'datamux.ops.attn'

local Attention = Module.class 'Attention'

--- c: width; heads; p: dropout of the attention probabilities.
function Attention.new(c, heads, p, init)
  local self = Module.init(Attention, { heads = heads, p = p, sites = 1, options = {} })
  self:child('qkv', Linear.new(c, 3 * c, { init = init }))
  return self
end

--- x [B, S, C], mask i32 [B, S] or nil -> [B, S, C].
function Attention:forward(x, mask)
  local o = self.options
  o.mask, o.p, o.site = mask, self:drop(self.p), self.site
  return ops.attention(self:run('qkv', self.qkv, x), self.heads, o)
end

local Layer = Module.class 'Layer'

--- o: { width, heads, inner, dropout, eps, init }.
function Layer.new(o)
  local self = Module.init(Layer, {})
  local norm = { eps = o.eps, dropout = o.dropout }
  self:child('attention', Attention.new(o.width, o.heads, o.dropout, o.init))
  self:child('out', Linear.new(o.width, o.width, { init = o.init }), 'attention.output.dense')
  self:child('norm1', LayerNorm.new(o.width, norm), 'attention.output.LayerNorm')
  self:child('up', Linear.new(o.width, o.inner, { act = 'gelu', init = o.init }), 'intermediate.dense')
  self:child('down', Linear.new(o.inner, o.width, { init = o.init }), 'output.dense')
  self:child('norm2', LayerNorm.new(o.width, norm), 'output.LayerNorm')
  return self
end

--- x [B, S, C], mask i32 [B, S] or nil -> [B, S, C]; only the rows of x listed in `rows` (i32 [R]) -> [R, C]: what
--- follows the attention is then computed for them alone. With self.recompute the backward pass computes it once more
--- instead of keeping what it needs.
function Layer:forward(x, mask, rows)
  if not self.recompute then return self:compute(x, mask, rows) end
  return tape.again(self, rows and { rows:numel(), x:cols() } or x:shape(), x, mask, rows)
end

--- As forward, computed once.
function Layer:compute(x, mask, rows)
  local a = self:run('attention', self.attention, x, mask)
  if rows then a, x = embed.gather(a, rows), embed.gather(x, rows) end
  x = self:run('attention.output.LayerNorm', self.norm1, x, self:run('attention.output.dense', self.out, a))
  local f = self:run('output.dense', self.down, self:run('intermediate.dense', self.up, x))
  return self:run('output.LayerNorm', self.norm2, x, f)
end

local Encoder = Module.class 'Encoder'

--- o: { layers, width, heads, inner, dropout, eps, init }.
function Encoder.new(o)
  local self = Module.init(Encoder, { paths = {} })
  for i = 1, o.layers do
    self.paths[i] = 'layer.' .. i - 1
    self:child(i, Layer.new(o), self.paths[i])
  end
  return self
end

--- Whether the backward pass computes each layer again from its input.
function Encoder:recomputes(on)
  for i = 1, #self.paths do self[i].recompute = on end
end

-- Layer i, whose answer alone is kept: without gradients the next layer uses the same memory again, so that many rows
-- fit. (Where steps are recorded, memory is the recording's.)
local function between(self, i, x, mask, out) out:assign(self:run(self.paths[i], self[i], x, mask)) end

--- x [B, S, C], mask i32 [B, S] or nil -> [B, S, C], or [R, C] where rows (i32 [R]) says which are wanted in the end.
function Encoder:forward(x, mask, rows)
  local n = #self.paths
  local frugal = not tape.on and not scope.records() and n > 1
  local out = frugal and Tensor.new(x:shape())
  for i = 1, n do
    if frugal and i < n then
      scope.step(between, self, i, x, mask, out)
      x = out
    else
      x = self:run(self.paths[i], self[i], x, mask, i == n and rows or nil)
    end
  end
  return x
end

return { Attention = Attention, Layer = Layer, Encoder = Encoder }
