-- gaussian -- a fixed 3 x 3 kernel of normals for each instance.
local forms = require 'datamux.nn.imagemux.forms'

return forms.kernels(function(t, seed, site, o) t:normal(0, forms.std(o, 9), seed, site) end)
