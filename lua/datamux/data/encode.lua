-- encode.lua -- from sets as read to sets of token ids, through the tokenised cache.
local ffi = require 'ffi'
local errors = require 'datamux.errors'
local lines = require 'datamux.text.lines'
local plural = require 'datamux.plural'
local sys = require 'datamux.sys'
local tokens = require 'datamux.data.tokens'

local M = {}

local IGNORE = -100

--- The texts a vocabulary is learned from: all texts of a set, second ones too.
function M.texts(set)
  local out = {}
  for i = 1, set.n do
    out[#out + 1] = set.words and table.concat(set.words[i], ' ') or set.texts[i]
    if set.pairs then out[#out + 1] = set.pairs[i] end
  end
  return out
end

-- Raises for a text without tokens, also where it is one of a pair. Sentences of words have some (see conll.read).
local function refuse_empty(tok, set)
  local function check(i, text, what)
    if not lines.empty(tok, text) then return end
    errors.raise('E305', { what = ('%s:%s: %s has no tokens'):format(set.path, set.lines and set.lines[i]
      or ' text ' .. i, what), fix = 'write that text, or leave the line out' })
  end
  for i = 1, set.n do
    check(i, set.texts[i], set.pairs and 'the first text of the pair' or 'the text')
    if set.pairs then check(i, set.pairs[i], 'the second text of the pair') end
  end
end

-- Raises where `length` ids leave no token of a text, or of either of a pair, between the specials.
local function refuse_length(tok, set, length)
  local specials = #(set.pairs and tok:encode_pair('', '') or tok:encode '')
  local least = specials + (set.pairs and 2 or 1)
  if length < least then
    errors.raise('E203', { what = ('data.length is %d, expected at least %d: %s %s'):format(length, least,
      set.pairs and 'a token of each text and' or 'a token and', plural.of(specials, 'special one')),
      fix = 'data.length=' .. least })
  end
end

-- Tags beside ids, and the truth of every word.
local function with_tags(out, set)
  local total = out.offset[out.n]
  local tags, gold, offset = ffi.new('int32_t[?]', total), ffi.new('int32_t[?]', out.words), ffi.new('int32_t[?]',
    out.n + 1)
  for i = 0, total - 1 do tags[i] = IGNORE end
  local k = 0
  for i, list in ipairs(set.gold) do
    for _, label in ipairs(list) do
      gold[k] = label
      if out.first[k] >= 0 then tags[out.first[k]] = label end
      k = k + 1
    end
    offset[i] = k
  end
  out.tags, out.gold, out.word_offset = tags, gold, offset
end

--- Encodes a set as read (see labelled.read, conll.read) with tokenizer `tok`, texts of at most `length` ids:
--- { ids = int32[], offset = int32[n + 1], n, truncated, vocab_size } with labels = int32[n], or scores = double[n], or
--- for words: tags = int32[] beside ids (-100 on specials and later pieces), and of every word in order gold =
--- int32[], first = int32[] (the place of its first piece in ids, -1 where cut off), word_offset = int32[n + 1], cut
--- (words cut off). Raises (code 3) with file and line for a text without tokens, alone or in a pair, and (code 2) for
--- a length that leaves none.
function M.set(tok, set, length)
  refuse_length(tok, set, length)
  if set.texts then refuse_empty(tok, set) end
  local kind, whole, make
  if set.words then
    local sentences = {}
    for i, words in ipairs(set.words) do sentences[i] = table.concat(words, ' ') end
    kind, whole = 'words', table.concat(sentences, '\n')
    make = function() return tok:encode_sentences(set.words, { max = length }) end
  else
    kind, whole = 'lines', table.concat(set.texts, '\n')
    if set.pairs then kind, whole = 'pairs', whole .. '\n\n' .. table.concat(set.pairs, '\n') end
    make = function() return tok:encode_lines(set.texts, { max = length, pairs = set.pairs }) end
  end
  local made = tokens.of({ tokens.tokenizer_key(tok), sys.sha256(whole), ('%s %d'):format(kind, length) }, #whole, make)
  local out = { vocab_size = tok.vocab_size, base = made, labels = set.labels, scores = set.scores }
  for k, v in pairs(made) do out[k] = v end
  if set.gold then with_tags(out, set) end
  return out
end

return M
