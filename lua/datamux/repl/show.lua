-- repl/show.lua -- values as the prompt prints them: tensors and modules by their own tostring, tables on a few lines.
local M = {}

local function has_text(v)
  local mt = debug.getmetatable(v)
  return type(mt) == 'table' and mt.__tostring ~= nil
end

--- One line for a value.
function M.brief(v)
  if type(v) == 'string' then
    local text = #v > 70 and v:sub(1, 67) .. '...' or v
    return (('%q'):format(text):gsub('\\\n', '\\n'))
  end
  if type(v) == 'table' then
    if has_text(v) then return (tostring(v):match '^[^\n]*') end
    local n = 0
    for _ in pairs(v) do n = n + 1 end
    if n == 0 then return '{}' end
    return n == #v and ('{ .. %d values }'):format(n) or ('{ .. %d fields }'):format(n)
  end
  return tostring(v)
end

local parts_of

local function line_of(parts) return #parts == 0 and '{}' or '{ ' .. table.concat(parts, ', ') .. ' }' end

-- A value inside a table, `depth` tables down: a small table whole, a large one as its size.
local function cell(v, depth)
  if type(v) == 'number' then return ('%.6g'):format(v) end
  if type(v) == 'table' and not has_text(v) and depth <= 3 then
    local parts, whole = parts_of(v, depth + 1)
    local line = line_of(parts)
    if whole and #line <= 90 then return line end
  end
  return M.brief(v)
end

-- What stands in a table, as a list of texts, and whether that is all of it.
function parts_of(t, depth)
  local parts, fields = {}, {}
  for i = 1, math.min(#t, 12) do parts[i] = cell(t[i], depth) end
  if #t > 12 then parts[#parts + 1] = ('.. %d values'):format(#t) end
  for k in pairs(t) do
    if not (type(k) == 'number' and k >= 1 and k <= #t and k == math.floor(k)) then fields[#fields + 1] = k end
  end
  table.sort(fields, function(a, b) return tostring(a) < tostring(b) end)
  for i, k in ipairs(fields) do
    if i > 20 then
      parts[#parts + 1] = ('.. %d fields'):format(#fields)
      break
    end
    local name = type(k) == 'string' and k:find '^[%a_][%w_]*$' and k or ('[%s]'):format(M.brief(k))
    parts[#parts + 1] = ('%s = %s'):format(name, cell(t[k], depth))
  end
  return parts, #t <= 12 and #fields <= 20
end

local function show_table(t)
  local parts = parts_of(t, 1)
  local line = line_of(parts)
  if #line <= 100 then return line end
  return '{\n  ' .. table.concat(parts, ',\n  ') .. '\n}'
end

--- A value on as many lines as it takes.
function M.show(v)
  if type(v) == 'string' then return v end
  if type(v) == 'table' and not has_text(v) then return show_table(v) end
  return type(v) == 'table' and tostring(v) or M.brief(v)
end

--- What kind of thing v is: its class, its C type, or its Lua type.
function M.type(v)
  if type(v) == 'cdata' then return tostring(require('ffi').typeof(v)):gsub('^ctype', 'cdata') end
  if type(v) ~= 'table' then return type(v) end
  local mt = debug.getmetatable(v)
  if mt ~= nil and mt == package.loaded['datamux.tensor'] then return 'Tensor' end
  return rawget(v, 'class') or (type(mt) == 'table' and type(mt.class) == 'string' and mt.class) or 'table'
end

return M
