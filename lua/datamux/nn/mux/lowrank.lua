-- lowrank.lua -- instance i is projected on block i of one orthonormal basis H, put into block i, and all are rotated
-- by U: K_i = U P_i H^T with P_i keeping C / N coordinates. What instances leave behind is exactly orthogonal.
-- Source: MUX-PLM's program (Murahari et al. 2023), random orthogonal low-rank multiplexing.
local ffi = require 'ffi'
local orthonormal = require 'datamux.ops.orthonormal'

local function rotation(z, c)
  local a = ffi.new('double[?]', c * c)
  for k = 0, c * c - 1 do a[k] = z[k] end
  orthonormal.rows(a, c)
  return a
end

return {
  reduce = 'sum', published = 'sqrt',
  refuse = function(o)
    if o.n > o.width then
      return ('mux.n is %d, expected at most %d: low-rank keys need a dimension each, and model.width is %d'):format(
        o.n, o.width, o.width), 'mux.n=' .. o.width
    end
  end,
  keys = function(o)
    local n, c = o.n, o.width
    local block = math.floor(c / n)
    return { n, c, c }, function(v, normals)
      local h, u = rotation(normals(c * c), c), rotation(normals(c * c, 1), c)
      for i = 0, n - 1 do
        local from, to = i * block, (i + 1) * block - 1
        for r = 0, c - 1 do
          for q = 0, c - 1 do
            local s = 0
            for k = from, to do s = s + u[r * c + k] * h[q * c + k] end
            v[(i * c + r) * c + q] = s
          end
        end
      end
    end
  end,
}
