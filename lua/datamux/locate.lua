-- locate.lua -- which line of a recipe sets which key, read from its text: for messages and origins.
-- Tables written out are followed ({ model = { layers = 4 } } is model.layers); values that code computes are not
-- found, and then nothing is claimed.
local M = {}

-- Skips a long bracket [[ ]] or [=[ ]=] that opens at i; the index after it, or nil where none opens.
local function long_bracket(text, i)
  local level = text:match('^%[(=*)%[', i)
  if not level then return nil end
  local _, stop = text:find(']' .. level .. ']', i, true)
  return (stop or #text) + 1
end

local function after_string(text, i)
  local quote = text:sub(i, i)
  local at = i + 1
  while at <= #text do
    local c = text:sub(at, at)
    if c == '\\' then
      at = at + 1
    elseif c == quote or c == '\n' then
      return at + 1
    end
    at = at + 1
  end
  return at
end

local function newlines(text, from, to)
  return select(2, text:sub(from, to):gsub('\n', ''))
end

--- path -> line of `text`, Lua source. A path starts inside the outermost table constructor.
function M.lines(text)
  local out, stack, line, at = {}, {}, 1, 1
  local pending                                   -- the key whose value comes next
  while at <= #text do
    local c, next_at = text:sub(at, at), at + 1
    if text:sub(at, at + 1) == '--' then
      next_at = long_bracket(text, at + 2) or (text:find('\n', at, true) or #text + 1)
    elseif c == '"' or c == "'" then
      next_at, pending = after_string(text, at), nil
    elseif c == '[' then
      next_at = long_bracket(text, at) or next_at
    elseif c == '{' then
      stack[#stack + 1] = pending or ''
      pending = nil
    elseif c == '}' then
      stack[#stack], pending = nil, nil
    elseif c:find '[%a_]' then
      local word = text:match('^[%w_]+', at)
      next_at = at + #word
      if #stack > 0 and text:find('^%s*=[^=]', next_at) then
        local path = table.concat(stack, '.', 2)
        path = path == '' and word or path .. '.' .. word
        out[path] = out[path] or line
        pending = word
      end
    elseif c == ',' or c == ';' then
      pending = nil
    end
    line = line + newlines(text, at, next_at - 1)
    at = next_at
  end
  return out
end

--- The same of a file; an empty table where it cannot be read.
function M.file(path)
  local f = path and io.open(path)
  if not f then return {} end
  local text = f:read '*a' or ''
  f:close()
  return M.lines(text)
end

return M
