-- qnli_n20.lua -- T-MUX reading 20 pairs of question and sentence at once, on QNLI: does it hold the answer?
-- Reproduces DataMUX (Murahari et al., NeurIPS 2022), QNLI at N = 20: published 0.591 with 12 layers of 768, 0.609 for
-- the plain Transformer.
-- Differs as sst2_n20.lua does: unbinding instead of the index prefix, `pool` instead of the CLS read-out.
local dm = require 'datamux'

return dm.recipe {
  name = 'qnli_n20',
  task = 'qnli',
  mux = { n = 20 },
  demux = { kind = 'unbind', key = 'mux', read = 'pool' },
  data = { length = 64 },
  profiles = {
    small = {                                            -- a CPU
      model = { layers = 4, width = 256, heads = 4, vocab = { kind = 'sentencepiece', size = 8000 } },
      warmup = { steps = 8000, rows = 8, lr = 1.5e-3, every = 500 },
      train = { epochs = 8, rows = 8, lr = 1e-3 },
    },
    paper = {                                            -- 12 x 768: a GPU
      model = { layers = 12, width = 768, heads = 12, vocab = { kind = 'bpe', name = 'roberta-base' } },
      data = { length = 128 },
      warmup = { steps = 20000, rows = 20, lr = 1e-4, every = 1000 },
      train = { epochs = 10, rows = 20, lr = 1e-4 },     -- published: 10 epochs, 1e-4, linear, 10 % warm-up
    },
  },
}
