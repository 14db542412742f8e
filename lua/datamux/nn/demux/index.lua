-- index.lua -- LN(act(Wp p_i + Wh h_l + b)), p_i = the state at prefix position i. The published demultiplexer.
-- Source: DataMUX (Murahari et al. 2022), index embeddings.
local Linear = require 'datamux.nn.linear'
local embed = require 'datamux.ops.embed'
local mux = require 'datamux.ops.mux'

return {
  prefix = true,
  declare = function(self, o)
    self:child('of_key', Linear.new(o.width, o.inner, { bias = false, init = o.init }), 'key')
    self:dense(o)
  end,
  begin = function(self, state, prefix)
    state.of_key = self:run('key', self.of_key, embed.gather(prefix.x, prefix.rows))
  end,
  inner = function(self, state, pairs)
    return mux.demux(state.of_key, state.of_state, pairs.who, pairs.where, self.args)
  end,
}
