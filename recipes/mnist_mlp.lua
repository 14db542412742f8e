-- mnist_mlp.lua -- one pass of a perceptron (400, 100, 84) over N images of MNIST at once: mux.n = 1, 2, 4, 8, 16.
-- The MLP side of DataMUX's vision experiments (Murahari et al., NeurIPS 2022); the paper gives its figures as plots,
-- the sizes here are this project's. Adam, 1e-3, batches of 128 mixed images.
--   datamux recipes/mnist_mlp.lua mux.n=8 mux.kind=so
-- mux.kind = identity cannot tell the instances apart; hadamard, so and matrix can.
local dm = require 'datamux'

return dm.recipe {
  name = 'mnist_mlp',
  task = 'mnist',
  model = { kind = 'mlp' },
  mux = { n = 4, kind = 'so' },
  data = { draw = 'whole' },
  train = { steps = 6000, rows = 128, lr = 1e-3, decay = 0, clip = 0, warmup = 0, every = 1000 },
}
