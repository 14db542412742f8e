-- graded -- a kernel of ones times the number of the instance, from 1.
local forms = require 'datamux.nn.imagemux.forms'

return forms.kernels(function(t, _, _, o)
  for i = 0, o.n - 1 do t:view({ 9 }, 9 * i):fill(i + 1) end
end)
