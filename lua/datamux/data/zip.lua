-- zip.lua -- one member of a zip archive held in memory (stored or deflated), through zlib.
-- Format: PKWARE's APPNOTE, sections 4.3.7 and 4.3.12.
local ffi = require 'ffi'
require 'datamux.data.reader'                      -- declares zlib's interface

local M = {}

local function u16(s, at) return s:byte(at) + 256 * s:byte(at + 1) end
local function u32(s, at) return u16(s, at) + 65536 * u16(s, at + 2) end

local function inflate(packed, size)
  local z = ffi.load 'libz.so.1'
  local s, out = ffi.new 'dm_z_stream', ffi.new('uint8_t[?]', math.max(size, 1))
  s.next_in, s.avail_in = ffi.cast('const uint8_t *', packed), #packed
  s.next_out, s.avail_out = out, size
  if z.inflateInit2_(s, -15, z.zlibVersion(), ffi.sizeof(s)) ~= 0 then return nil end
  local code = z.inflate(s, 4)
  z.inflateEnd(s)
  if code ~= 1 or s.avail_out ~= 0 then return nil end
  return ffi.string(out, size)
end

--- Bytes of member `name` of archive `zip` (a string); nil and the reason.
function M.member(zip, name)
  local at
  for i = #zip - 21, math.max(1, #zip - 65557), -1 do          -- end of central directory, searched from the end
    if zip:sub(i, i + 3) == 'PK\5\6' then
      at = u32(zip, i + 16) + 1
      break
    end
  end
  if not at then return nil, 'not a zip archive, or cut off' end
  while zip:sub(at, at + 3) == 'PK\1\2' do
    local method, packed, size = u16(zip, at + 10), u32(zip, at + 20), u32(zip, at + 24)
    local n, extra, comment, where = u16(zip, at + 28), u16(zip, at + 30), u16(zip, at + 32), u32(zip, at + 42) + 1
    if zip:sub(at + 46, at + 45 + n) == name then
      if zip:sub(where, where + 3) ~= 'PK\3\4' then return nil, name .. ': its local header is not there' end
      local from = where + 30 + u16(zip, where + 26) + u16(zip, where + 28)
      local bytes = zip:sub(from, from + packed - 1)
      local text
      if method == 0 then text = bytes end
      if method == 8 then text = inflate(bytes, size) end
      if not text then return nil, ('%s: cannot be unpacked (method %d)'):format(name, method) end
      return text
    end
    at = at + 46 + n + extra + comment
  end
  return nil, name .. ' is not in the archive'
end

return M
