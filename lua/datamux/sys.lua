-- sys.lua -- the few POSIX and library calls that Lua lacks: links, sync, locks, time, SHA-256, whole files.
local ffi = require 'ffi'
local lfs = require 'lfs'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local C = core.C

local M = {}

if not pcall(ffi.typeof, 'struct dm_sys_defined') then
  ffi.cdef [[
    struct dm_sys_defined { int one; };
    int symlink(const char *target, const char *path);
    int rename(const char *from, const char *to);
    int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned how);
    int open(const char *path, int flags, ...);
    int close(int fd);
    int fsync(int fd);
    int flock(int fd, int operation);
    int getpid(void);
    int setenv(const char *name, const char *value, int replace);
    char *strerror(int number);
    unsigned char *SHA256(const unsigned char *data, size_t n, unsigned char *out);
  ]]
end

local function reason() return ffi.string(C.strerror(ffi.errno())) end

--- Makes a folder and those above it. Raises (code 4) with path and reason.
function M.mkdir(path)
  local at = path:sub(1, 1) == '/' and '/' or ''
  for part in path:gmatch '[^/]+' do
    at = at .. part
    if lfs.attributes(at, 'mode') ~= 'directory' then
      local ok, why = lfs.mkdir(at)
      if not ok and lfs.attributes(at, 'mode') ~= 'directory' then
        errors.raise('E401', ('%s: cannot make this folder: %s'):format(at, why))
      end
    end
    at = at .. '/'
  end
end

--- 'file', 'directory' or nil.
function M.kind(path) return lfs.attributes(path, 'mode') end

--- Names in a folder, sorted, without . and ..; an empty list where there is no folder.
function M.list(path)
  local out = {}
  if M.kind(path) ~= 'directory' then return out end
  for name in lfs.dir(path) do
    if name ~= '.' and name ~= '..' then out[#out + 1] = name end
  end
  table.sort(out)
  return out
end

--- Removes a file, or a folder and what is in it.
function M.remove(path)
  if lfs.symlinkattributes(path, 'mode') == 'directory' then
    for _, name in ipairs(M.list(path)) do M.remove(path .. '/' .. name) end
    lfs.rmdir(path)
  else
    os.remove(path)
  end
end

--- Renames over what is there. Raises (code 4).
function M.rename(from, to)
  if C.rename(from, to) ~= 0 then errors.raise('E401', ('%s: cannot become %s: %s'):format(from, to, reason())) end
end

-- Whether two paths were swapped at once (renameat2(2), RENAME_EXCHANGE); not every file system and C library can.
local function swapped(from, to)
  local HERE, EXCHANGE = -100, 2
  local there, status = pcall(function() return C.renameat2(HERE, from, HERE, to, EXCHANGE) end)
  return there and status == 0
end

--- Swaps what two paths name, at once where the file system can: else there is a moment without `to`. Raises (code 4).
function M.exchange(from, to)
  if swapped(from, to) then return end
  local before = to .. '.old-' .. C.getpid()
  M.rename(to, before)
  local ok, e = pcall(M.rename, from, to)
  M.rename(before, ok and from or to)
  if not ok then error(e, 0) end
end

--- What a symbolic link points to, as it says; nil where the path is none.
function M.target(path) return lfs.symlinkattributes(path, 'target') end

--- Points the symbolic link `path` at `target`, replacing it at once.
function M.link(target, path)
  local temporary = path .. '.tmp-' .. C.getpid()
  os.remove(temporary)
  if C.symlink(target, temporary) ~= 0 then errors.raise('E401', ('%s: cannot link: %s'):format(path, reason())) end
  M.rename(temporary, path)
end

--- Flushes a folder's entries to the disk.
function M.sync_folder(path)
  local fd = C.open(path, 65536)                 -- O_RDONLY | O_DIRECTORY
  if fd >= 0 then
    C.fsync(fd)
    C.close(fd)
  end
end

--- Takes an exclusive lock on a file, which it creates; returns a handle, or nil when another process holds it.
--- The lock goes with the process.
function M.lock(path)
  local fd = C.open(path, 66, ffi.cast('int', 420))         -- O_RDWR | O_CREAT, 0644
  if fd < 0 then errors.raise('E401', ('%s: %s'):format(path, reason())) end
  if C.flock(fd, 6) == 0 then return fd end                 -- LOCK_EX | LOCK_NB
  C.close(fd)
  return nil
end

--- Lets a lock go.
function M.unlock(fd) C.close(fd) end

function M.pid() return C.getpid() end

--- Sets an environment variable of this process.
function M.setenv(name, value) C.setenv(name, value, 1) end

--- Raises E401 for a file that cannot be written. why: the path and the reason.
function M.unwritable(path, why)
  local folder = path:match '^(.+)/[^/]*$'
  errors.raise('E401', { what = why, fix = folder and not M.kind(folder) and ('mkdir -p %s, or another folder'):format(
    M.word(folder)) or nil })
end

--- Writes a whole file so that it appears all at once. Raises (code 4).
function M.write(path, text)
  local out = ffi.new 'dm_writer *[1]'
  local status = C.dm_writer_open(out, path)
  if status == 0 then
    status = C.dm_writer_write(out[0], text, #text)
    if status == 0 then status = C.dm_writer_commit(out[0]) end
    local message = status ~= 0 and ffi.string(C.dm_last_error())
    C.dm_writer_free(out[0])
    if status == 0 then return end
    errors.raise('E401', message)
  end
  M.unwritable(path, ffi.string(C.dm_last_error()))
end

--- The text of a file, or nil and the reason.
function M.read(path)
  local f, why = io.open(path, 'rb')
  if not f then return nil, why end
  local text = f:read '*a'
  f:close()
  return text
end

--- Largest resident memory of this process so far, bytes; nil where the system does not say.
function M.peak()
  local kib = (M.read '/proc/self/status' or ''):match 'VmHWM:%s*(%d+)'
  return kib and 1024 * tonumber(kib)
end

local crypto
local digest = ffi.new 'unsigned char[32]'

local function hash(data, n)
  crypto = crypto or ffi.load 'libcrypto.so.3'
  crypto.SHA256(data, n, digest)
  local out = {}
  for i = 0, 31 do out[i + 1] = ('%02x'):format(digest[i]) end
  return table.concat(out)
end

--- SHA-256 of a string, in hexadecimal.
function M.sha256(text) return hash(text, #text) end

--- SHA-256 of a file; nil and the reason where it cannot be read.
function M.sha256_file(path)
  local file = ffi.new 'dm_file'
  if C.dm_file_map(file, path) ~= 0 then return nil, ffi.string(C.dm_last_error()) end
  local out = hash(file.data, file.size)
  C.dm_file_unmap(file)
  return out
end

--- s as one word of a shell's command line, in quotes.
function M.quoted(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

--- The same, in quotes only where it needs them: for command lines that people read.
function M.word(s) return s:find "[^%w%-_./=:,@+]" and M.quoted(s) or s end

return M
