-- norm.lua -- class LayerNorm: LN(x + drop(r)) * weight + bias.
local Module = require 'datamux.nn.module'
local ops = require 'datamux.ops.norm'

local LayerNorm = Module.class 'LayerNorm'

--- c: width; o: { eps = 1e-5, dropout = 0 } (dropout of the residual branch r).
function LayerNorm.new(c, o)
  o = o or {}
  local self = Module.init(LayerNorm, { eps = o.eps or 1e-5, p = o.dropout or 0, sites = 1, options = {} })
  self:param('weight', { c }, { fill = 1 })
  self:param('bias', { c }, { fill = 0 })
  return self
end

--- x, r [.., C] (r optional) -> [.., C].
function LayerNorm:forward(x, r)
  local o = self.options
  o.r, o.p, o.site, o.eps = r, r and self:drop(self.p) or 0, self.site, self.eps
  local y = ops.layernorm(x, self.weight, self.bias, o)
  o.r = nil
  return y
end

return LayerNorm
