-- mlp.lua -- a perceptron on the pixels: 100, tanh; 84, tanh.
local Module = require 'datamux.nn.module'
local Image = require 'datamux.models.image'
local shape = require 'datamux.ops.shape'

local Perceptron = Module.class 'Perceptron'

--- x [B, channels, H, W] -> [B, 84].
function Perceptron:forward(x)
  x = shape.reshape(x, { x:size(1), self.inputs })
  return self:run('second', self.second, self:run('first', self.first, x))
end

local M = {}

--- The network; o as Image.new's.
function M.new(o)
  return Image.new(function(channels)
    local self = Module.init(Perceptron, { inputs = channels * o.height * o.width, width = 84 })
    self:child('first', Image.dense(self.inputs, 100))
    self:child('second', Image.dense(100, self.width))
    return self
  end, o)
end

return M
