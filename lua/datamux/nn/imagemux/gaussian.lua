-- gaussian -- a fixed 3 x 3 kernel of normals for each instance.
local forms = require 'datamux.nn.imagemux.forms'

return forms.kernels(function(t, seed, site) t:normal(0, 1, seed, site) end)
