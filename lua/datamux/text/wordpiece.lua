-- wordpiece.lua -- WordPiece (BERT) from vocab.txt: clean, lower-case, strip accents, split, longest match first.
-- Same ids as Hugging Face tokenizers' BertNormalizer, BertPreTokenizer and WordPiece. Source: Devlin et al. 2019.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local lines = require 'datamux.text.lines'
local tables = require 'datamux.text.bert_tables'
local utf8 = require 'datamux.text.utf8'
local C = core.C

local M = {}

local WordPiece = {}
WordPiece.__index = WordPiece

-- The engine's table of the pieces token[0 .. n).
local function table_of(token, n, unk)
  local offset, list = ffi.new('int32_t[?]', n + 1), {}
  for id = 0, n - 1 do
    list[id + 1] = token[id]
    offset[id + 1] = offset[id] + #token[id]
  end
  local out = ffi.new 'dm_wordpiece *[1]'
  core.check(C.dm_wordpiece_new(out, table.concat(list), offset, n, unk))
  return ffi.gc(out[0], C.dm_wordpiece_free)
end

--- A tokenizer from vocab.txt, one piece a line (a path, or see lines.of). lower: lower-case and strip accents (default
--- true). Raises (code 3) with file and line where the file is malformed.
function M.load(source, lower)
  local id, token, n, name = {}, {}, 0, lines.name(source)
  for line, number in lines.of(source) do
    if line == '' then errors.raise('E309', ('%s:%d: an empty line, expected a piece'):format(name, number)) end
    if id[line] then errors.raise('E309', ("%s:%d: '%s' is there twice"):format(name, number, line)) end
    id[line], token[n] = n, line
    n = n + 1
  end
  for _, special in ipairs { '[PAD]', '[UNK]', '[CLS]', '[SEP]' } do
    if not id[special] then errors.raise('E309', ('%s: %s is missing'):format(name, special)) end
  end
  return setmetatable({ kind = 'wordpiece', id = id, token = token, vocab_size = n, lower = lower ~= false,
    source = source, pad = id['[PAD]'], unk = id['[UNK]'], bos = id['[CLS]'], eos = id['[SEP]'],
    pieces = table_of(token, n, id['[UNK]']) }, WordPiece)
end

-- -- classes of characters, remembered -----------------------------------------------------------------------

local function is_space(c)
  return c == 32 or (c >= 9 and c <= 13) or c == 0x85 or c == 0xa0 or c == 0x1680 or (c >= 0x2000 and c <= 0x200a)
    or c == 0x2028 or c == 0x2029 or c == 0x202f or c == 0x205f or c == 0x3000
end

local function is_chinese(c)
  return (c >= 0x4e00 and c <= 0x9fff) or (c >= 0x3400 and c <= 0x4dbf) or (c >= 0x20000 and c <= 0x2a6df)
    or (c >= 0x2a700 and c <= 0x2b73f) or (c >= 0x2b740 and c <= 0x2b81f) or (c >= 0x2b920 and c <= 0x2ceaf)
    or (c >= 0xf900 and c <= 0xfaff) or (c >= 0x2f800 and c <= 0x2fa1f)
end

-- Removed by cleaning: NUL, U+FFFD, and categories Cc, Cf, Co except tab, newline, carriage return.
local function is_dropped(c)
  if c == 0 or c == 0xfffd then return true end
  if c == 9 or c == 10 or c == 13 then return false end
  local k = utf8.category(c)
  return k == 'Cc' or k == 'Co' or (k == 'Cf' and not tables.kept_controls(c))
end

local function is_mark(c) return utf8.category(c) == 'Mn' and not tables.kept_marks(c) or tables.stripped(c) end

local function is_punctuation(c)
  if c < 128 then
    return (c >= 33 and c <= 47) or (c >= 58 and c <= 64) or (c >= 91 and c <= 96) or (c >= 123 and c <= 126)
  end
  return utf8.category(c):sub(1, 1) == 'P' and not tables.no_punctuation(c) or tables.punctuation(c)
end

-- -- words -------------------------------------------------------------------------------------------------------

local function words_unicode(text, lower)
  local cleaned = {}
  for _, c in ipairs(utf8.codepoints(text)) do
    if not is_dropped(c) then
      if is_space(c) then c = 32 end
      if is_chinese(c) then
        cleaned[#cleaned + 1], cleaned[#cleaned + 2], cleaned[#cleaned + 3] = 32, c, 32
      else
        cleaned[#cleaned + 1] = c
      end
    end
  end
  if lower then
    local bare = {}
    for _, c in ipairs(utf8.nfd(utf8.string(cleaned))) do
      if not is_mark(c) then bare[#bare + 1] = utf8.lower(c) end
    end
    cleaned = bare
  end
  local out, word = {}, {}
  local function flush()
    if #word > 0 then
      out[#out + 1] = table.concat(word)
      word = {}
    end
  end
  for _, c in ipairs(cleaned) do
    if is_space(c) then
      flush()
    elseif is_punctuation(c) then
      flush()
      out[#out + 1] = utf8.char(c)
    else
      word[#word + 1] = utf8.char(c)
    end
  end
  flush()
  return out
end

-- Appends the pieces of a word.
local function add_word(self, out, word)
  local n
  repeat
    n = C.dm_wordpiece_word(self.pieces, word, #word, lines.room, lines.size)
  until lines.fits(n)
  return lines.append(out, n)
end

--- Ids of a text without specials. Texts in ASCII are cut by the engine, words and all.
function WordPiece:ids(text)
  local out = {}
  local n
  repeat
    n = C.dm_wordpiece_text(self.pieces, text, #text, self.lower and 1 or 0, lines.room, lines.size)
  until lines.fits(n)
  if n >= 0 then return lines.append(out, n) end
  for _, word in ipairs(words_unicode(text, self.lower)) do add_word(self, out, word) end
  return out
end

--- [CLS] text [SEP], at most `max` ids; and whether some were cut off.
function WordPiece:encode(text, max)
  local ids = self:ids(text)
  local cut = lines.truncate(ids, max and max - 2)
  table.insert(ids, 1, self.bos)
  ids[#ids + 1] = self.eos
  return ids, cut
end

--- [CLS] a [SEP] b [SEP], at most `max` ids, cut from the longer one.
function WordPiece:encode_pair(a, b, max)
  local first, second = self:ids(a), self:ids(b)
  local cut = max and lines.truncate_pair(first, second, max - 3)
  table.insert(first, 1, self.bos)
  first[#first + 1] = self.eos
  for i = 1, #second do first[#first + 1] = second[i] end
  first[#first + 1] = self.eos
  return first, cut or false
end

WordPiece.encode_lines, WordPiece.encode_sentences = lines.encode_lines, lines.encode_sentences

--- The text of ids, pieces joined; specials are left out.
function WordPiece:decode(ids)
  local out = {}
  for _, id in ipairs(ids) do
    local t = self.token[id]
    if t and id ~= self.pad and id ~= self.bos and id ~= self.eos then
      out[#out + 1] = t:sub(1, 2) == '##' and t:sub(3) or (#out > 0 and ' ' or '') .. t
    end
  end
  return table.concat(out)
end

--- What to store beside a model: file name -> bytes.
function WordPiece:files() return { ['vocab.txt'] = lines.text(self.source) } end

return M
