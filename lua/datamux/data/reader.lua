-- reader.lua -- text by lines, from files and standard input: plain, .gz and .zst, told apart by their first bytes.
local ffi = require 'ffi'
local lfs = require 'lfs'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
require 'datamux.sys'                              -- declares open and strerror
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

    struct dm_pollfd { int fd; short events, revents; };
    int poll(struct dm_pollfd *list, unsigned long n, int ms);
    ssize_t read(int fd, void *to, size_t n);
  ]]
end

local CHUNK = 1048576
local libraries = {}

local function library(name, package)
  if not libraries[name] then
    local ok, lib = pcall(ffi.load, name)
    if not ok then errors.raise('E404', ('%s is not installed (Debian: %s)'):format(name, package)) end
    libraries[name] = lib
  end
  return libraries[name]
end

local function broken(path, why) errors.raise('E307', ('%s: %s'):format(path, why)) end

-- -- bytes: pull() returns a pointer and a number of bytes that hold until the next pull, nil at the end ---------

-- The bytes of a mapped file.
local function pull_file(path)
  local file = ffi.new 'dm_file'
  if C.dm_file_map(file, path) ~= 0 then errors.raise('E303', ffi.string(C.dm_last_error())) end
  ffi.gc(file, C.dm_file_unmap)
  local at = 0
  return function()
    if at >= file.size then
      C.dm_file_unmap(file)
      return nil
    end
    local n = math.min(CHUNK, file.size - at)
    at = at + n
    return file.data + at - n, n
  end
end

-- What arrives at a descriptor, as it arrives.
local function pull_descriptor(fd, name)
  local buffer = ffi.new('uint8_t[?]', CHUNK)
  return function()
    while true do
      local n = tonumber(C.read(fd, buffer, CHUNK))
      if n > 0 then return buffer, n end
      if n == 0 then return nil end
      if C.dm_interrupted() > 0 then errors.raise(errors.codes.stopped, name .. ': interrupted') end
      if ffi.errno() ~= 4 then broken(name, ffi.string(C.strerror(ffi.errno()))) end          -- EINTR: again
    end
  end
end

-- -- sources: a function that returns the next piece of text, nil at the end ---------------------------------------

local function plain_source(pull)
  return function()
    local data, n = pull()
    return data and ffi.string(data, n)
  end
end

local function zstd_source(pull, path)
  local z = library('libzstd.so.1', 'libzstd1')
  local stream = ffi.gc(z.ZSTD_createDStream(), z.ZSTD_freeDStream)
  local buffer, input, output = ffi.new('uint8_t[?]', CHUNK), ffi.new 'dm_zstd_in', ffi.new 'dm_zstd_out'
  local left, ended = 1, false
  return function()
    while true do
      if input.pos >= input.size and not ended then
        local data, n = pull()
        ended = data == nil
        input.src, input.size, input.pos = data, n or 0, 0
      end
      output.dst, output.size, output.pos = buffer, CHUNK, 0
      if ended and left == 0 then return nil end
      local code = z.ZSTD_decompressStream(stream, output, input)
      if z.ZSTD_isError(code) ~= 0 then broken(path, 'not valid zstd: ' .. ffi.string(z.ZSTD_getErrorName(code))) end
      left = tonumber(code)
      if output.pos > 0 then return ffi.string(buffer, output.pos) end
      if ended and left ~= 0 then broken(path, 'the zstd stream is cut off') end
    end
  end
end

local function gzip_source(pull, path)
  local z = library('libz.so.1', 'zlib1g')
  local s, buffer = ffi.new 'dm_z_stream', ffi.new('uint8_t[?]', CHUNK)
  assert(z.inflateInit2_(s, 47, z.zlibVersion(), ffi.sizeof(s)) == 0)
  ffi.gc(s, z.inflateEnd)
  local ended, drained = false, false                -- a member has ended; nothing is left to pull
  return function()
    while true do
      if s.avail_in == 0 and not drained then
        local data, n = pull()
        drained = data == nil
        s.next_in, s.avail_in = data, n or 0
      end
      if ended and s.avail_in == 0 then return nil end
      if ended then z.inflateReset(s) end
      s.next_out, s.avail_out = buffer, CHUNK
      local code = z.inflate(s, 0)
      ended = code == 1
      if code ~= 0 and code ~= 1 and not (code == -5 and s.avail_in == 0) then
        broken(path, 'not valid gzip: ' .. (s.msg ~= nil and ffi.string(s.msg) or 'code ' .. code))
      end
      local n = CHUNK - s.avail_out
      if n > 0 then return ffi.string(buffer, n) end
      if drained and not ended then broken(path, 'the gzip stream is cut off') end
    end
  end
end

local magics = { { '\40\181\47\253', zstd_source }, { '\31\139', gzip_source } }

-- The source whose first bytes are those that pull gives; waits for more only while they could be a magic number.
local function source_of(pull, path)
  local held, ended = '', false
  local function undecided()
    for _, m in ipairs(magics) do
      if #held < #m[1] and m[1]:sub(1, #held) == held then return true end
    end
  end
  while not ended and undecided() do
    local data, n = pull()
    ended = data == nil
    if data then held = held .. ffi.string(data, n) end
  end
  local given = false
  local function all()                               -- `held` lives as long as this function: its bytes stay
    if not given and held ~= '' then
      given = true
      return ffi.cast('const uint8_t *', held), #held
    end
    if not ended then return pull() end
  end
  for _, m in ipairs(magics) do
    if held:sub(1, #m[1]) == m[1] then return m[2](all, path) end
  end
  return plain_source(all)
end

local function open(path)
  if path == '-' then return source_of(pull_descriptor(0, 'standard input'), 'standard input') end
  if lfs.attributes(path, 'mode') == 'file' or not lfs.attributes(path, 'mode') then
    return source_of(pull_file(path), path)
  end
  if lfs.attributes(path, 'mode') == 'directory' then
    errors.raise('E303', { what = path .. ' is a folder, expected a file', fix = 'name the files in it' })
  end
  local fd = C.open(path, 0)                         -- a pipe, a device
  if fd < 0 then errors.raise('E303', ('%s: %s'):format(path, ffi.string(C.strerror(ffi.errno())))) end
  return source_of(pull_descriptor(fd, path), path)
end

--- Iterator over the lines of a file, or of standard input ('-'), without \n or \r\n: for line, number in
--- reader.lines(path). Lines come as they arrive. Raises a data error (code 3) with the path when it cannot be read or
--- its compression is broken. The second result tells whether a line can be had without reading on.
function M.lines(path)
  local source, rest, at, number = open(path), '', 1, 0
  local function buffered() return source == nil or rest:find('\n', at, true) ~= nil end
  return function()
    while true do
      local stop = rest:find('\n', at, true)
      if stop then
        local last = rest:byte(stop - 1) == 13 and stop > at and stop - 2 or stop - 1
        local line = rest:sub(at, last)
        at, number = stop + 1, number + 1
        return line, number
      end
      local piece = source and source()
      if piece then
        rest, at = rest:sub(at) .. piece, 1
      else
        local line = rest:sub(at)
        rest, at, source = '', 1, nil
        if line == '' then return nil end
        if line:byte(-1) == 13 then line = line:sub(1, -2) end
        return line, number + 1
      end
    end
  end, buffered
end

--- Whether standard input has something to read (or has ended) within `ms` milliseconds.
function M.ready(ms)
  local p = ffi.new 'struct dm_pollfd'
  p.fd, p.events = 0, 1
  return C.poll(p, 1, ms) ~= 0
end

--- The whole text of a file, decompressed.
function M.text(path)
  local out = {}
  for piece in open(path) do out[#out + 1] = piece end
  return table.concat(out)
end

--- What is done about text that is not valid UTF-8: the fix of a message.
M.to_utf8 = 'correct that line; iconv -f latin1 -t utf8 converts old text'

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
