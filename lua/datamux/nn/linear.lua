-- linear.lua -- class Linear: y = act(x w^T + b).
local Module = require 'datamux.nn.module'
local ops = require 'datamux.ops.linear'

local Linear = Module.class 'Linear'

--- c, d: input and output width. o: { act = 'none' | 'gelu' | 'relu' | 'tanh', bias = true, init = 0.02,
--- bias_init = zeros }.
function Linear.new(c, d, o)
  o = o or {}
  local self = Module.init(Linear, { options = { act = o.act } })
  self:param('weight', { d, c }, o.init or 0.02)
  if o.bias ~= false then self:param('bias', { d }, o.bias_init or { fill = 0 }) end
  return self
end

--- x [.., C] -> [.., D].
function Linear:forward(x) return ops.linear(x, self.weight, self.bias, self.options) end

return Linear
