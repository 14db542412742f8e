-- matrix -- a trained matrix on the pixels for each instance, normals at first.
local forms = require 'datamux.nn.imagemux.forms'

return forms.matrices(function(t, seed, site, o)
  t:normal(0, forms.std(o, o.height * o.width), seed, site)
end, true)
