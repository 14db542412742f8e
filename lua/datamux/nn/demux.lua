-- demux.lua -- class Demux: from mixed states and an instance's key to that instance's own states.
--
-- Three kinds, one interface. For pairs (instance, position):
--   index   LN(act(Wp p_i + Wh h_l + b))          p_i = the state at prefix position i   (DataMUX, published)
--   rsa     LN(act(Wp k_i + Wh h_l + b))          k_i = a learned key                    (MUX-PLM)
--   unbind  LN(act(A (k_i * h_l) + B h_l + b))    k_i = the multiplexer's key, or a learned one
-- W1 [p ; h] is computed in its split form, so the [pairs, 2C] tensor never exists. With rank r < C the inner
-- layer is r wide and U [C, r] widens it before the norm. Sources: Murahari et al. 2022 and 2023.
local Module = require 'datamux.nn.module'
local Linear = require 'datamux.nn.linear'
local LayerNorm = require 'datamux.nn.norm'
local embed = require 'datamux.ops.embed'
local mux = require 'datamux.ops.mux'

local Demux = Module.class 'Demux'

--- o: { kind, n, width, rank (0 = full width), init, eps, key = tensor [N, C] to share (unbind), or nil: own }.
function Demux.new(o)
  local inner = o.rank > 0 and o.rank or o.width
  local self = Module.init(Demux, { kind = o.kind, n = o.n, rank = o.rank, args = { act = 'gelu' } })
  if o.kind == 'unbind' then
    self:param('unbind', { inner, o.width }, o.init)
  else
    self:child('of_key', Linear.new(o.width, inner, { bias = false, init = o.init }), 'key')
  end
  self:child('of_state', Linear.new(o.width, inner, { init = o.init }), 'dense')
  if o.kind == 'rsa' or (o.kind == 'unbind' and not o.key) then
    self:param('keys', { o.n, o.width }, 1, false)
  elseif o.kind == 'unbind' then
    self:share('keys', o.key)
  end
  if o.rank > 0 then self:child('up', Linear.new(inner, o.width, { init = o.init })) end
  self:child('norm', LayerNorm.new(o.width, { eps = o.eps }), 'LayerNorm')
  return self
end

--- What is computed once per position and once per key. h [.., C]: mixed states that pairs will refer to by row;
--- prefix: for kind index, { x = states, rows = i32 [B*N] } where the prefix states lie in x.
function Demux:begin(h, prefix)
  local state = { h = h, of_state = self:run('dense', self.of_state, h) }
  if self.kind == 'index' then
    state.of_key = self:run('key', self.of_key, embed.gather(prefix.x, prefix.rows))
  elseif self.kind == 'rsa' then
    state.of_key = self:run('key', self.of_key, self.keys)
  end
  return state
end

--- The inner layer for pairs: who, where i32 [R]; row r asks for key row who[r] (for kind index: b N + i; else i)
--- at row where[r] of h -> [R, C or rank].
function Demux:inner(state, who, where)
  local a = self.args
  if self.kind == 'unbind' then
    a.ik, a.ih = who, where
    return mux.unbind(self.keys, state.h, state.of_state, self.unbind, a)
  end
  return mux.demux(state.of_key, state.of_state, who, where, a)
end

--- From the inner layer (or a mean of it, with a rank) to the instance's state: widen, norm.
function Demux:finish(x)
  if self.rank > 0 then x = self:run('up', self.up, x) end
  return self:run('LayerNorm', self.norm, x)
end

--- The whole for pairs -> [R, C].
function Demux:pairs(state, who, where) return self:finish(self:inner(state, who, where)) end

return Demux
