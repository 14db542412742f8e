-- json.lua -- a small JSON writer: sorted keys, lists by content or json.list, NaN, infinity and cjson.null as null;
-- and the keys of an object in the order of its text, which decoding loses.
local cjson = require 'cjson'

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
  if v == nil or v == cjson.null then return 'null' end
  if kind ~= 'table' then return tostring(v) end
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

--- The keys of a JSON object, given as its (valid) text, in the order they stand there.
function M.keys(text)
  local out, seen, depth, at = {}, {}, 0, 1
  while true do
    local from = text:find('["{}%[%]]', at)
    if not from then return out end
    local stop, byte = from, text:sub(from, from)
    if byte == '{' or byte == '[' then depth = depth + 1 end
    if byte == '}' or byte == ']' then depth = depth - 1 end
    if byte == '"' then
      repeat
        stop = text:find('["\\]', stop + 1)
        local escaped = text:byte(stop) == 92
        if escaped then stop = stop + 1 end
      until not escaped
      if depth == 1 and text:find('^%s*:', stop + 1) then
        local key = cjson.decode('[' .. text:sub(from, stop) .. ']')[1]
        if not seen[key] then out[#out + 1] = key end
        seen[key] = true
      end
    end
    at = stop + 1
  end
end

return M
