-- optim.lua -- optimisers over a model's flat block: AdamW (decay 0 is Adam) and SGD, with clipping by norm.
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local C, check = core.C, core.check

local Optimiser = {}
Optimiser.__index = Optimiser

--- model: a built Module. o: { kind = 'adamw' | 'sgd', beta1 = 0.9, beta2 = 0.999, eps = 1e-8, decay = 0,
--- clip = 0 (none), momentum = 0 }. The learning rate is a knob of the step (scope.knobs).
--- Sources: Kingma & Ba 2015; Loshchilov & Hutter 2019.
function Optimiser.new(model, o)
  local self = setmetatable({ model = model, o = {
    kind = o.kind or 'adamw', beta1 = o.beta1 or 0.9, beta2 = o.beta2 or 0.999, eps = o.eps or 1e-8,
    decay = o.decay or 0, clip = o.clip or 0, momentum = o.momentum or 0 } }, Optimiser)
  local n = model.block.p:numel()
  self.norm = Tensor.lasting({ 1 }, 'f32'):fill(0)
  if self.o.kind == 'adamw' then
    self.m, self.v = Tensor.lasting({ n }, 'f32'):fill(0), Tensor.lasting({ n }, 'f32'):fill(0)
  elseif self.o.kind == 'sgd' then
    if self.o.momentum > 0 then self.m = Tensor.lasting({ n }, 'f32'):fill(0) end
  else
    core.raise(("optimiser: kind is '%s', expected adamw or sgd"):format(tostring(o.kind)))
  end
  return self
end

--- All gradients of an update are written: asks for their norm where it clips. To be called before the host waits for
--- the device, so that gradient_norm then need not; step does it where nobody did.
function Optimiser:measure()
  self.model:settle()
  if self.o.clip > 0 then check(C.dm_norm2(self.norm.c, self.model.block.g.c)) end
  self.measured = true
end

--- One update from the gradients in the block; gradients are consumed.
function Optimiser:step()
  local block, o = self.model.block, self.o
  if not self.measured then self:measure() end
  self.measured = false
  local norm = o.clip > 0 and self.norm.c or nil
  if o.kind == 'adamw' then
    check(C.dm_adamw(block.p.c, self.m.c, self.v.c, core.ptr(block.copy), block.g.c, norm, block.decayed, o.beta1,
      o.beta2, o.eps, o.decay, o.clip))
  else
    check(C.dm_sgd(block.p.c, core.ptr(self.m), core.ptr(block.copy), block.g.c, norm, block.decayed, o.momentum,
      o.decay, o.clip))
  end
end

--- Norm of the gradients that were measured last, before clipping; nil where nothing is clipped.
function Optimiser:gradient_norm() return self.o.clip > 0 and self.norm:item() or nil end

--- The state to save: name -> Tensor.
function Optimiser:state() return { m = self.m, v = self.v } end

--- Sets the moments to zero (a new stage starts afresh).
function Optimiser:reset()
  if self.m then self.m:fill(0) end
  if self.v then self.v:fill(0) end
end

return Optimiser
