-- errors.lua -- user errors: a number, what, where, why and how to fix it; exit codes; "did you mean".
local M = {}

--- Exit codes of the command, by class. The hundreds of an error's number are its class: E203 exits with 2.
M.codes = { internal = 1, config = 2, data = 3, environment = 4, memory = 5, numerical = 6, checkpoint = 7,
            network = 8, gate = 10, stopped = 75, interrupted = 130 }

local UserError = {}
UserError.__index = UserError
UserError.__tostring = function(e) return e.message end

local parts = { 'where', 'why' }

-- The lines of an error: what, where, why, further lines, the nearest name, the fix.
local function compose(f)
  local out = { f.what }
  for _, part in ipairs(parts) do
    if f[part] then out[#out + 1] = ('  %s: %s'):format(part, f[part]) end
  end
  for _, line in ipairs(f.lines or {}) do out[#out + 1] = '  ' .. line end
  if f.near then out[#out + 1] = ('  did you mean: %s?'):format(f.near) end
  if f.fix then out[#out + 1] = '  fix: ' .. f.fix end
  return table.concat(out, '\n')
end

--- Raises a user error, shown without a stack trace. id: its number, 'E201' (see datamux.explain, which has a page for
--- each); f: { what, where, why, lines (a list), near (the name that was meant), fix }, all but `what` optional, or
--- `what` alone. Where no fix is given, the command adds the usual one of the number's page.
--- An exit code of M.codes and a message make an error without a number.
function M.raise(id, f)
  local e = { trace = M.tracing and debug.traceback('', 2) or nil }
  if type(id) == 'number' then
    e.code, e.message = id, f
  else
    f = type(f) == 'table' and f or { what = f }
    e.id, e.code, e.message = id, tonumber(id:sub(2, 2)), compose(f)
    for k, v in pairs(f) do e[k] = v end
  end
  error(setmetatable(e, UserError), 0)
end

--- Raises E200 for a name in a table of options that is none of `names`. what: whose options, for the message.
function M.options(what, o, names)
  for name in pairs(o or {}) do
    local known
    for _, k in ipairs(names) do known = known or k == name end
    if not known then
      name = tostring(name)
      M.raise('E200', { what = ("%s: unknown option '%s', expected %s"):format(what, name, table.concat(names, ', ')),
        near = M.nearest(name, names), fix = 'leave it out, or name one of those' })
    end
  end
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
  local best, least = nil, math.max(1, math.floor(#name / 2))
  for _, candidate in ipairs(list) do
    local k = distance(name:lower(), candidate:lower())
    if candidate:find(name, 1, true) or name:find(candidate, 1, true) then k = math.min(k, 1) end
    if k < least or (k == least and not best) then best, least = candidate, k end
  end
  return best
end

--- The up to `most` names of `list` that are close to `name`, nearest first.
function M.close(name, list, most)
  local scored = {}
  for _, candidate in ipairs(list) do
    local k = distance(name:lower(), candidate:lower())
    if candidate:find(name, 1, true) then k = math.min(k, 1) end
    if k <= math.max(2, math.floor(#name / 3)) then scored[#scored + 1] = { k, candidate } end
  end
  table.sort(scored, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
  local out = {}
  for i = 1, math.min(most, #scored) do out[i] = scored[i][2] end
  return out
end

--- " Did you mean 'x'?" or "".
function M.suggest(name, list)
  local near = M.nearest(name, list)
  return near and (" Did you mean '%s'?"):format(near) or ''
end

return M
