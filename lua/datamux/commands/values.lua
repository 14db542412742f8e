-- commands/values.lua -- what options take: functions from the word that was typed to its value, or to nil and what was
-- expected instead.
local M = {}

--- A whole number >= low.
function M.whole(low)
  return function(text)
    local v = tonumber(text)
    if v and v >= low and v == math.floor(v) and v < math.huge then return v end
    return nil, ('a whole number >= %d'):format(low)
  end
end

--- Any number.
function M.number(text)
  local v = tonumber(text)
  if v and v == v then return v end
  return nil, 'a number'
end

function M.probability(text)
  local v = tonumber(text)
  if v and v >= 0 and v <= 1 then return v end
  return nil, 'a probability from 0 to 1'
end

--- Seconds of 90s, 30m, 2h.
function M.seconds(text)
  local v, unit = text:match '^([%d.]+)([smhd]?)$'
  v = tonumber(v)
  if v and v > 0 then return v * ({ [''] = 1, s = 1, m = 60, h = 3600, d = 86400 })[unit] end
  return nil, 'a time such as 90s, 30m, 2h'
end

--- One of a list of words.
function M.one_of(list)
  return function(text)
    for _, word in ipairs(list) do
      if word == text then return text end
    end
    return nil, 'one of ' .. table.concat(list, ', '), require('datamux.errors').nearest(text, list)
  end
end

return M
