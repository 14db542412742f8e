-- learned -- a trained 3 x 3 kernel for each instance, normals at first.
local forms = require 'datamux.nn.imagemux.forms'

return forms.kernels(function(t, seed, site) t:normal(0, 1, seed, site) end, true)
