-- nonlinear -- a small network for each instance: convolution to 16 channels, tanh, convolution to mux.channels, tanh;
-- 3 x 3 kernels, normals at first, no biases, trained. All instances at once, in groups that do not mix.
local conv = require 'datamux.ops.conv'
local forms = require 'datamux.nn.imagemux.forms'
local mux = require 'datamux.ops.mux'
local point = require 'datamux.ops.point'
local shape = require 'datamux.ops.shape'

local INNER = 16

return {
  channels = function(o) return o.channels end,
  declare = function(m, o)
    m:param('inner', { o.n * INNER, 1, 3, 3 }, forms.std(o, 9))
    m:param('outer', { o.n * o.channels, INNER, 3, 3 }, forms.std(o, 9 * INNER))
    m:buffer('ones', { o.n, o.height * o.width }, function(t) t:fill(1) end)
    m.options = { pad = 1, groups = o.n }
  end,
  mix = function(m, x, o)
    local B = x:size(1)
    local y = point.act(conv.conv2d(x, m.inner, nil, m.options), 'tanh')
    y = point.act(conv.conv2d(y, m.outer, nil, m.options), 'tanh')
    y = mux.mux(shape.reshape(y, { B, o.n, o.channels, o.height * o.width }), m.ones)
    return shape.reshape(y, { B, o.channels, o.height, o.width })
  end,
}
