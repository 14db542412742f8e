-- image.lua -- class Image: N images mixed into one, one pass of a network, N answers.
--
-- multiplexer (sum over N) -> features, once -> per index tanh(linear) -> output layer, shared by the indices. All
-- indices' linear layers are one, [N width, width]. With mux 'none' it is the plain network: features, output.
-- Source: DataMUX (Murahari et al. 2022), the vision experiments.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local Module = require 'datamux.nn.module'
local Linear = require 'datamux.nn.linear'
local Mixer = require 'datamux.nn.imagemux.mixer'
local fan_in = require 'datamux.nn.fan_in'
local loss = require 'datamux.ops.loss'
local point = require 'datamux.ops.point'
local shape = require 'datamux.ops.shape'

local Image = Module.class 'Image'

local IGNORE = -100

--- act(x w^T + b) from c to d, as these networks have it: with its first values from fan_in; act: 'tanh' (default),
--- 'none'.
function Image.dense(c, d, act)
  return Linear.new(c, d, { act = act or 'tanh', init = fan_in(c), bias_init = fan_in(c) })
end

--- features(channels, plain): makes the module [B, channels, H, W] -> [B, width], with a field `width`; plain: without
--- multiplexer. o: { n, height, width, classes, mux (a strategy's name, or 'none'), channels, learn, sign, init,
--- reduce, loss = 'square' (tanh outputs against +-1) | 'xent' }.
function Image.new(features, o)
  local self = Module.init(Image, { o = o, square = o.loss ~= 'xent' })
  local channels = 1
  if o.mux ~= 'none' then
    self:child('mixer', Mixer.new { kind = o.mux, n = o.n, height = o.height, width = o.width, channels = o.channels,
                                    learn = o.learn, sign = o.sign, init = o.init, reduce = o.reduce },
      'multiplexer')
    channels = self.mixer.channels
  end
  self:child('features', features(channels, not self.mixer))
  local width = self.features.width
  if self.mixer then
    self:child('demux', Image.dense(width, o.n * width), 'demultiplexer')
  end
  self:child('out', Image.dense(width, o.classes, self.square and 'tanh' or 'none'), 'output')
  return self
end

--- Tensors of one batch { B, N, pixels uint8[B*N*H*W], label int32[B*N] }: pixels in [0, 1], labels, and for the
--- squared loss the targets, -1 and +1 (0 for fillers).
function Image:prepare(batch)
  local o, R, K = self.o, batch.B * batch.N, self.o.classes
  local n = R * o.height * o.width
  local pixels = ffi.new(core.real .. '[?]', n)
  for k = 0, n - 1 do pixels[k] = batch.pixels[k] / 255 end
  local q = { B = batch.B, N = batch.N, batch = batch,
              pixels = Tensor.new({ batch.B, batch.N, o.height, o.width }):put(pixels),
              label = Tensor.new({ R }, 'i32'):put(batch.label) }
  if self.square then
    local target = ffi.new(core.real .. '[?]', R * K)
    for r = 0, R - 1 do
      local label = batch.label[r]
      for k = 0, K - 1 do target[r * K + k] = label == IGNORE and 0 or label == k and 1 or -1 end
    end
    q.target = Tensor.new({ R, K }):put(target)
  end
  return q
end

--- { logits [B*N, classes], task (loss) }. The loss is summed over the indices: for each, the mean over batch and
--- classes of (y - out)^2 / 2, or the mean cross-entropy.
function Image:forward(q)
  local x = q.pixels
  if self.mixer then x = self:run('multiplexer', self.mixer, x) end
  local h = self:run('features', self.features, x)
  if self.demux then
    h = shape.reshape(self:run('demultiplexer', self.demux, h), { q.B * q.N, self.features.width })
  end
  local logits = self:run('output', self.out, h)
  local task
  if self.square then
    task = point.scale(loss.mse(logits, q.target), q.N / 2)
  else
    task = point.scale(loss.xent(logits, q.label, { ignore = IGNORE }), q.N)
  end
  return { logits = logits, task = task }
end

return Image
