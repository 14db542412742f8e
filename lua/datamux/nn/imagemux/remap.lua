-- remap -- every fourth pixel of an instance, in a cell of its own of a 4 x 4 grid: at most 16 instances.
local ffi = require 'ffi'
local forms = require 'datamux.nn.imagemux.forms'

local spec = forms.matrices(function(t, _, _, o)
  local h, w = o.height, o.width
  local area = h * w
  forms.side_by_side(t, o, function(i)
    local a = ffi.new('double[?]', area * area)
    local top, left = i % 4 * h / 4, math.floor(i / 4) * w / 4
    for r = 0, h / 4 - 1 do
      for q = 0, w / 4 - 1 do a[((top + r) * w + left + q) * area + 4 * r * w + 4 * q] = 1 end
    end
    return a
  end)
end)

function spec.refuse(o)
  if o.n > 16 then
    return ("mux.n is %d with mux.kind 'remap', expected at most 16, the cells of its grid"):format(o.n)
  end
  if o.height % 4 ~= 0 or o.width % 4 ~= 0 then
    return ("images are %d x %d with mux.kind 'remap', expected multiples of 4"):format(o.height, o.width)
  end
end

return spec
