-- tokens.lua -- the tokenised cache: encoded texts kept under the hash of what they were made from.
--
-- The name of an entry is the SHA-256 of tokenizer, text and options, so that a stale entry cannot be met: other
-- content has another name. A damaged entry is made again, a folder that cannot be written is done without.
local ffi = require 'ffi'
local lfs = require 'lfs'
local cache = require 'datamux.data.cache'
local safetensors = require 'datamux.safetensors'
local sys = require 'datamux.sys'

local M = {}

local FORMAT = 'datamux tokens 1'
local LIMIT = 4e9                -- bytes kept; the entries that were used longest ago go first

local LEAST = 1e6                -- bytes of text from which keeping is worth a file

--- The folder of the entries.
function M.folder() return cache.root() .. '/tokens' end

--- The hash that names a tokenizer: of its kind and of the files that would be stored beside a model.
function M.tokenizer_key(tok)
  local files, names, out = tok:files(), {}, { tok.kind, tostring(tok.lower) }
  for name in pairs(files) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do out[#out + 1] = name .. ' ' .. sys.sha256(files[name]) end
  return sys.sha256(table.concat(out, '\n'))
end

-- An int32 array as safetensors.write takes tensors.
local function column(array, n)
  return {
    dtype = function() return 'i32' end, shape = function() return { n } end, numel = function() return n end,
    bytes = function() return 4 * n end, host = function() return array end }
end

local function load(path)
  local ok, file = pcall(safetensors.open, path)
  if not ok then return nil end
  local ids, offset = file.tensors.ids, file.tensors.offset
  local truncated = tonumber(file.metadata.truncated)
  if not (ids and offset and truncated) then return nil end
  local set = { ids = ffi.cast('int32_t *', ids.ptr), offset = ffi.cast('int32_t *', offset.ptr),
                n = offset.shape[1] - 1, truncated = truncated, file = file }
  local first = file.tensors.first
  if first then
    set.first, set.words, set.cut = ffi.cast('int32_t *', first.ptr), first.shape[1], tonumber(file.metadata.cut)
  end
  return set
end

local function prune(folder)
  local list, total = {}, 0
  for _, name in ipairs(sys.list(folder)) do
    local path = folder .. '/' .. name
    local size = lfs.attributes(path, 'size') or 0
    list[#list + 1] = { path = path, size = size, at = lfs.attributes(path, 'modification') or 0 }
    total = total + size
  end
  table.sort(list, function(a, b) return a.at < b.at end)
  for _, e in ipairs(list) do
    if total <= LIMIT then return end
    os.remove(e.path)
    total = total - e.size
  end
end

--- What `make()` returns ({ ids, offset, n, truncated }, for words also first, words, cut), kept under `parts` (a list
--- of texts that together say what it is made from). bytes: size of the text; little text is encoded each time. The
--- second result says whether it came from the cache.
function M.of(parts, bytes, make)
  if bytes < LEAST then return make(), false end
  local folder = M.folder()
  local path = ('%s/%s.safetensors'):format(folder, sys.sha256(FORMAT .. '\n' .. table.concat(parts, '\n')))
  if sys.kind(path) == 'file' then
    local set = load(path)
    if set then
      lfs.touch(path)
      return set, true
    end
  end
  local set = make()
  pcall(function()
    sys.mkdir(folder)
    local columns = { ids = column(set.ids, set.offset[set.n]), offset = column(set.offset, set.n + 1) }
    if set.first then columns.first = column(set.first, set.words) end
    safetensors.write(path, columns, { truncated = tostring(set.truncated or 0), cut = tostring(set.cut or 0) })
    prune(folder)
  end)
  return set, false
end

return M
