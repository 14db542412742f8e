-- matrix -- a trained matrix on the pixels for each instance, normals at first.
local forms = require 'datamux.nn.imagemux.forms'

return forms.matrices(function(t, seed, site) t:normal(0, 1, seed, site) end, true)
