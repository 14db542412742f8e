-- sst2_n5.lua -- T-MUX reading 5 sentences at once, on SST-2: retrieval warm-up, then fine-tuning.
-- Reproduces DataMUX (Murahari et al., NeurIPS 2022), SST-2 at N = 5: published 0.797 with 12 layers of 768.
-- The unbinding demultiplexer with keys of its own and `pool`: what learns within minutes (docs/method.md).
local dm = require 'datamux'

return dm.recipe {
  name = 'sst2_n5',
  task = 'sst2',
  mux = { n = 5 },
  demux = { kind = 'unbind', key = 'own', read = 'pool' },
  data = { length = 64 },
  profiles = {
    small = {
      model = { layers = 4, width = 256, heads = 4, vocab = { kind = 'words', size = 8000 } },
      warmup = { steps = 3000, rows = 16, lr = 1e-3, every = 500 },
      train = { epochs = 6, rows = 16, lr = 5e-4 },
    },
    paper = {
      model = { layers = 12, width = 768, heads = 12, vocab = { kind = 'words', size = 8000 } },
      warmup = { steps = 20000, rows = 32, lr = 1e-4, every = 1000 },
      train = { epochs = 10, rows = 32, lr = 1e-4 },     -- published: 10 epochs, 1e-4, linear, 10 % warm-up
    },
  },
}
