-- utf8.lua -- code points in and out of strings, and the Unicode tables of libutf8proc.
local ffi = require 'ffi'
local errors = require 'datamux.errors'

local M = {}

if not pcall(ffi.typeof, 'struct dm_utf8_defined') then
  ffi.cdef [[
    struct dm_utf8_defined { int one; };
    int utf8proc_category(int32_t codepoint);
    int32_t utf8proc_tolower(int32_t codepoint);
    ssize_t utf8proc_decompose(const uint8_t *s, ssize_t n, int32_t *out, ssize_t room, int options);
  ]]
end

local library

local function lib()
  if not library then
    local ok, found = pcall(ffi.load, 'libutf8proc.so.2')
    if not ok then errors.raise('E404', 'libutf8proc.so.2 is not installed (Debian: libutf8proc2)') end
    library = found
  end
  return library
end

--- Code points of a string as a list; each maximal part that is not valid UTF-8 becomes U+FFFD (as WHATWG decoders).
function M.codepoints(s)
  local out, i, n = {}, 1, #s
  while i <= n do
    local b = s:byte(i)
    if b < 0x80 then
      out[#out + 1] = b
      i = i + 1
    else
      local len = b < 0xc2 and 0 or b < 0xe0 and 1 or b < 0xf0 and 2 or b < 0xf5 and 3 or 0
      local c = len == 1 and b - 0xc0 or len == 2 and b - 0xe0 or b - 0xf0
      local k = 0
      while k < len do
        local t = s:byte(i + k + 1)
        local low = k == 0 and (b == 0xe0 and 0xa0 or b == 0xf0 and 0x90) or 0x80
        local high = k == 0 and (b == 0xed and 0x9f or b == 0xf4 and 0x8f) or 0xbf
        if not t or t < low or t > high then break end
        c = c * 64 + t - 0x80
        k = k + 1
      end
      out[#out + 1] = len > 0 and k == len and c or 0xfffd
      i = i + k + 1
    end
  end
  return out
end

--- UTF-8 of one code point.
function M.char(c)
  if c < 0x80 then return string.char(c) end
  if c < 0x800 then return string.char(0xc0 + math.floor(c / 64), 0x80 + c % 64) end
  if c < 0x10000 then
    return string.char(0xe0 + math.floor(c / 4096), 0x80 + math.floor(c / 64) % 64, 0x80 + c % 64)
  end
  return string.char(0xf0 + math.floor(c / 262144), 0x80 + math.floor(c / 4096) % 64, 0x80 + math.floor(c / 64) % 64,
    0x80 + c % 64)
end

--- The string of a list of code points.
function M.string(list)
  local out = {}
  for i, c in ipairs(list) do out[i] = M.char(c) end
  return table.concat(out)
end

--- The string with invalid parts replaced by U+FFFD; itself when it is valid ASCII.
function M.clean(s)
  if not s:find '[\128-\255]' then return s end
  return M.string(M.codepoints(s))
end

local categories = { [0] = 'Cn', 'Lu', 'Ll', 'Lt', 'Lm', 'Lo', 'Mn', 'Mc', 'Me', 'Nd', 'Nl', 'No', 'Pc', 'Pd', 'Ps',
                     'Pe', 'Pi', 'Pf', 'Po', 'Sm', 'Sc', 'Sk', 'So', 'Zs', 'Zl', 'Zp', 'Cc', 'Cf', 'Cs', 'Co' }

--- General category of a code point: 'Lu', 'Mn', ...
function M.category(c) return categories[lib().utf8proc_category(c)] end

--- Lower case of a code point (the simple mapping).
function M.lower(c) return lib().utf8proc_tolower(c) end

--- Canonical decomposition (NFD) of a valid string, as a list of code points.
function M.nfd(s)
  local room = 4 * #s + 16
  local buffer = ffi.new('int32_t[?]', room)
  local n = tonumber(lib().utf8proc_decompose(s, #s, buffer, room, 2 + 16))      -- STABLE | DECOMPOSE
  local out = {}
  for i = 1, n do out[i] = buffer[i - 1] end
  return out
end

return M
