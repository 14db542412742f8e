-- so -- a fixed random rotation of the pixel space for each instance: Haar-distributed in SO(HW).
local ffi = require 'ffi'
local Tensor = require 'datamux.tensor'
local forms = require 'datamux.nn.imagemux.forms'
local orthonormal = require 'datamux.ops.orthonormal'

-- Sign of the determinant of a [n, n], which is used up: elimination with pivots.
local function sign(a, n)
  local s = 1
  for k = 0, n - 1 do
    local p = k
    for r = k + 1, n - 1 do
      if math.abs(a[r * n + k]) > math.abs(a[p * n + k]) then p = r end
    end
    if p ~= k then
      s = -s
      for j = k, n - 1 do a[k * n + j], a[p * n + j] = a[p * n + j], a[k * n + j] end
    end
    local pivot = a[k * n + k]
    if pivot < 0 then s = -s end
    for r = k + 1, n - 1 do
      local f = a[r * n + k] / pivot
      for j = k + 1, n - 1 do a[r * n + j] = a[r * n + j] - f * a[k * n + j] end
    end
  end
  return s
end

return forms.matrices(function(t, seed, site, o)
  local n = o.height * o.width
  local size = 8 * n * n
  local normals = Tensor.lasting({ o.n, n, n }):normal(0, 1, seed, site)
  local values, a, copy = normals:host(), ffi.new('double[?]', n * n), ffi.new('double[?]', n * n)
  normals:free()
  forms.side_by_side(t, o, function(i)
    for k = 0, n * n - 1 do a[k] = values[i * n * n + k] end
    ffi.copy(copy, a, size)
    orthonormal.rows(a, n)
    if sign(copy, n) < 0 then                  -- a reflection: the last row turned round is a rotation
      for k = n * n - n, n * n - 1 do a[k] = -a[k] end
    end
    return a
  end)
end)
