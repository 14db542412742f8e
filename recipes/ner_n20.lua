-- ner_n20.lua -- T-MUX reading 20 sentences at once, on CoNLL-2003: a tag for every word of each.
-- Reproduces DataMUX (Murahari et al., NeurIPS 2022), NER at N = 20: published entity F1 0.757 with 12 layers of 768,
-- 0.787 for the plain Transformer.
-- Differs in the unbinding demultiplexer, here of inner width 1/4, since every token of every sentence is separated.
-- Word pieces are RoBERTa's in both profiles: names are rarely among the commonest words.
local dm = require 'datamux'

return dm.recipe {
  name = 'ner_n20',
  task = 'conll2003',
  model = { vocab = { kind = 'bpe', name = 'roberta-base' } },
  mux = { n = 20 },
  demux = { kind = 'unbind', key = 'mux', read = 'token', rank = 64 },
  data = { length = 64 },
  profiles = {
    small = {                                            -- a CPU
      model = { layers = 4, width = 256, heads = 4 },
      warmup = { steps = 8000, rows = 8, lr = 1.5e-3, every = 500 },
      train = { epochs = 30, rows = 8, lr = 1e-3 },
    },
    paper = {                                            -- 12 x 768: a GPU
      model = { layers = 12, width = 768, heads = 12 },
      data = { length = 128 },
      demux = { rank = 192 },
      warmup = { steps = 20000, rows = 20, lr = 1e-4, every = 1000 },
      train = { epochs = 10, rows = 20, lr = 1e-4 },     -- published: 10 epochs, 1e-4, linear, 10 % warm-up
    },
  },
}
