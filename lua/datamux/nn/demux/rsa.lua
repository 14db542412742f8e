-- rsa.lua -- LN(act(Wp k_i + Wh h_l + b)), k_i a learned private key; no prefix.
-- Source: MUX-PLM (Murahari et al. 2023); with the layer norm of its text, not the dropout of its program.
local Linear = require 'datamux.nn.linear'
local mux = require 'datamux.ops.mux'

return {
  declare = function(self, o)
    self:child('of_key', Linear.new(o.width, o.inner, { bias = false, init = o.init }), 'key')
    self:dense(o)
    self:param('keys', { o.n, o.width }, 1, false)
  end,
  begin = function(self, state) state.of_key = self:run('key', self.of_key, self.keys) end,
  inner = function(self, state, pairs)
    return mux.demux(state.of_key, state.of_state, pairs.who, pairs.where, self.args)
  end,
}
