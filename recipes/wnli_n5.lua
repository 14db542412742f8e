-- wnli_n5.lua -- T-MUX reading 5 pairs of sentences at once, on WNLI: what does the pronoun stand for?
-- DataMUX (Murahari et al., NeurIPS 2022) has no result for this task; its published settings at N = 5 are the paper
-- profile. From scratch on 635 pairs; the majority answer has accuracy 0.563.
local dm = require 'datamux'

return dm.recipe {
  name = 'wnli_n5',
  task = 'wnli',
  mux = { n = 5 },
  demux = { kind = 'unbind', key = 'mux', read = 'pool' },
  data = { length = 96 },
  profiles = {
    small = {                                            -- a CPU
      model = { layers = 4, width = 256, heads = 4, vocab = { kind = 'sentencepiece', size = 2000 } },
      warmup = { steps = 500, rows = 8, lr = 1e-3, every = 100 },
      train = { epochs = 10, rows = 8, lr = 5e-4 },
    },
    paper = {                                            -- 12 x 768: a GPU
      model = { layers = 12, width = 768, heads = 12, vocab = { kind = 'bpe', name = 'roberta-base' } },
      data = { length = 128 },
      warmup = { steps = 20000, rows = 32, lr = 1e-4, every = 1000 },
      train = { epochs = 10, rows = 32, lr = 1e-4 },     -- published: 10 epochs, 1e-4, linear, 10 % warm-up
    },
  },
}
