-- head.lua -- class Head: the classifier on an instance's state, out_proj(gelu(dense(z))).
local Module = require 'datamux.nn.module'
local Linear = require 'datamux.nn.linear'

local Head = Module.class 'Head'

--- o: { width, classes, init }.
function Head.new(o)
  local self = Module.init(Head, {})
  self:child('dense', Linear.new(o.width, o.width, { act = 'gelu', init = o.init }))
  self:child('out', Linear.new(o.width, o.classes, { init = o.init }), 'out_proj')
  return self
end

--- z [R, C] -> logits [R, classes].
function Head:forward(z) return self:run('out_proj', self.out, self:run('dense', self.dense, z)) end

return Head
