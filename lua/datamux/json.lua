-- json.lua -- a small JSON writer: sorted keys, lists by content or json.list, NaN and infinity as null.
local M = {}

local List = {}

--- Marks a table as a list, also when it is empty.
function M.list(t) return setmetatable(t, List) end

local escapes = { ['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t' }

local function quote(s)
  return '"' .. s:gsub('[%c"\\]', function(c) return escapes[c] or ('\\u%04x'):format(c:byte()) end) .. '"'
end

local function number(v)
  if v ~= v or math.abs(v) == math.huge then return 'null' end
  if v == math.floor(v) and math.abs(v) < 1e15 then return ('%d'):format(v) end
  for digits = 6, 17 do
    local s = ('%.' .. digits .. 'g'):format(v)
    if tonumber(s) == v then return s end
  end
end

local function encode(v, indent, pad)
  local kind = type(v)
  if kind == 'number' then return number(v) end
  if kind == 'string' then return quote(v) end
  if kind ~= 'table' then return v == nil and 'null' or tostring(v) end
  local inner = indent and pad .. indent or ''
  local out, open, close = {}, '{', '}'
  if getmetatable(v) == List or #v > 0 then
    open, close = '[', ']'
    for i = 1, #v do out[i] = encode(v[i], indent, inner) end
  else
    local keys = {}
    for k in pairs(v) do keys[#keys + 1] = tostring(k) end
    table.sort(keys)
    for i, k in ipairs(keys) do
      local value = v[k]
      if value == nil then value = v[tonumber(k)] end
      out[i] = quote(k) .. (indent and ': ' or ':') .. encode(value, indent, inner)
    end
  end
  if #out == 0 then return open .. close end
  if not indent then return open .. table.concat(out, ',') .. close end
  return open .. '\n' .. inner .. table.concat(out, ',\n' .. inner) .. '\n' .. pad .. close
end

--- The text of v; pretty: over several lines.
function M.encode(v, pretty) return encode(v, pretty and '  ' or nil, '') end

return M
