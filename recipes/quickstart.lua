-- quickstart.lua -- five sentences read at once by a small T-MUX: retrieval warm-up, fine-tuning, report.
-- Needs no file and no network: the sentences come from a grammar written in this project
-- (lua/datamux/data/synthetic.lua). Method: DataMUX (Murahari et al. 2022); unbinding and pooling: docs/method.md.
local dm = require 'datamux'

return dm.recipe {
  name = 'quickstart',
  task = 'synthetic',
  model = { layers = 2, width = 128, heads = 2, vocab = { kind = 'words', size = 1000 } },
  mux = { n = 5 },
  demux = { kind = 'unbind', key = 'mux', read = 'pool' },
  data = { length = 24 },
  warmup = { steps = 600, rows = 16, lr = 1e-3, every = 100 },
  train = { epochs = 6, rows = 16, lr = 1e-3 },
  expect = { accuracy = { at_least = 0.95 } },
}
