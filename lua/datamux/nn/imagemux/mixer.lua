-- mixer.lua -- class Mixer: N images into one by a strategy of the registry, the sum scaled.
local Module = require 'datamux.nn.module'
local imagemux = require 'datamux.nn.imagemux'
local point = require 'datamux.ops.point'

local Mixer = Module.class 'Mixer'

local scales = {
  sum = function() return 1 end,
  mean = function(n) return 1 / n end,
  sqrt = function(n) return 1 / math.sqrt(n) end,
}

--- o: { kind (a strategy's name), n, height, width, channels = 1, learn, sign, init,
--- reduce = 'sum' | 'mean' | 'sqrt' }.
--- self.channels: of the mixture.
function Mixer.new(o)
  local spec = imagemux.get(o.kind)
  local self = Module.init(Mixer, { o = o, scale = scales[o.reduce or 'sum'](o.n) })
  self.channels = spec.channels and spec.channels(o) or 1
  spec.declare(self, o)
  return self
end

--- x [B, N, H, W] -> [B, channels, H, W].
function Mixer:forward(x)
  local y = imagemux.mix(self, x, self.o)
  return self.scale == 1 and y or point.scale(y, self.scale)
end

return Mixer
