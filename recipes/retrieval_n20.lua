-- retrieval_n20.lua -- the retrieval warm-up alone: which token did instance i have at position l?
-- DataMUX (Murahari et al., NeurIPS 2022), section 3: here on SST-2's own sentences; held-out accuracy on its dev set.
local dm = require 'datamux'

return dm.recipe {
  name = 'retrieval_n20',
  task = 'sst2',
  mux = { n = 20 },
  demux = { kind = 'unbind', key = 'mux', read = 'pool' },
  data = { length = 64 },
  train = { steps = 0 },
  profiles = {
    small = {
      model = { layers = 4, width = 256, heads = 4, vocab = { kind = 'words', size = 8000 } },
      warmup = { steps = 6000, rows = 8, lr = 1e-3, every = 500 },
    },
    paper = {
      model = { layers = 12, width = 768, heads = 12, vocab = { kind = 'words', size = 8000 } },
      warmup = { steps = 20000, rows = 20, lr = 1e-4, every = 1000 },
    },
  },
}
