-- unbind.lua -- LN(act(A (k_i * h_l) + B h_l + b)), k_i the key that bound the instance, or a learned one.
-- Source: holographic reduced representations (Plate 1995); docs/method.md.
local mux = require 'datamux.ops.mux'

return {
  keys = { mux = true, own = true },
  declare = function(self, o)
    self:param('unbind', { o.inner, o.width }, o.init)
    self:dense(o)
    if o.key then
      self:share('keys', o.key)
    else
      self:param('keys', { o.n, o.width }, 1, false)
    end
  end,
  inner = function(self, state, pairs)
    local a = self.args
    a.ik, a.ih = pairs.who, pairs.where
    return mux.unbind(self.keys, state.h, state.of_state, self.unbind, a)
  end,
}
