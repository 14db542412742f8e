-- outlier.lua -- tells when a number leaves the range of those before it: a spike of the loss, or of a norm.
local M = {}

local Outlier = {}
Outlier.__index = Outlier

local FADE = 0.02                  -- part of a new value in mean and variance: they reach back some 50 values
local FIRST = 50                   -- values before anything is told
local FAR, NEAR = 6, 2             -- standard deviations above the mean where a spike begins, and where it is over
local LARGE = 1.5                  -- and it is so many times the mean at least: a flat line has hardly a deviation

--- A watch over a series of numbers.
function M.new() return setmetatable({ n = 0, mean = 0, variance = 0, inside = false }, Outlier) end

--- Takes the next number. Returns its z-score, and the mean it is measured by, where a spike begins with it (once for
--- each spike, then); else nil.
function Outlier:see(v)
  if v ~= v or v == math.huge then return nil end
  local mean, sd = self.mean, math.sqrt(self.variance)
  local z = sd > 0 and (v - mean) / sd or 0
  local begins = self.n >= FIRST and z >= FAR and v >= LARGE * mean and not self.inside
  if begins then self.inside = true elseif z < NEAR then self.inside = false end
  self.n = self.n + 1
  local a = math.max(FADE, 1 / self.n)
  local d = self.n > FIRST and math.min(v - mean, FAR * sd) or v - mean      -- a spike must not hide the next one
  self.mean = mean + a * d
  self.variance = (1 - a) * (self.variance + a * d * d)
  if begins then return z, mean end
end

return M
