-- safetensors.lua -- reading and writing the safetensors format: u64 length, JSON header, bytes.
-- Format: https://github.com/huggingface/safetensors (Apache-2.0), read from its description.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local json = require 'datamux.json'
local C = core.C

local M = {}

local LIMIT = 100e6
local names = { f32 = 'F32', bf16 = 'BF16', i32 = 'I32' }
local widths = { F64 = 8, F32 = 4, BF16 = 2, F16 = 2, I64 = 8, I32 = 4, I16 = 2, I8 = 1, U8 = 1, BOOL = 1 }

local function check(status, path)
  if status ~= 0 then errors.raise('E401', ('%s: %s'):format(path, ffi.string(C.dm_last_error()))) end
end

local function length_bytes(n)
  local out = {}
  for i = 1, 8 do
    out[i] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(out)
end

-- A real tensor's bytes as F32 (the twin's doubles are converted).
local function bytes_of(t)
  local host = t:host()
  if t:dtype() ~= 'f32' or core.real_size == 4 then return host, t:bytes() end
  local n = t:numel()
  local f = ffi.new('float[?]', math.max(n, 1))
  for i = 0, n - 1 do f[i] = host[i] end
  return f, 4 * n
end

--- Writes name -> Tensor to `path`, all at once; metadata: name -> text. Raises (code 4) on failure, leaving what was
--- there.
function M.write(path, tensors, metadata)
  local list, at, header = {}, 0, {}
  for name in pairs(tensors) do list[#list + 1] = name end
  table.sort(list)
  if metadata and next(metadata) then header.__metadata__ = metadata end
  for _, name in ipairs(list) do
    local t = tensors[name]
    local dtype = names[t:dtype()]
    local n = t:numel() * widths[dtype]
    header[name] = { dtype = dtype, shape = json.list(t:shape()), data_offsets = { at, at + n } }
    at = at + n
  end
  local text = json.encode(header)
  text = text .. (' '):rep(-#text % 8)
  local out = ffi.new 'dm_writer *[1]'
  check(C.dm_writer_open(out, path), path)
  local w = ffi.gc(out[0], C.dm_writer_free)
  check(C.dm_writer_write(w, length_bytes(#text) .. text, 8 + #text), path)
  for _, name in ipairs(list) do
    local host, n = bytes_of(tensors[name])
    check(C.dm_writer_write(w, host, n), path)
  end
  check(C.dm_writer_commit(w), path)
  C.dm_writer_free(ffi.gc(w, nil))
end

local function bad(path, why) errors.raise('E702', ('%s: not a usable safetensors file: %s'):format(path, why)) end

local function header_length(d)
  local n = 0
  for i = 7, 0, -1 do n = n * 256 + d[i] end
  return n
end

-- Refuses overlaps, holes and sizes that do not fit; `size`: bytes after the header.
local function check_layout(path, entries, size)
  table.sort(entries, function(a, b) return a.from < b.from or (a.from == b.from and a.to < b.to) end)
  local at = 0
  for _, e in ipairs(entries) do
    if e.from ~= at then bad(path, ("tensor '%s' starts at byte %d, expected %d"):format(e.name, e.from, at)) end
    local n = widths[e.dtype]
    if not n then bad(path, ("tensor '%s' has dtype %s"):format(e.name, tostring(e.dtype))) end
    for _, s in ipairs(e.shape) do n = n * s end
    if e.to - e.from ~= n then
      bad(path, ("tensor '%s' has %d bytes, expected %d"):format(e.name, e.to - e.from, n))
    end
    at = e.to
  end
  if at ~= size then bad(path, ('%d bytes of data, expected %d (cut off?)'):format(size, at)) end
end

-- Whether v is a list of whole numbers, none below 0.
local function sizes(v)
  if type(v) ~= 'table' then return false end
  for _, s in ipairs(v) do
    if type(s) ~= 'number' or s < 0 or s % 1 ~= 0 then return false end
  end
  return true
end

--- Opens `path`: { tensors = name -> { dtype, shape, ptr, bytes, file }, metadata, file }. A pointer lives as long as
--- its entry. Raises (code 7) with the path and what is wrong.
function M.open(path)
  local file = ffi.new 'dm_file'
  if C.dm_file_map(file, path) ~= 0 then errors.raise('E702', ffi.string(C.dm_last_error())) end
  ffi.gc(file, C.dm_file_unmap)
  if file.size < 8 then bad(path, ('%d bytes, expected at least 8'):format(file.size)) end
  local n = header_length(file.data)
  if n > LIMIT or n > file.size - 8 then
    bad(path, ('header of %.0f bytes in a file of %.0f'):format(n, file.size))
  end
  local ok, header = pcall(require('cjson').decode, ffi.string(file.data + 8, n))
  if not ok or type(header) ~= 'table' then bad(path, 'the header is not JSON') end
  local entries, out = {}, { tensors = {}, metadata = header.__metadata__ or {}, file = file }
  for name, t in pairs(header) do
    if name ~= '__metadata__' then
      local o = type(t) == 'table' and t.data_offsets
      if not (sizes(o) and #o == 2 and sizes(t.shape)) then
        bad(path, ("entry '%s' lacks dtype, or shape or data_offsets in whole numbers"):format(name))
      end
      entries[#entries + 1] = { name = name, from = o[1], to = o[2], dtype = t.dtype, shape = t.shape }
    end
  end
  check_layout(path, entries, file.size - 8 - n)
  for _, e in ipairs(entries) do
    out.tensors[e.name] = { dtype = e.dtype, shape = e.shape, ptr = file.data + 8 + n + e.from, bytes = e.to - e.from,
      file = file }
  end
  return out
end

--- Copies an entry of open() into tensor t of the same shape. Returns false and the reason where it does not fit.
function M.copy(entry, t)
  local shape = t:shape()
  local same = #shape == #entry.shape
  for i = 1, #shape do same = same and shape[i] == entry.shape[i] end
  local dtype = t:dtype() == 'i32' and 'I32' or 'F32'
  if not same or entry.dtype ~= dtype then
    return false, ('%s[%s], expected %s[%s]'):format(entry.dtype, table.concat(entry.shape, ', '), dtype,
      table.concat(shape, ', '))
  end
  if dtype == 'F32' and core.real_size == 8 then
    local host, p = t:host(), ffi.cast('const float *', entry.ptr)
    for i = 0, t:numel() - 1 do host[i] = p[i] end
    t:put(host)
  else
    t:put(entry.ptr, entry.bytes)
  end
  return true
end

return M
