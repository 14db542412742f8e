-- fan_in.lua -- uniform initial values in +-1/sqrt(fan_in), for weights and biases alike: what PyTorch gives its
-- linear and convolution layers.

--- An `init` for Module:param. n: inputs of one output.
return function(n)
  local most = 1 / math.sqrt(n)
  return function(t, seed, site) t:uniform(-most, most, seed, site) end
end
