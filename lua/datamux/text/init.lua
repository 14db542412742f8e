-- text/init.lua -- tokenizers behind one interface: text.train and text.load.
-- A tokenizer has: vocab_size, pad, unk, bos, eos, :ids(text), :encode(text, max), :encode_pair(a, b, max),
-- :encode_lines(texts, { max, pairs }), :encode_sentences(lists of words, { max }), :decode(ids), :files() (what to
-- store beside a model).
local M = {}

--- A tokenizer made from texts. o: { kind = 'words' | 'sentencepiece', lines = list, vocab_size }.
function M.train(o)
  return require('datamux.text.' .. o.kind).train(o.lines, o.vocab_size)
end

--- A tokenizer from files. o: { kind = 'words', vocab } | { kind = 'bpe', vocab, merges } |
--- { kind = 'wordpiece', vocab, lower = true } | { kind = 'sentencepiece', model }.
function M.load(o)
  local room = require('datamux.text.' .. o.kind)
  if o.kind == 'bpe' then return room.load(o.vocab, o.merges) end
  if o.kind == 'wordpiece' then return room.load(o.vocab, o.lower) end
  return room.load(o.kind == 'sentencepiece' and o.model or o.vocab)
end

return M
