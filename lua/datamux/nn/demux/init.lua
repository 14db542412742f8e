-- demux/init.lua -- class Demux: from mixed states to one instance's own states; and the demultiplexers by name.
--
-- A demultiplexer answers for pairs (instance, position). The pairs of a batch are lists, made on the host by prepare:
-- { n, who i32 [n] (row of the key), where i32 [n] (row of the states), and what plan adds }. A strategy is a table:
--   declare(self, o)  adds parameters to the module; o: { n, width, inner (rank, or width), init, eps, dropout, key =
--              tensor [N, C] to share, or nil }.  self:dense(o) adds the state's layer
--   inner(self, state, pairs) -> [n, inner], before `up` and the norm; state is what begin made
--   begin(self, state, prefix)  adds to state = { h = mixed states [.., C] } what is computed once (optional);
--              prefix: { x = states, rows = i32 [B*N] }, where the N prefix states lie (strategies with prefix)
--   plan(self, pairs, who, where, n)  adds lists to the pairs, from the host's int32 lists (optional)
--   own_norm   true: inner ends in a norm of its own, none is added (optional)
--   prefix     true: N index tokens are put in front, and `who` counts rows b N + i instead of instances (optional)
--   overwrite  true: without an added CLS, the first token of every instance becomes the CLS id (optional)
--   keys       key choices it takes, { mux = true, own = true } (optional: none)
--   full       true: it has no form of lower rank (optional)
--   deep       true: its heads have a layer and a norm more (optional)
-- W1 [p ; h] is always computed in its split form, so the [pairs, 2C] tensor never exists.
-- Sources: Murahari et al. 2022 and 2023; docs/method.md.
local Module = require 'datamux.nn.module'
local Registry = require 'datamux.nn.registry'

local Demux = Module.class 'Demux'

local registry = Registry.new('demux.kind', 'datamux.nn.demux.', { 'index', 'rsa', 'unbind', 'mlp' },
  { declare = 'function', inner = 'function' })

--- Names of all demultiplexers, a list that grows with register.
Demux.names = registry.names

--- Adds a demultiplexer; see the head of this file. Raises for a name of the library or a spec that lacks a field.
function Demux.register(name, spec) registry:register(name, spec) end

--- Whose a strategy of this name is: 'library', 'recipe', or nil where there is none.
function Demux.whose(name) return registry:whose(name) end

--- The strategy of a name; raises with the list where there is none.
function Demux.get(name) return registry:get(name) end

--- Positions in front of an instance's own: N index tokens and the added CLS, or the CLS alone, or none.
function Demux.positions(kind, n, read)
  return Demux.get(kind).prefix and n + 1 or read == 'cls' and 1 or 0
end

--- What does not fit between a strategy and its options, in words, and what to say instead; or nil. o: { key, rank,
--- width }.
function Demux.refuse(kind, o)
  local spec = Demux.get(kind)
  if o.key == 'own' and not (spec.keys and spec.keys.own) then
    local fitting = {}
    for _, name in ipairs(Demux.names) do
      local keys = Demux.get(name).keys
      if keys and keys.own then fitting[#fitting + 1] = name end
    end
    return ("demux.key is 'own' with demux.kind '%s', expected it with %s only"):format(kind,
      table.concat(fitting, ', ')), 'demux.key=mux'
  end
  if o.rank > 0 and spec.full then
    return ("demux.rank is %d with demux.kind '%s', which has no form of lower rank, expected 0"):format(o.rank, kind),
      'demux.rank=0'
  end
  if o.rank > o.width then
    return ('demux.rank is %d, expected at most model.width = %d'):format(o.rank, o.width), 'demux.rank=0'
  end
end

--- o: { kind, n, width, rank (0 = full width), init, eps, dropout, key = tensor [N, C] to share, or nil: own }.
function Demux.new(o)
  local spec = Demux.get(o.kind)
  local inner = o.rank > 0 and o.rank or o.width
  local self = Module.init(Demux, { kind = o.kind, spec = spec, n = o.n, rank = o.rank, cols = inner,
                                    dropout = o.dropout or 0, sites = 1, args = { act = 'gelu' } })
  spec.declare(self, { n = o.n, width = o.width, inner = inner, init = o.init, eps = o.eps, key = o.key })
  if spec.own_norm then return self end
  if o.rank > 0 then self:child('up', require('datamux.nn.linear').new(inner, o.width, { init = o.init })) end
  self:child('norm', require('datamux.nn.norm').new(o.width, { eps = o.eps }), 'LayerNorm')
  return self
end

--- For declare: the layer of the mixed state, with the bias of the sum.
function Demux:dense(o)
  self:child('of_state', require('datamux.nn.linear').new(o.width, o.inner, { init = o.init }), 'dense')
end

--- What is computed once per position and once per key. h [.., C]: mixed states that pairs will refer to by row.
function Demux:begin(h, prefix)
  local state = { h = h, of_state = self.of_state and self:run('dense', self.of_state, h) }
  if self.spec.begin then self.spec.begin(self, state, prefix) end
  return state
end

--- Completes a list of pairs from the host's int32 lists of n entries.
function Demux:plan(pairs, who, where, n)
  if self.spec.plan then self.spec.plan(self, pairs, who, where, n) end
end

--- The inner layer for pairs -> [n, C or rank]. Raises E208 for a recipe's own that returns something else.
function Demux:inner(state, pairs)
  local y = self.spec.inner(self, state, pairs)
  if type(y) ~= 'table' or not y.c then
    registry:fault(self.kind, 'inner', ('returns %s, expected a tensor'):format(tostring(y)))
  elseif y:cols() ~= self.cols or y:rows() ~= pairs.who:numel() then
    registry:fault(self.kind, 'inner', ('returns [%d, %d], expected [%d, %d]: a row a pair, %s'):format(y:rows(),
      y:cols(), pairs.who:numel(), self.cols, self.rank > 0 and 'demux.rank columns' or 'model.width columns'))
  end
  return y
end

--- From the inner layer (or a mean of it, with a rank) to the instance's state: widen, norm.
function Demux:finish(x)
  if self.up then x = self:run('up', self.up, x) end
  return self.norm and self:run('LayerNorm', self.norm, x) or x
end

--- The whole for pairs -> [n, C].
function Demux:pairs(state, pairs) return self:finish(self:inner(state, pairs)) end

return Demux
