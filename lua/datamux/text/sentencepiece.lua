-- sentencepiece.lua -- SentencePiece through its library; trained on the corpus where no model is given.
-- Its functions are declared here and not in the public header, since the library is optional
-- (src/text_sentencepiece.cc). Source: Kudo & Richardson 2018; unigram model, NFKC and case folding.
local ffi = require 'ffi'
local errors = require 'datamux.errors'
local lines = require 'datamux.text.lines'
local reader = require 'datamux.data.reader'
local C = ffi.C

local M = {}

local SentencePiece = {}
SentencePiece.__index = SentencePiece

if not pcall(ffi.typeof, 'struct dm_spm_defined') then
  ffi.cdef [[
    struct dm_spm_defined { int one; };
    void *dm_spm_open(const char *bytes, double size, char *why);
    void dm_spm_close(void *model);
    int32_t dm_spm_encode(void *model, const char *text, double size, int32_t *ids, int32_t room);
    int32_t dm_spm_size(void *model);
    const char *dm_spm_piece(void *model, int32_t id);
    double dm_spm_train(char **out, const char *text, const double *offset, double n, int32_t vocab_size, char *why);
    void dm_spm_free(char *bytes);
  ]]
end

local why = ffi.new 'char[256]'

local function open(bytes, name)
  local model = C.dm_spm_open(bytes, #bytes, why)
  if model == nil then errors.raise('E309', ('%s: not a SentencePiece model: %s'):format(name, ffi.string(why))) end
  local self = setmetatable({ kind = 'sentencepiece', model = ffi.gc(model, C.dm_spm_close), bytes = bytes,
    vocab_size = C.dm_spm_size(model), cache = {} }, SentencePiece)
  self.room = ffi.new 'int32_t[4096]'
  for id = 0, math.min(self.vocab_size, 10) - 1 do
    local piece = ffi.string(C.dm_spm_piece(model, id))
    local field = ({ ['<pad>'] = 'pad', ['<unk>'] = 'unk', ['<s>'] = 'bos', ['</s>'] = 'eos' })[piece]
    if field then self[field] = id end
  end
  self.pad = self.pad or self.unk or 0
  return self
end

--- A tokenizer from a model file.
function M.load(path) return open(reader.text(path), path) end

--- Trains a unigram model of about `vocab_size` pieces on a list of texts: ids pad 0, unk 1, <s> 2, </s> 3.
--- The same texts give the same model.
function M.train(texts, vocab_size)
  local offset = ffi.new('double[?]', #texts + 1)
  local at = 0
  for i, t in ipairs(texts) do
    at = at + #t
    offset[i] = at
  end
  local out = ffi.new 'char *[1]'
  local n = C.dm_spm_train(out, table.concat(texts), offset, #texts, vocab_size, why)
  if n < 0 then errors.raise('E309', 'sentencepiece: the vocabulary cannot be learned: ' .. ffi.string(why)) end
  local bytes = ffi.string(out[0], n)
  C.dm_spm_free(out[0])
  return open(bytes, 'trained model')
end

--- Ids of a text without specials.
function SentencePiece:ids(text)
  local n = C.dm_spm_encode(self.model, text, #text, self.room, ffi.sizeof(self.room) / 4)
  if n < 0 then errors.raise('E309', 'sentencepiece: this text cannot be encoded') end
  if n > ffi.sizeof(self.room) / 4 then
    self.room = ffi.new('int32_t[?]', n)
    return self:ids(text)
  end
  local out = {}
  for i = 1, n do out[i] = self.room[i - 1] end
  return out
end

SentencePiece.encode, SentencePiece.encode_pair = lines.encode, lines.encode_pair
SentencePiece.encode_lines, SentencePiece.encode_sentences = lines.encode_lines, lines.encode_sentences

--- The text of ids; specials are left out.
function SentencePiece:decode(ids)
  local out = {}
  for _, id in ipairs(ids) do
    local piece = C.dm_spm_piece(self.model, id)
    if piece ~= nil and id ~= self.pad and id ~= self.bos and id ~= self.eos then
      out[#out + 1] = (ffi.string(piece):gsub('\226\150\129', ' '))
    end
  end
  return (table.concat(out):gsub('^ ', ''))
end

--- What to store beside a model: file name -> bytes.
function SentencePiece:files() return { ['spm.model'] = self.bytes } end

return M
