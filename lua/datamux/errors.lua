-- errors.lua -- user errors: a message and an exit code, and "did you mean".
local M = {}

--- Exit codes of the command, by class.
M.codes = { internal = 1, config = 2, data = 3, environment = 4, memory = 5, numerical = 6, checkpoint = 7,
            network = 8, stopped = 75 }

local UserError = {}
UserError.__index = UserError
UserError.__tostring = function(e) return e.message end

--- Raises a user error: shown without a stack trace; the command exits with `code`.
function M.raise(code, message)
  error(setmetatable({ code = code, message = message }, UserError), 0)
end

--- True for an error made by raise.
function M.is(e) return getmetatable(e) == UserError end

-- Edits (insert, delete, replace, swap of neighbours) between a and b: Damerau & Levenshtein.
local function distance(a, b)
  local d = {}
  for i = 0, #a do d[i] = { [0] = i } end
  for j = 0, #b do d[0][j] = j end
  for i = 1, #a do
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local v = math.min(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        v = math.min(v, d[i - 2][j - 2] + 1)
      end
      d[i][j] = v
    end
  end
  return d[#a][#b]
end

--- The name of `list` that is closest to `name`, or nil when none is close.
function M.nearest(name, list)
  local best, least = nil, math.max(2, math.floor(#name / 2))
  for _, candidate in ipairs(list) do
    local k = distance(name:lower(), candidate:lower())
    if candidate:find(name, 1, true) or name:find(candidate, 1, true) then k = math.min(k, 1) end
    if k < least or (k == least and not best) then best, least = candidate, k end
  end
  return best
end

--- " Did you mean 'x'?" or "".
function M.suggest(name, list)
  local near = M.nearest(name, list)
  return near and (" Did you mean '%s'?"):format(near) or ''
end

return M
