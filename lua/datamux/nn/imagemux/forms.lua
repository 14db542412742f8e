-- forms.lua -- the three shapes most strategies have, each one op however many instances there are:
--   kernels   3 x 3 kernels; the sum of N convolutions is one convolution of N channels to one
--   matrices  on the pixels; the sum of N products is one product with the matrices side by side, [HW, N HW]
--   keys      elementwise on the pixels, [N, HW]
-- make(t, seed, site, o) fills the tensor; trained: whether it is a parameter even without mux.learn.
local conv = require 'datamux.ops.conv'
local linear = require 'datamux.ops.linear'
local mux = require 'datamux.ops.mux'
local shape = require 'datamux.ops.shape'

local M = {}

local function keep(m, name, size, make, o, trained)
  local function fill(t, seed, site) make(t, seed, site, o) end
  if trained or o.learn then
    m:param(name, size, fill)
  else
    m:buffer(name, size, fill)
  end
end

--- The standard deviation of values that are drawn at first, where an output has so many inputs: 1 as published, or
--- 1/sqrt(inputs) with o.init = 'fan_in'.
function M.std(o, inputs) return o.init == 'fan_in' and 1 / math.sqrt(inputs) or 1 end

local around = { pad = 1 }

--- make fills [1, N, 3, 3].
function M.kernels(make, trained)
  return {
    declare = function(m, o) keep(m, 'kernel', { 1, o.n, 3, 3 }, make, o, trained) end,
    mix = function(m, x) return conv.conv2d(x, m.kernel, nil, around) end,
  }
end

--- make fills [HW, N HW].
function M.matrices(make, trained)
  return {
    declare = function(m, o)
      local area = o.height * o.width
      keep(m, 'matrix', { area, o.n * area }, make, o, trained)
    end,
    mix = function(m, x, o)
      local B, area = x:size(1), o.height * o.width
      local y = linear.linear(shape.reshape(x, { B, o.n * area }), m.matrix)
      return shape.reshape(y, { B, 1, o.height, o.width })
    end,
  }
end

--- make fills [N, HW].
function M.keys(make, trained)
  return {
    declare = function(m, o) keep(m, 'key', { o.n, o.height * o.width }, make, o, trained) end,
    mix = function(m, x, o)
      local B, area = x:size(1), o.height * o.width
      local y = mux.mux(shape.reshape(x, { B, o.n, 1, area }), m.key)
      return shape.reshape(y, { B, 1, o.height, o.width })
    end,
  }
end

--- Fills the matrices from one [HW, HW] list (row-major, a C array of doubles) for each instance: of(i), i from 0.
function M.side_by_side(t, o, of)
  local area = o.height * o.width
  local all = t:room()
  for i = 0, o.n - 1 do
    local a = of(i)
    for r = 0, area - 1 do
      local to = (r * o.n + i) * area
      for k = 0, area - 1 do all[to + k] = a[r * area + k] end
    end
  end
  t:put(all)
end

return M
