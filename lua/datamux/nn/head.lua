-- head.lua -- class Head: from an instance's state to its outputs.
--   default  out_proj(gelu(dense(z)))         a sentence's classes or score (published)
--   deep     out_proj(LN(gelu(dense(z))))     with the mlp demultiplexer (published)
--   flat     out_proj(z)                      the classes of a token (published)
local Module = require 'datamux.nn.module'
local Linear = require 'datamux.nn.linear'
local LayerNorm = require 'datamux.nn.norm'

local Head = Module.class 'Head'

--- o: { width, classes, init, eps, deep, flat }.
function Head.new(o)
  local self = Module.init(Head, {})
  if o.deep or not o.flat then
    self:child('dense', Linear.new(o.width, o.width, { act = 'gelu', init = o.init }))
    if o.deep then self:child('norm', LayerNorm.new(o.width, { eps = o.eps }), 'LayerNorm') end
  end
  self:child('out', Linear.new(o.width, o.classes, { init = o.init }), 'out_proj')
  return self
end

--- z [R, C] -> logits [R, classes].
function Head:forward(z)
  if self.dense then z = self:run('dense', self.dense, z) end
  if self.norm then z = self:run('LayerNorm', self.norm, z) end
  return self:run('out_proj', self.out, z)
end

return Head
