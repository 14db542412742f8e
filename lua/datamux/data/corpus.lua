-- corpus.lua -- plain text for the retrieval warm-up: files, gz or zst as they are, in chunks or by lines.
local ffi = require 'ffi'
local errors = require 'datamux.errors'
local reader = require 'datamux.data.reader'
local cache = require 'datamux.data.cache'
local sys = require 'datamux.sys'

local M = {}

local LINES = 1000               -- lines that are cut into chunks together; their remainder is dropped

local function locate(name)
  if sys.kind(name) == 'file' then return name end
  local folder, file = name:match '^(.*)/([^/]+)$'
  return cache.find(folder or '.', file or name)
end

local function set_of(ids, offset)
  local n = #offset - 1
  local set = { n = n, ids = ffi.new('int32_t[?]', math.max(#ids, 1)), offset = ffi.new('int32_t[?]', n + 1) }
  for i = 1, #ids do set.ids[i - 1] = ids[i] end
  for i = 1, #offset do set.offset[i - 1] = offset[i] end
  return set
end

-- Appends the lines' ids, concatenated and cut into chunks of exactly `length`.
local function append_chunks(all, offset, pending, length)
  local whole = math.floor(#pending / length) * length
  for i = 1, whole do
    all[#all + 1] = pending[i]
    if i % length == 0 then offset[#offset + 1] = #all end
  end
end

--- Encodes files as two sets (train, held_out). source: name or list of names, looked for as they are, then like
--- data sets. o: { length, chunk, held_out (part, from the end) }. Blank lines are dropped; METHOD: lines with their
--- specials, concatenated in batches of 1,000, cut into chunks of exactly `length`, remainders dropped.
function M.encode(tok, source, o)
  local all, offset, pending, lines = {}, { 0 }, {}, 0
  for _, name in ipairs(type(source) == 'table' and source or { source }) do
    for line in reader.lines(locate(name)) do
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
          for i = 1, #ids do all[#all + 1] = ids[i] end
          offset[#offset + 1] = #all
        end
      end
    end
  end
  append_chunks(all, offset, pending, o.length)
  local n = #offset - 1
  if n < 2 then
    errors.raise(3, ('%s: %d examples of %d tokens, expected at least 2'):format(
      type(source) == 'table' and table.concat(source, ', ') or source, n, o.length))
  end
  local cut = math.max(1, math.min(n - 1, math.floor(n * (1 - o.held_out))))
  local train, held = set_of(all, offset), { n = n - cut }
  held.ids, held.offset = train.ids, train.offset + cut
  held.base = train.offset                     -- keeps the array that `offset` points into alive
  train.n = cut
  return train, held
end

return M
