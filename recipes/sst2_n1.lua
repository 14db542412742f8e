-- sst2_n1.lua -- the plain Transformer on SST-2, from scratch: what multiplexing is compared with.
-- Reproduces the baseline B1 of DataMUX (Murahari et al., NeurIPS 2022): published 0.814 with 12 layers of 768.
local dm = require 'datamux'

return dm.recipe {
  name = 'sst2_n1',
  task = 'sst2',
  mux = { n = 1 },
  demux = { read = 'pool' },
  data = { length = 64 },
  profiles = {
    small = {
      model = { kind = 'plain', layers = 4, width = 256, heads = 4, vocab = { kind = 'words', size = 8000 } },
      train = { epochs = 4, rows = 64, lr = 5e-4, alpha = 0 },
    },
    paper = {
      model = { kind = 'plain', layers = 12, width = 768, heads = 12, vocab = { kind = 'words', size = 8000 } },
      train = { epochs = 10, rows = 32, lr = 1e-4, alpha = 0 },  -- published: 10 epochs, 1e-4, batch 32
    },
  },
}
