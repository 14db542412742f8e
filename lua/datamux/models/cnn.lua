-- cnn.lua -- the LeNet of DataMUX's vision experiments on 20 x 20 images: 20 -> 18 -> 9 -> 6 -> 3 -> 1.
-- convolution 3 x 3, tanh, pool 2; convolution 4 x 4 to 16 channels, tanh, pool 2; 120, tanh; 84, tanh. The first
-- convolution has 10 channels with a multiplexer and 6 in the plain network.
local Module = require 'datamux.nn.module'
local Conv = require 'datamux.nn.conv'
local Image = require 'datamux.models.image'
local conv = require 'datamux.ops.conv'
local point = require 'datamux.ops.point'
local shape = require 'datamux.ops.shape'

local LeNet = Module.class 'LeNet'

local function features(channels, plain)
  local self = Module.init(LeNet, { width = 84 })
  local first = plain and 6 or 10
  self:child('c1', Conv.new(channels, first, 3))
  self:child('c3', Conv.new(first, 16, 4))
  self:child('c5', Image.dense(16 * 3 * 3, 120))          -- a 3 x 3 convolution of 3 x 3 pixels: a linear layer
  self:child('f6', Image.dense(120, self.width))
  return self
end

-- tanh rises, so it may follow the pooling, where there are four times fewer values.
local function stage(self, name, x)
  return point.act(conv.maxpool2d(self:run(name, self[name], x), 2), 'tanh')
end

--- x [B, channels, 20, 20] -> [B, 84].
function LeNet:forward(x)
  x = stage(self, 'c3', stage(self, 'c1', x))
  x = self:run('c5', self.c5, shape.reshape(x, { x:size(1), 16 * 3 * 3 }))
  return self:run('f6', self.f6, x)
end

local M = {}

--- The network; o as Image.new's, images of 20 x 20.
function M.new(o) return Image.new(features, o) end

return M
