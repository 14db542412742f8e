-- conv.lua -- class Conv: convolution with a bias, stride 1.
local Module = require 'datamux.nn.module'
local fan_in = require 'datamux.nn.fan_in'
local ops = require 'datamux.ops.conv'

local Conv = Module.class 'Conv'

--- ci, co: channels in and out; k: side of the kernel. o: { pad = 0, groups = 1, bias = true, init (default: uniform by
--- fan-in) }.
function Conv.new(ci, co, k, o)
  o = o or {}
  local groups = o.groups or 1
  local self = Module.init(Conv, { options = { pad = o.pad or 0, groups = groups } })
  local inputs = ci / groups * k * k
  self:param('weight', { co, ci / groups, k, k }, o.init or fan_in(inputs))
  if o.bias ~= false then self:param('bias', { co }, fan_in(inputs)) end
  return self
end

--- x [B, Ci, H, W] -> [B, Co, H + 2 pad - k + 1, W + 2 pad - k + 1].
function Conv:forward(x) return ops.conv2d(x, self.weight, self.bias, self.options) end

return Conv
