-- bpe.lua -- byte-level BPE (GPT-2, RoBERTa) from vocab.json and merges.txt.
-- Same ids as Hugging Face tokenizers' ByteLevel with add_prefix_space = false. Text is text: "<s>" in it is not taken
-- for the special token. Sources: Sennrich et al. 2016; Radford et al. 2019 (bytes as letters, the splitting pattern).
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local lines = require 'datamux.text.lines'
local utf8 = require 'datamux.text.utf8'
local C = core.C

local M = {}

local Bpe = {}
Bpe.__index = Bpe

local UNREACHED = -1000                -- below every letter that is no entry

-- -- the splitting pattern, by PCRE2 ----------------------------------------------------------------------

if not pcall(ffi.typeof, 'struct dm_pcre_defined') then
  ffi.cdef [[
    struct dm_pcre_defined { int one; };
    void *pcre2_compile_8(const uint8_t *pattern, size_t n, uint32_t options, int *error, size_t *at, void *context);
    int pcre2_jit_compile_8(void *code, uint32_t options);
    void *pcre2_match_data_create_8(uint32_t pairs, void *context);
    int pcre2_match_8(const void *code, const uint8_t *s, size_t n, size_t start, uint32_t options, void *data,
                      void *context);
    size_t *pcre2_get_ovector_pointer_8(void *data);
  ]]
end

-- White space is Unicode's White_Space property; PCRE2's \s would add U+180E.
local SPACE = '\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}'
local PATTERN = ("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^%s\\p{L}\\p{N}]+|[%s]+(?![^%s])|[%s]+"):format(
  SPACE, SPACE, SPACE, SPACE)

local pcre, code, match, found

local function prepare()
  local ok
  ok, pcre = pcall(ffi.load, 'libpcre2-8.so.0')
  if not ok then errors.raise('E404', 'libpcre2-8.so.0 is not installed (Debian: libpcre2-8-0)') end
  local number, at = ffi.new 'int[1]', ffi.new 'size_t[1]'
  code = pcre.pcre2_compile_8(PATTERN, #PATTERN, 0x00080000 + 0x00020000, number, at, nil)     -- UTF | UCP
  assert(code ~= nil, 'bpe: the splitting pattern does not compile')
  pcre.pcre2_jit_compile_8(code, 1)
  match = pcre.pcre2_match_data_create_8(1, nil)
  found = pcre.pcre2_get_ovector_pointer_8(match)
end

-- Calls fn(from, to) for the pieces of a text that are encoded on their own: bytes from (from 0) up to `to`.
local function each_piece(text, fn)
  if not pcre then prepare() end
  local at, n = 0, #text
  while at < n do
    if pcre.pcre2_match_8(code, text, n, at, 0x40000000, match, nil) < 1 then break end        -- NO_UTF_CHECK
    local from, to = tonumber(found[0]), tonumber(found[1])
    fn(from, to)
    at = to
  end
end

-- -- bytes as letters -----------------------------------------------------------------------------------------

local letter = {}                  -- byte -> the letter that stands for it
do
  local extra = 256
  for b = 0, 255 do
    local shown = (b >= 33 and b <= 126) or (b >= 161 and b <= 172) or b >= 174
    letter[b] = utf8.char(shown and b or extra)
    if not shown then extra = extra + 1 end
  end
end

local byte_of = {}
for b = 0, 255 do byte_of[letter[b]] = string.char(b) end

-- -- loading ----------------------------------------------------------------------------------------------------

local function read_vocab(source)
  local path = lines.name(source)
  local ok, vocab = pcall(require('cjson').decode, lines.text(source))
  if not ok or type(vocab) ~= 'table' then errors.raise('E309', path .. ': not a JSON object of token: id') end
  local n, token = 0, {}
  for t, id in pairs(vocab) do
    if type(id) ~= 'number' or id ~= math.floor(id) or id < 0 then
      errors.raise('E309', ("%s: id of '%s' is %s, expected a whole number"):format(path, tostring(t), tostring(id)))
    end
    if token[id] then errors.raise('E309', ("%s: id %d is both '%s' and '%s'"):format(path, id, token[id], t)) end
    token[id] = t
    n = math.max(n, id + 1)
  end
  return vocab, token, n
end

local function refuse_merge(path, number, line)
  local a, b, rest = line:match '^(%S+) (%S+)(.*)$'
  if not a or rest ~= '' then errors.raise('E309', ("%s:%d: '%s', expected two parts"):format(path, number, line)) end
  errors.raise('E309', ("%s:%d: '%s' is not in the vocabulary"):format(path, number, a .. b))
end

-- The engine's table of merges, by numbers of parts: ids, and for the letters that are no entries numbers below 0.
-- There are some 50,000 lines: only what the JIT compiles.
local function read_merges(source, vocab, unk)
  local lower, letters = {}, ffi.new 'int32_t[256]'
  for b = 0, 255 do
    if not vocab[letter[b]] then lower[letter[b]] = -1 - b end
    letters[b] = vocab[letter[b]] or lower[letter[b]]
  end
  local s, path = lines.text(source), lines.name(source)
  local merges = ffi.new('int32_t[?]', 3 * (math.floor(#s / 4) + 1))             -- a merge takes at least "a b\n"
  local at, number, n = 1, 0, 0
  while at <= #s do
    local stop = s:find('\n', at, true) or #s + 1
    local last = s:byte(stop - 1) == 13 and stop - 2 or stop - 1
    number = number + 1
    if last >= at and s:sub(at, at + 7) ~= '#version' then
      local space = s:find(' ', at, true)
      if not space or space > last then refuse_merge(path, number, s:sub(at, last)) end
      local a, b = s:sub(at, space - 1), s:sub(space + 1, last)
      local to = vocab[a .. b]
      if not to or a == '' or b == '' then refuse_merge(path, number, s:sub(at, last)) end
      local first, second = vocab[a] or lower[a], vocab[b] or lower[b]
      if not (first and second) then first, second = UNREACHED, UNREACHED end      -- parts that are never made
      merges[n], merges[n + 1], merges[n + 2] = first, second, to
      n = n + 3
    end
    at = stop + 1
  end
  local out = ffi.new 'dm_bpe *[1]'
  core.check(C.dm_bpe_new(out, letters, merges, n / 3, unk or 0))
  return ffi.gc(out[0], C.dm_bpe_free)
end

--- A tokenizer from vocab.json and merges.txt (paths, or see lines.of). Raises (code 3) with file and line where they
--- are malformed.
function M.load(vocab_source, merges_source)
  local vocab, token, size = read_vocab(vocab_source)
  local function special(name) return vocab[name] or vocab['<|endoftext|>'] end
  return setmetatable({ kind = 'bpe', vocab = vocab, token = token, vocab_size = size, bos = special '<s>',
    pad = special '<pad>', eos = special '</s>', unk = special '<unk>', sources = { vocab_source, merges_source },
    merges = read_merges(merges_source, vocab, special '<unk>') }, Bpe)
end

-- -- encoding -----------------------------------------------------------------------------------------------------

local function checked(n)
  if n < 0 then errors.raise('E501', 'bpe: no memory for a piece') end
  return n
end

-- Appends the ids of a text that is not ASCII, piece by piece.
local function add_pieces(self, out, text)
  local bytes = ffi.cast('const uint8_t *', text)
  each_piece(text, function(from, to)
    local n
    repeat
      n = C.dm_bpe_piece(self.merges, bytes + from, to - from, lines.room, lines.size)
    until lines.fits(n)
    lines.append(out, checked(n))
  end)
  return out
end

--- Ids of a text without specials. Texts in ASCII are cut by the engine, pieces and all.
function Bpe:ids(text)
  local out = {}
  local n
  repeat
    n = C.dm_bpe_text(self.merges, text, #text, lines.room, lines.size)
  until lines.fits(n)
  if n == -1 then return add_pieces(self, out, utf8.clean(text)) end
  return lines.append(out, checked(n))
end

local function wrap(self, ids)
  table.insert(ids, 1, self.bos)
  ids[#ids + 1] = self.eos
  return ids
end

--- <s> text </s>, at most `max` ids; and whether some were cut off.
function Bpe:encode(text, max)
  local ids = self:ids(text)
  local cut = lines.truncate(ids, max and max - 2)
  return wrap(self, ids), cut
end

--- <s> a </s></s> b </s>, at most `max` ids, cut from the longer one.
function Bpe:encode_pair(a, b, max)
  local first, second = self:ids(a), self:ids(b)
  local cut = max and lines.truncate_pair(first, second, max - 4)
  local out = wrap(self, first)
  out[#out + 1] = self.eos
  for i = 1, #second do out[#out + 1] = second[i] end
  out[#out + 1] = self.eos
  return out, cut or false
end

Bpe.encode_lines, Bpe.encode_sentences = lines.encode_lines, lines.encode_sentences
Bpe.space = ' '                    -- in front of words that come one by one

--- The text of ids; specials are left out.
function Bpe:decode(ids)
  local out = {}
  for _, id in ipairs(ids) do
    local t = self.token[id]
    if t and id ~= self.bos and id ~= self.eos and id ~= self.pad then
      out[#out + 1] = (t:gsub('[%z\1-\127\194-\244][\128-\191]*', byte_of))
    end
  end
  return table.concat(out)
end

--- What to store beside a model: file name -> bytes.
function Bpe:files()
  return { ['vocab.json'] = lines.text(self.sources[1]), ['merges.txt'] = lines.text(self.sources[2]) }
end

return M
