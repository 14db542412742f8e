-- ortho.lua -- an orthogonal matrix for each instance, Haar-distributed: Gram-Schmidt of independent normals.
-- Source: DataMUX (Murahari et al. 2022), random orthogonal multiplexing.
local ffi = require 'ffi'
local orthonormal = require 'datamux.ops.orthonormal'

return {
  reduce = 'sqrt',
  keys = function(o)
    local c = o.width
    local size = c * c
    return { o.n, c, c }, function(v, normals)
      local a = ffi.new('double[?]', size)
      for i = 0, o.n - 1 do
        local z = normals(size, i)
        for k = 0, size - 1 do a[k] = z[k] end
        orthonormal.rows(a, c)
        for k = 0, size - 1 do v[i * size + k] = a[k] end
      end
    end
  end,
}
