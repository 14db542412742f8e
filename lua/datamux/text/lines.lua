-- lines.lua -- what all tokenizers share: many texts at once, pairs and their truncation, words with tags.
local ffi = require 'ffi'
local reader = require 'datamux.data.reader'

local M = {}

-- -- vocabulary files: a path, or { name (for messages), text } -----------------------------------------------------

--- What messages call a vocabulary file.
function M.name(source) return type(source) == 'table' and source.name or source end

--- Its whole text.
function M.text(source) return type(source) == 'table' and source.text or reader.text(source) end

--- Iterator over its lines: for line, number in lines.of(source).
function M.of(source)
  if type(source) ~= 'table' then return reader.lines(source) end
  local next_line, number = source.text:gmatch '([^\n]*)\n', 0
  return function()
    local line = next_line()
    number = number + 1
    return line, number
  end
end

-- -- ids --------------------------------------------------------------------------------------------------------------

--- Where the engine writes the ids of a text: room for `size` of them.
M.room, M.size = ffi.new 'int32_t[4096]', 4096

--- Whether `count` ids fitted into the room; where not, it is larger for the next try.
function M.fits(count)
  if count <= M.size then return true end
  M.room, M.size = ffi.new('int32_t[?]', 2 * count), 2 * count
  return false
end

--- Appends the first `count` ids of the room to a list.
function M.append(list, count)
  local room, n = M.room, #list
  for i = 1, count do list[n + i] = room[i - 1] end
  return list
end

-- A growing int32 array: push(list) appends; data, n.
local function growing()
  local room, self = 65536, { n = 0 }
  self.data = ffi.new('int32_t[?]', room)
  function self.push(list)
    if self.n + #list > room then
      room = math.max(2 * room, self.n + #list)
      local wider = ffi.new('int32_t[?]', room)
      ffi.copy(wider, self.data, 4 * self.n)
      self.data = wider
    end
    for i = 1, #list do self.data[self.n + i - 1] = list[i] end
    self.n = self.n + #list
  end
  return self
end

--- Whether a text has no tokens: nothing, white space, or what the tokenizer drops, which are no letters of ASCII.
function M.empty(tok, text)
  return not text:find '%S' or not text:find '%w' and #tok:ids(text) == 0
end

--- All texts at once: { ids = int32[], offset = int32[n + 1], n, truncated }. tok: a tokenizer; o: { max, pairs (second
--- texts: each is encoded by encode_pair) }.
function M.encode_lines(tok, texts, o)
  local ids, offset, truncated = growing(), ffi.new('int32_t[?]', #texts + 1), 0
  local max, pairs_ = o and o.max, o and o.pairs
  for k, text in ipairs(texts) do
    local list, cut
    if pairs_ then list, cut = tok:encode_pair(text, pairs_[k], max) else list, cut = tok:encode(text, max) end
    ids.push(list)
    offset[k] = ids.n
    if cut then truncated = truncated + 1 end
  end
  return { ids = ids.data, offset = offset, n = #texts, truncated = truncated }
end

--- Ids of a list of words that are cut into pieces one by one, with the specials of a text; at most `max`. Returns ids,
--- and for each word the place of its first piece in them (from 1), 0 where it was cut off. A word without pieces
--- counts as one unknown.
function M.encode_words(tok, words, max)
  local around = tok:encode ''
  local ids, first = { around[1] }, {}
  local room = (max or math.huge) - #around + 1
  for k, word in ipairs(words) do
    local pieces = tok:ids((tok.space or '') .. word)
    if #pieces == 0 then pieces = { tok.unk } end
    first[k] = #ids < room and #ids + 1 or 0
    for i = 1, #pieces do
      if #ids >= room then break end
      ids[#ids + 1] = pieces[i]
    end
  end
  for i = 2, #around do ids[#ids + 1] = around[i] end
  return ids, first
end

--- All sentences (lists of words) at once: { ids, offset, n, truncated, first = int32[], words (number of all words),
--- cut (words cut off) }: first holds for every word in order the place of its first piece in ids, -1 where cut off.
function M.encode_sentences(tok, sentences, o)
  local ids, offset, first = growing(), ffi.new('int32_t[?]', #sentences + 1), growing()
  local truncated, cut = 0, 0
  for k, words in ipairs(sentences) do
    local list, places = M.encode_words(tok, words, o and o.max)
    local before = cut
    for i = 1, #places do
      if places[i] == 0 then cut = cut + 1 end
      places[i] = places[i] > 0 and ids.n + places[i] - 1 or -1
    end
    if cut > before then truncated = truncated + 1 end
    first.push(places)
    ids.push(list)
    offset[k] = ids.n
  end
  return { ids = ids.data, offset = offset, n = #sentences, truncated = truncated, first = first.data,
           words = first.n, cut = cut }
end

--- Cuts a list to at most `room` entries (nil: any number). Returns whether anything was cut.
function M.truncate(list, room)
  if not room or #list <= room then return false end
  for i = #list, math.max(room, 0) + 1, -1 do list[i] = nil end
  return true
end

--- Cuts two lists so that together they have at most `room` entries, from the longer one each time. Returns whether
--- anything was cut.
function M.truncate_pair(a, b, room)
  local cut = false
  while #a + #b > room and #a + #b > 0 do
    local longer = #a > #b and a or b
    longer[#longer] = nil
    cut = true
  end
  return cut
end

--- <s> text, at most `max` ids; and whether some were cut off. For tokenizers whose texts have no </s> of their own.
function M.encode(tok, text, max)
  local ids = tok:ids(text)
  local cut = M.truncate(ids, max and max - 1)
  table.insert(ids, 1, tok.bos)
  return ids, cut
end

--- <s> a </s> b, at most `max` ids, cut from the longer one; and whether some were cut off. For the same
--- tokenizers.
function M.encode_pair(tok, a, b, max)
  local first, second = tok:ids(a), tok:ids(b)
  local cut = max and M.truncate_pair(first, second, max - 2) or false
  table.insert(first, 1, tok.bos)
  first[#first + 1] = tok.eos
  for i = 1, #second do first[#first + 1] = second[i] end
  return first, cut
end

return M
