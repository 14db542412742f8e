-- sst2_n20.lua -- T-MUX reading 20 sentences at once, on SST-2: retrieval warm-up, then fine-tuning, in one file.
-- Reproduces DataMUX (Murahari et al., NeurIPS 2022), SST-2 at N = 20: published 0.788 with 12 layers of 768.
-- Differs where that network does not start within minutes (docs/method.md): the unbinding demultiplexer
-- instead of the index prefix, `pool` instead of the CLS read-out. The published network: sst2_n20_paper.lua.
local dm = require 'datamux'

return dm.recipe {
  name = 'sst2_n20',
  task = 'sst2',
  mux = { n = 20 },
  demux = { kind = 'unbind', key = 'mux', read = 'pool' },
  data = { length = 64 },
  profiles = {
    small = {                                            -- a CPU: minutes
      model = { layers = 4, width = 256, heads = 4, vocab = { kind = 'words', size = 8000 } },
      warmup = { steps = 7000, rows = 8, lr = 1.5e-3, every = 500 },
      train = { epochs = 26, rows = 8, lr = 1e-3 },
    },
    paper = {                                            -- 12 x 768: a GPU
      model = { layers = 12, width = 768, heads = 12, vocab = { kind = 'words', size = 8000 } },
      warmup = { steps = 20000, rows = 20, lr = 1e-4, every = 1000 },
      train = { epochs = 10, rows = 20, lr = 1e-4 },     -- published: 10 epochs, 1e-4, linear, 10 % warm-up
    },
  },
}
