-- imagemux -- the image multiplexers by name: how N images become one. A strategy is a table
--   declare(m, o)   what the module m keeps: m:param, m:buffer; o: { n, height, width, channels, learn, sign, init }
--   mix(m, x, o)    x [B, N, H, W] -> the sum over the instances [B, channels, H, W]
--   channels(o)     of the mixture (optional, default 1)
--   refuse(o)       what does not fit, in words, or nil (optional)
-- Source: DataMUX (Murahari et al. 2022), the vision experiments.
local Registry = require 'datamux.nn.registry'

local M = {}

local registry = Registry.new('mux.kind', 'datamux.nn.imagemux.', { 'none', 'identity', 'gaussian', 'learned', 'graded',
  'rotation', 'so', 'matrix', 'nonlinear', 'remap', 'hadamard' }, { declare = 'function', mix = 'function' })

--- Names of the strategies, a list that grows with register; 'none' is the plain network, for one image a row.
M.names = registry.names

--- Adds a multiplexer; see the head of this file. Raises for a name of the library or a spec that lacks a field.
function M.register(name, spec) registry:register(name, spec) end

--- Appends the names to `list`, now and whenever one is registered.
function M.follow(list) registry:follow(list) end

--- Whose a strategy of this name is: 'library', 'recipe', or nil where there is none.
function M.whose(name) return registry:whose(name) end

--- The strategy of a name, nil for 'none'; raises with the list where there is none.
function M.get(name)
  if name ~= 'none' then return registry:get(name) end
end

--- A strategy in a few words: "nonlinear x 8", "rotation", whose mixture has one channel whatever mux.channels says.
function M.words(name, channels)
  local spec = registry:whose(name) == 'library' and M.get(name)
  return spec and spec.channels and channels > 1 and ('%s x %d'):format(name, channels) or name
end

--- The mixture [B, channels, H, W] of x [B, N, H, W], by the strategy o.kind of module m (with a field `channels`).
--- Raises E208 for a recipe's own that returns something else.
function M.mix(m, x, o)
  local y = M.get(o.kind).mix(m, x, o)
  if type(y) ~= 'table' or not y.c then
    registry:fault(o.kind, 'mix', ('returns %s, expected a tensor'):format(tostring(y)))
  end
  local got = table.concat(y:shape(), ', ')
  local want = table.concat({ x:size(1), m.channels, o.height, o.width }, ', ')
  if got ~= want then
    registry:fault(o.kind, 'mix', ('returns [%s], expected [B, channels, H, W] = [%s]'):format(got, want))
  end
  return y
end

--- What does not fit between a strategy and its options, in words, or nil. o: as declare's.
function M.refuse(name, o)
  if name == 'none' then
    return o.n ~= 1 and ("mux.n is %d with mux.kind 'none', expected 1"):format(o.n) or nil
  end
  local spec = M.get(name)
  return spec.refuse and spec.refuse(o)
end

return M
