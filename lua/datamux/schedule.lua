-- schedule.lua -- learning rates over a stage: constant, linear with warm-up, cosine with warm-up.
local M = {}

-- Each shape maps progress after the warm-up, in [0, 1), to a factor of the peak rate.
local shapes = {
  constant = function() return 1 end,
  linear = function(x) return 1 - x end,
  cosine = function(x) return 0.5 * (1 + math.cos(math.pi * x)) end,
}

--- Factor of the peak rate at `step` (from 1) of `total`. kind: 'constant', 'linear' or 'cosine'; warmup: the
--- fraction of the steps over which the rate climbs linearly from 0. Never 0 at a step that is taken.
function M.factor(kind, step, total, warmup)
  local rise = warmup * total
  if step < rise then return step / rise end
  local rest = math.max(total - rise, 1)
  return shapes[kind](math.min(math.max(step - 1 - rise, 0) / rest, 1))
end

--- Names of the shapes.
M.kinds = { 'constant', 'linear', 'cosine' }

return M
