-- sst2_n20_paper.lua -- the published network exactly: index prefix, CLS read-out, separate retrieval head, byte-level
-- BPE of RoBERTa, fixed length 128, pads mixed in, no attention mask, embedding block applied again on the mixture.
-- DataMUX (Murahari et al., NeurIPS 2022). Values: its experiment section (10 epochs, 1e-4, linear, 10 % warm-up,
-- alpha 0.1); keys of norm 20, mean over N and batch sizes: its repository (run_glue.sh). The warm-up text is named
-- wikitext-103 there; its released N = 20 warm-up took 150,000 steps.
local dm = require 'datamux'

return dm.recipe {
  name = 'sst2_n20_paper',
  task = 'sst2',
  model = { embed_twice = true, init = 0.02, vocab = { kind = 'bpe', name = 'roberta-base' } },
  mux = { n = 20, norm = 20, reduce = 'mean', pads = 'mix' },
  demux = { kind = 'index', read = 'cls', retrieval = 'separate', tied = false, mask = 'none' },
  data = { length = 128, fixed = true, bucket = false },
  warmup = { steps = 150000, rows = 20, lr = 5e-5, warmup = 0, decay = 0, every = 10000 },
  train = { epochs = 10, rows = 20, lr = 1e-4, decay = 0 },
  profiles = {
    small = { model = { layers = 4, width = 256, heads = 4 } },
    paper = {
      model = { layers = 12, width = 768, heads = 12 },
      data = { warmup = { source = { 'wikitext-103/wiki.train.tokens' } } },
    },
  },
}
