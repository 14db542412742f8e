-- zip.lua -- the members of a zip archive held or mapped in memory (stored or deflated), through zlib.
-- Format: PKWARE's APPNOTE, sections 4.3.7, 4.3.12, 4.3.14 and 4.5.3 (sizes over 4 GB).
local ffi = require 'ffi'
require 'datamux.data.reader'                      -- declares zlib's interface

local M = {}

local MOST = 4294967295                            -- stands for a size that the extra field holds

local function number(p, at, bytes)
  local n = 0
  for i = bytes - 1, 0, -1 do n = n * 256 + p[at + i] end
  return n
end

local function u16(p, at) return number(p, at, 2) end
local function u32(p, at) return number(p, at, 4) end
local function is(p, at, size, sign)
  return at >= 0 and at + #sign <= size and ffi.string(p + at, #sign) == sign
end

local function inflate(packed, n, size)
  local z = ffi.load 'libz.so.1'
  local s, out = ffi.new 'dm_z_stream', ffi.new('uint8_t[?]', math.max(size, 1))
  s.next_in, s.avail_in = packed, n
  s.next_out, s.avail_out = out, size
  if z.inflateInit2_(s, -15, z.zlibVersion(), ffi.sizeof(s)) ~= 0 then return nil end
  local code = z.inflate(s, 4)
  z.inflateEnd(s)
  if code ~= 1 or s.avail_out ~= 0 then return nil end
  return ffi.string(out, size)
end

-- Where the central directory starts: the end record is searched from the end.
local function directory_start(p, size)
  for i = size - 22, math.max(0, size - 65557), -1 do
    if is(p, i, size, 'PK\5\6') then
      local at = u32(p, i + 16)
      if at ~= MOST then return at end
      local wide = is(p, i - 20, size, 'PK\6\7') and number(p, i - 12, 8)
      return wide and is(p, wide, size - 56, 'PK\6\6') and number(p, wide + 48, 8) or nil
    end
  end
end

-- Puts the 8-byte sizes of an extra field in place of those that are 0xFFFFFFFF.
local function widen(p, at, stop, e)
  while at + 4 <= stop do
    local id, n = u16(p, at), u16(p, at + 2)
    local from, last = at + 4, math.min(at + 4 + n, stop)
    if id == 1 then
      for _, field in ipairs { 'size', 'packed', 'header' } do
        if e[field] == MOST and from + 8 <= last then
          e[field] = number(p, from, 8)
          from = from + 8
        end
      end
    end
    at = at + 4 + n
  end
end

--- The members of an archive of `size` bytes at p (uint8_t pointer): name -> { method, packed, size (bytes), at (where
--- its bytes start) }; nil and the reason. Nothing is read or copied but the directory.
function M.directory(p, size)
  local at = directory_start(p, size)
  if not at then return nil, 'not a zip archive, or cut off' end
  local out = {}
  while at + 46 <= size and is(p, at, size, 'PK\1\2') do
    local n, extra, comment = u16(p, at + 28), u16(p, at + 30), u16(p, at + 32)
    local e = { method = u16(p, at + 10), packed = u32(p, at + 20), size = u32(p, at + 24), header = u32(p, at + 42) }
    if at + 46 + n + extra > size then return nil, 'its directory is cut off' end
    local name = ffi.string(p + at + 46, n)
    widen(p, at + 46 + n, at + 46 + n + extra, e)
    if e.header + 30 > size or not is(p, e.header, size, 'PK\3\4') then
      return nil, name .. ': its local header is not there'
    end
    e.at = e.header + 30 + u16(p, e.header + 26) + u16(p, e.header + 28)
    if e.at + e.packed > size then return nil, name .. ': cut off' end
    out[name] = e
    at = at + 46 + n + extra + comment
  end
  return out
end

--- Bytes of an entry of directory(p), as a string; nil where it cannot be unpacked.
function M.read(p, e)
  if e.method == 0 then return ffi.string(p + e.at, e.packed) end
  if e.method == 8 then return inflate(p + e.at, e.packed, e.size) end
end

--- Bytes of member `name` of archive `zip` (a string); nil and the reason.
function M.member(zip, name)
  local p = ffi.cast('const uint8_t *', zip)
  local entries, why = M.directory(p, #zip)
  if not entries then return nil, why end
  local e = entries[name]
  if not e then return nil, name .. ' is not in the archive' end
  local text = M.read(p, e)
  if not text then return nil, ('%s: cannot be unpacked (method %d)'):format(name, e.method) end
  return text
end

return M
