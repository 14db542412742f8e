-- import/tokenizer.lua -- the tokenizer of a Hugging Face folder: vocab.json with merges.txt, vocab.txt, or
-- tokenizer.json with either inside; where there is none, the vocabulary that the published programs took.
local cjson = require 'cjson'
local cache = require 'datamux.data.cache'
local errors = require 'datamux.errors'
local sys = require 'datamux.sys'
local text = require 'datamux.text'

local M = {}

local function object(path)
  local bytes = sys.read(path)
  if not bytes then return nil end
  local ok, t = pcall(cjson.decode, bytes)
  if not ok or type(t) ~= 'table' then errors.raise('E702', path .. ': not a JSON object') end
  return t
end

local function wrong(path, what, value, expected)
  errors.raise('E702', ('%s: %s is %s, expected %s'):format(path, what, tostring(value), expected))
end

-- The pieces of WordPiece in the order of their ids.
local function in_order(path, vocab)
  local list, n = {}, 0
  for piece, id in pairs(vocab) do
    list[id + 1], n = piece, n + 1
  end
  if #list ~= n then wrong(path, 'model.vocab', 'a vocabulary with holes', 'ids 0, 1, ..') end
  return table.concat(list, '\n') .. '\n'
end

local function merges_text(path, list)
  local out = {}
  for i, m in ipairs(list) do
    out[i] = type(m) == 'table' and m[1] .. ' ' .. m[2] or m
    if type(out[i]) ~= 'string' then wrong(path, ('model.merges[%d]'):format(i), m, 'a text') end
  end
  return table.concat(out, '\n') .. '\n'
end

-- From a tokenizer.json: its vocabulary as files of the older kind, in memory.
local function combined(path, t)
  local m = type(t.model) == 'table' and t.model or {}
  local kind = m.type or (m.merges and 'BPE')
  if type(m.vocab) ~= 'table' then wrong(path, 'model.vocab', m.vocab, 'an object') end
  if kind == 'WordPiece' then
    local n = type(t.normalizer) == 'table' and t.normalizer or {}
    return { kind = 'wordpiece', lower = n.lowercase ~= false, vocab = { name = path, text = in_order(path, m.vocab) } }
  elseif kind == 'BPE' then
    local before = type(t.pre_tokenizer) == 'table' and t.pre_tokenizer or {}
    if before.type ~= 'ByteLevel' or before.add_prefix_space then
      wrong(path, 'pre_tokenizer', before.type, 'ByteLevel without add_prefix_space')
    end
    return { kind = 'bpe', vocab = { name = path, text = cjson.encode(m.vocab) },
             merges = { name = path, text = merges_text(path, m.merges or {}) } }
  end
  wrong(path, 'model.type', kind, 'BPE or WordPiece')
end

-- Vocabularies that the published programs take, where a folder has none of its own.
local usual = { roberta = { 'roberta-base', 'vocab.json', 'merges.txt' }, bert = { 'bert-base-uncased', 'vocab.txt' } }

local function from_cache(arch, dir)
  local name, first, second = unpack(usual[arch])
  local vocab = cache.look('vocab/' .. name, first)
  local merges = second and cache.look('vocab/' .. name, second)
  if not vocab or (second and not merges) then
    errors.raise('E706', { what = dir .. ': no tokenizer in it', why = ('expected vocab.json and merges.txt, vocab.txt '
      .. 'or tokenizer.json, or the vocabulary %s under the data folder'):format(name),
      fix = ('copy the tokenizer\'s files into it, or put them into $DATAMUX_DATA/vocab/%s'):format(name) })
  end
  return { kind = second and 'bpe' or 'wordpiece', lower = true, vocab = vocab, merges = merges }
end

local function find(dir, arch)
  local function here(name) return sys.kind(dir .. '/' .. name) == 'file' and dir .. '/' .. name or nil end
  local own = object(dir .. '/tokenizer_config.json') or {}
  if here 'vocab.json' and here 'merges.txt' then
    return { kind = 'bpe', vocab = here 'vocab.json', merges = here 'merges.txt' }
  elseif here 'vocab.txt' then
    return { kind = 'wordpiece', lower = own.do_lower_case ~= false, vocab = here 'vocab.txt' }
  elseif here 'tokenizer.json' then
    return combined(here 'tokenizer.json', object(here 'tokenizer.json'))
  end
  return from_cache(arch, dir)
end

--- The tokenizer that belongs to a folder. p: options of models/published.lua. Returns it, and the longest text that
--- tokenizer_config.json allows (nil: it does not say). Raises (code 7, code 3 for a malformed vocabulary) where there
--- is none or it has more entries than the model, or another padding.
function M.open(dir, p)
  local o = find(dir, p.arch)
  local tok = text.load(o)
  if tok.vocab_size > p.vocab then
    errors.raise('E702', ('%s: the tokenizer has %d entries, expected at most vocab_size = %d'):format(dir,
      tok.vocab_size, p.vocab))
  end
  if tok.pad ~= p.pad then
    errors.raise('E702', ('%s: the tokenizer pads with %s, expected pad_token_id = %d'):format(dir, tostring(tok.pad),
      p.pad))
  end
  local longest = (object(dir .. '/tokenizer_config.json') or {}).model_max_length
  return tok, type(longest) == 'number' and longest >= 1 and longest < 1e6 and longest or nil
end

return M
