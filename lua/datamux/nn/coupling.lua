-- coupling.lua -- class Coupling: a reversible multiplexer of N streams, and its exact inverse as demultiplexer.
--
-- A chain of N steps, each of which changes one stream by a function of another that is known on the way back:
--   y_0 = x_{N-1} + f_0(x_{N-2})      y_k = x_{N-1-k} + f_k(y_{k-1}), k = 1 .. N-1
-- Inverted from the last step to the first; x_{N-2} is recovered before y_0 asks for it, so N > 2 is exact too (the
-- published program inverts N > 2 with other intermediate values than it mixed with).
-- Source: RevMUX (Xu et al. 2024), the chain of its BERT program.
local Module = require 'datamux.nn.module'
local Linear = require 'datamux.nn.linear'
local fault = require 'datamux.fault'
local point = require 'datamux.ops.point'

local Coupling = Module.class 'Coupling'

--- o: { n (at least 2), width (of a stream), inner (hidden width of f, default n width), dropout = 0, init = 0.02 }.
--- f_k(x) = drop(relu(up(drop(relu(down(x)))))), sharing nothing between steps.
function Coupling.new(o)
  if o.n < 2 then fault.raise(('Coupling: n is %d, expected at least 2 streams'):format(o.n)) end
  local self = Module.init(Coupling, { n = o.n, dropout = o.dropout or 0, sites = 2 * o.n })
  local inner = o.inner or o.n * o.width
  for k = 0, o.n - 1 do
    local options, name = { act = 'relu', init = o.init }, ('steps.%d.dense_'):format(k)
    self:child('in' .. k, Linear.new(o.width, inner, options), name .. 'in')
    self:child('out' .. k, Linear.new(inner, o.width, options), name .. 'out')
  end
  return self
end

-- f_k of a stream.
function Coupling:step(k, x)
  local p = self:drop(self.dropout)
  for j, layer in ipairs { self['in' .. k], self['out' .. k] } do
    x = layer:forward(x)
    if p > 0 then x = point.dropout(x, p, self.site + 2 * k + j - 1) end
  end
  return x
end

local function expect(self, list)
  if #list ~= self.n then fault.raise(('Coupling: %d streams, expected n = %d'):format(#list, self.n)) end
end

--- Streams { x_0 .. x_{N-1} }, each [.., width] -> { y_0 .. y_{N-1} }, of the same shapes.
function Coupling:forward(xs)
  expect(self, xs)
  local n, ys, known = self.n, {}, xs[self.n - 1]
  for k = 0, n - 1 do
    ys[k + 1] = point.add(xs[n - k], self:step(k, known))
    known = ys[k + 1]
  end
  return ys
end

--- The streams that forward mixed, from what it gave.
function Coupling:inverse(ys)
  expect(self, ys)
  local n, xs = self.n, {}
  for k = n - 1, 0, -1 do
    local known = k > 0 and ys[k] or xs[n - 1]
    xs[n - k] = point.add(ys[k + 1], point.scale(self:step(k, known), -1))
  end
  return xs
end

return Coupling
