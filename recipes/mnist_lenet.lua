-- mnist_lenet.lua -- the plain LeNet on MNIST, one image at a time: what multiplexing is compared with.
-- Source: the vision notebook of DataMUX (Murahari et al., NeurIPS 2022), 0.976 on the test set after ten epochs of
-- gradient descent. Here: Adam, 1e-3, batches of 128. model.kind=mlp is the plain perceptron.
local dm = require 'datamux'

return dm.recipe {
  name = 'mnist_lenet',
  task = 'mnist',
  model = { kind = 'cnn' },
  mux = { n = 1, kind = 'none' },
  train = { epochs = 10, rows = 128, lr = 1e-3, decay = 0, clip = 0, warmup = 0 },
  expect = { accuracy = { at_least = 0.976 } },
}
