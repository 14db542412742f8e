-- hadamard -- each pixel times a fixed normal value of the instance's own.
local forms = require 'datamux.nn.imagemux.forms'

return forms.keys(function(t, seed, site) t:normal(0, 1, seed, site) end)
