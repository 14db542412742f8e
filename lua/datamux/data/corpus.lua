-- corpus.lua -- plain text for the retrieval warm-up: files, gz or zst as they are, in chunks or by lines.
local ffi = require 'ffi'
local lfs = require 'lfs'
local errors = require 'datamux.errors'
local reader = require 'datamux.data.reader'
local cache = require 'datamux.data.cache'
local sys = require 'datamux.sys'
local tokens = require 'datamux.data.tokens'

local M = {}

local LINES = 1000               -- lines that are cut into chunks together; their remainder is dropped

local function locate(name)
  if sys.kind(name) == 'file' then return name end
  local folder, file = name:match '^(.*)/([^/]+)$'
  return cache.find(folder or '.', file or name)
end

-- A growing int32 array.
local function growing()
  local room, self = 65536, { n = 0 }
  self.data = ffi.new('int32_t[?]', room)
  function self.push(v)
    if self.n == room then
      local wider = ffi.new('int32_t[?]', 2 * room)
      ffi.copy(wider, self.data, 4 * room)
      self.data, room = wider, 2 * room
    end
    self.data[self.n] = v
    self.n = self.n + 1
  end
  return self
end

-- Appends the lines' ids, concatenated and cut into chunks of exactly `length`; the remainder is dropped.
local function append_chunks(all, offset, pending, length)
  for i = 1, math.floor(#pending / length) * length do
    all.push(pending[i])
    if i % length == 0 then offset.push(all.n) end
  end
end

local function encode_files(tok, names, o)
  local all, offset, pending, lines = growing(), growing(), {}, 0
  offset.push(0)
  for _, name in ipairs(names) do
    for line in reader.lines(name) do
      if line:find '%S' then
        local ids = tok:encode(line, not o.chunk and o.length or nil)
        if o.chunk then
          for i = 1, #ids do pending[#pending + 1] = ids[i] end
          lines = lines + 1
          if lines % LINES == 0 then
            append_chunks(all, offset, pending, o.length)
            pending = {}
          end
        else
          for i = 1, #ids do all.push(ids[i]) end
          offset.push(all.n)
        end
      end
    end
  end
  append_chunks(all, offset, pending, o.length)
  return { ids = all.data, offset = offset.data, n = offset.n - 1, truncated = 0 }
end

--- Encodes files as two sets (train, held_out). source: name or list of names, looked for as they are, then like
--- data sets. o: { length, chunk, held_out (part, from the end) }. Blank lines are dropped; METHOD: lines with their
--- specials, concatenated in batches of 1,000, cut into chunks of exactly `length`, remainders dropped.
function M.encode(tok, source, o)
  local names = {}
  for i, name in ipairs(type(source) == 'table' and source or { source }) do names[i] = locate(name) end
  local parts = { tokens.tokenizer_key(tok), ('corpus %d %s'):format(o.length, tostring(o.chunk)) }
  local bytes = 0
  for _, name in ipairs(names) do
    local key, why = sys.sha256_file(name)
    if not key then errors.raise('E303', why) end
    parts[#parts + 1] = key
    bytes = bytes + lfs.attributes(name, 'size')
  end
  local set = tokens.of(parts, bytes, function() return encode_files(tok, names, o) end)
  local n = set.n
  if n < 2 then
    errors.raise('E306', ('%s: %d examples of %d tokens, expected at least 2'):format(
      table.concat(names, ', '), n, o.length))
  end
  local cut = math.max(1, math.min(n - 1, math.floor(n * (1 - o.held_out))))
  -- Two views of one array, which `base` keeps alive.
  return { ids = set.ids, offset = set.offset, n = cut, base = set },
    { ids = set.ids, offset = set.offset + cut, n = n - cut, base = set }
end

return M
