-- mnist_cnn.lua -- one LeNet pass over N images of MNIST at once, N answers: mux.n = 1, 2, 4, 8, 16.
-- Reproduces DataMUX (Murahari et al., NeurIPS 2022), its vision notebook, CNN with the nonlinear multiplexer of 8
-- channels: 0.986, 0.974, 0.947, 0.837, 0.533 on the test set at N = 1, 2, 4, 8, 16. The notebook's own training:
--   mux.init=normal mux.reduce=sum train.loss=square train.optimiser=sgd train.lr=0.1 train.schedule=constant
--   train.steps=28125 (15 times 1,875 steps of 32 mixed images drawn from the whole set)
-- Here Adam and cross-entropy, which leave the start in hundreds of steps, and kernels that do not saturate.
--   datamux recipes/mnist_cnn.lua mux.n=8
local dm = require 'datamux'

return dm.recipe {
  name = 'mnist_cnn',
  task = 'mnist',
  model = { kind = 'cnn' },
  mux = { n = 4, kind = 'nonlinear', channels = 8, init = 'fan_in', reduce = 'sqrt' },
  data = { draw = 'whole' },
  train = { steps = 5000, rows = 32, lr = 3e-3, loss = 'xent', decay = 0, clip = 0, warmup = 0, every = 1000 },
  expect = { accuracy = { at_least = 0.947 } },          -- N = 4
}
