-- reader.lua -- text files by lines: plain, .gz and .zst, told apart by their first bytes.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local C = core.C

local M = {}

if not pcall(ffi.typeof, 'struct dm_zstd_in') then
  ffi.cdef [[
    typedef struct dm_zstd_in { const void *src; size_t size; size_t pos; } dm_zstd_in;
    typedef struct dm_zstd_out { void *dst; size_t size; size_t pos; } dm_zstd_out;
    void *ZSTD_createDStream(void);
    size_t ZSTD_freeDStream(void *z);
    size_t ZSTD_decompressStream(void *z, dm_zstd_out *out, dm_zstd_in *in);
    unsigned ZSTD_isError(size_t code);
    const char *ZSTD_getErrorName(size_t code);

    typedef struct dm_z_stream {
      const uint8_t *next_in; unsigned avail_in; unsigned long total_in;
      uint8_t *next_out; unsigned avail_out; unsigned long total_out;
      const char *msg; void *state; void *zalloc; void *zfree; void *opaque;
      int data_type; unsigned long adler; unsigned long reserved;
    } dm_z_stream;
    int inflateInit2_(dm_z_stream *s, int bits, const char *version, int size);
    int inflate(dm_z_stream *s, int flush);
    int inflateReset(dm_z_stream *s);
    int inflateEnd(dm_z_stream *s);
    const char *zlibVersion(void);
  ]]
end

local CHUNK = 1048576
local libraries = {}

local function library(name, package)
  if not libraries[name] then
    local ok, lib = pcall(ffi.load, name)
    if not ok then errors.raise(4, ('%s is not installed (Debian: %s)'):format(name, package)) end
    libraries[name] = lib
  end
  return libraries[name]
end

local function broken(path, why) errors.raise(3, ('%s: %s'):format(path, why)) end

-- Each source is a function that returns the next piece of text, nil at the end.

local function plain_source(file)
  local at = 0
  return function()
    if at >= file.size then return nil end
    local n = math.min(CHUNK, file.size - at)
    at = at + n
    return ffi.string(file.data + at - n, n)
  end
end

local function zstd_source(file, path)
  local z = library('libzstd.so.1', 'libzstd1')
  local stream = ffi.gc(z.ZSTD_createDStream(), z.ZSTD_freeDStream)
  local buffer, input, output = ffi.new('uint8_t[?]', CHUNK), ffi.new 'dm_zstd_in', ffi.new 'dm_zstd_out'
  input.src, input.size, input.pos = file.data, file.size, 0
  local left = 1
  return function()
    while true do
      output.dst, output.size, output.pos = buffer, CHUNK, 0
      local done = input.pos >= input.size
      if done and left == 0 then return nil end
      local code = z.ZSTD_decompressStream(stream, output, input)
      if z.ZSTD_isError(code) ~= 0 then broken(path, 'not valid zstd: ' .. ffi.string(z.ZSTD_getErrorName(code))) end
      left = tonumber(code)
      if output.pos > 0 then return ffi.string(buffer, output.pos) end
      if done and left ~= 0 then broken(path, 'the zstd stream is cut off') end
    end
  end
end

local function gzip_source(file, path)
  local z = library('libz.so.1', 'zlib1g')
  local s, buffer = ffi.new 'dm_z_stream', ffi.new('uint8_t[?]', CHUNK)
  s.next_in, s.avail_in = file.data, file.size
  assert(z.inflateInit2_(s, 47, z.zlibVersion(), ffi.sizeof(s)) == 0)
  ffi.gc(s, z.inflateEnd)
  local ended = false
  return function()
    while not ended or s.avail_in > 0 do
      if ended then z.inflateReset(s) end
      s.next_out, s.avail_out = buffer, CHUNK
      local code = z.inflate(s, 0)
      ended = code == 1
      if code ~= 0 and code ~= 1 and not (code == -5 and s.avail_in == 0) then
        broken(path, 'not valid gzip: ' .. (s.msg ~= nil and ffi.string(s.msg) or 'code ' .. code))
      end
      local n = CHUNK - s.avail_out
      if n > 0 then return ffi.string(buffer, n) end
      if code == -5 or (not ended and s.avail_in == 0) then broken(path, 'the gzip stream is cut off') end
    end
  end
end

local function source_of(file, path)
  local d, n = file.data, file.size
  if n >= 4 and d[0] == 0x28 and d[1] == 0xb5 and d[2] == 0x2f and d[3] == 0xfd then return zstd_source(file, path) end
  if n >= 2 and d[0] == 0x1f and d[1] == 0x8b then return gzip_source(file, path) end
  return plain_source(file)
end

--- Iterator over the lines of a file (without \n or \r\n): for line, number in reader.lines(path). Raises a data
--- error (code 3) with the path when it cannot be read or its compression is broken.
function M.lines(path)
  local file = ffi.new 'dm_file'
  if C.dm_file_map(file, path) ~= 0 then errors.raise(3, ffi.string(C.dm_last_error())) end
  ffi.gc(file, C.dm_file_unmap)
  local source, rest, at, number = source_of(file, path), '', 1, 0
  return function()
    while true do
      local stop = rest:find('\n', at, true)
      if stop then
        local line = rest:sub(at, stop - 1)
        at, number = stop + 1, number + 1
        if line:byte(-1) == 13 then line = line:sub(1, -2) end
        return line, number
      end
      local piece = file and source()
      if piece then
        rest, at = rest:sub(at) .. piece, 1
      else
        local line = rest:sub(at)
        if file then C.dm_file_unmap(file) end
        rest, at, file = '', 1, nil
        if line == '' then return nil end
        if line:byte(-1) == 13 then line = line:sub(1, -2) end
        return line, number + 1
      end
    end
  end
end

--- The whole text of a file, decompressed.
function M.text(path)
  local file = ffi.new 'dm_file'
  if C.dm_file_map(file, path) ~= 0 then errors.raise(3, ffi.string(C.dm_last_error())) end
  ffi.gc(file, C.dm_file_unmap)
  local out = {}
  for piece in source_of(file, path) do out[#out + 1] = piece end
  C.dm_file_unmap(file)
  return table.concat(out)
end

--- Position of the first byte that is not valid UTF-8, or nil.
function M.invalid_utf8(s)
  if not s:find('[\128-\255]') then return nil end
  local i, n = 1, #s
  while i <= n do
    local b = s:byte(i)
    local len = b < 0x80 and 1 or b < 0xc2 and 0 or b < 0xe0 and 2 or b < 0xf0 and 3 or b < 0xf5 and 4 or 0
    if len == 0 or i + len - 1 > n then return i end
    for k = 1, len - 1 do
      local c = s:byte(i + k)
      local low = k == 1 and (b == 0xe0 and 0xa0 or b == 0xf0 and 0x90) or 0x80
      local high = k == 1 and (b == 0xed and 0x9f or b == 0xf4 and 0x8f) or 0xbf
      if c < low or c > high then return i end
    end
    i = i + len
  end
  return nil
end

return M
