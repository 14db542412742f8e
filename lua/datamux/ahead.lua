-- ahead.lua -- the inputs of a loop's steps: where the device works behind the host's back, those of the next step are
-- made and copied while the step before runs; elsewhere in the step itself.
--
--   local inputs = ahead.new(function(k) return model:prepare(batches:batch(0, k), ..) end)
--   scope.step(function()
--     local q = inputs:take(k)
--     local y = model:forward(q)                 -- asked for, not waited for
--     inputs:leave(k + 1)                        -- or leave() after the last
--     .. what waits for y ..
--   end)
-- There is room for one that is used and one that waits, whoever's they are: of two loops in turn, what one has waiting
-- is made again.
local scope = require 'datamux.scope'

local M = {}

local Inputs = {}
Inputs.__index = Inputs

local made = 0                   -- how often inputs were made ahead
local used                       -- the place whose tensors the running step reads

--- The inputs that make(..) makes: a pure function of up to four numbers and tables, which returns a table of tensors.
function M.new(make) return setmetatable({ make = make }, Inputs) end

local function bring(self, what)
  made = made + 1
  local q, place = scope.ahead(self.make, what[1], what[2], what[3], what[4])
  self.waiting = { what = what, q = q, place = place, made = made }
end

-- What was asked for so far is the last that reads the place in use.
local function give_back()
  if used then scope.leave(used) end
  used = nil
end

-- Whether make(..) of these was made, and nothing else after it.
local function waits(self, what)
  local w = self.waiting
  if not w or w.made ~= made then return false end
  for k = 1, 4 do
    if w.what[k] ~= what[k] then return false end
  end
  return true
end

--- make(..), to be used by what is asked for from here on, until leave.
function Inputs:take(...)
  if not scope.records() then return self.make(...) end
  give_back()
  local what = { ... }
  if not waits(self, what) then bring(self, what) end
  local w = self.waiting
  scope.arrive(w.place)
  used, self.waiting = w.place, nil
  return w.q
end

--- After the step was asked for: while it runs, make(..) is made for the next one; nothing where nothing is given.
function Inputs:leave(...)
  if not scope.records() then return end
  give_back()
  if ... then bring(self, { ... }) end
end

return M
