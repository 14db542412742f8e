-- rotation -- instance i turned by 360 i / N degrees about the centre, by cubic splines; what leaves the image is lost,
-- what enters is 0. With mux.sign it is multiplied by 1 - 2 i as well, as the published notebook does.
--
-- Splines are linear in the pixels, and separable: the value at (row, column) is a(row)' X a(column), where a() holds
-- the cubic B-spline's values around a coordinate times the inverse of the matrix that maps coefficients to samples.
-- Mirrored at the borders: Unser, "Splines: a perfect fit for signal and image processing", 1999.
local ffi = require 'ffi'
local forms = require 'datamux.nn.imagemux.forms'

local function mirrored(k, n)
  if k < 0 then k = -k end
  return k >= n and 2 * (n - 1) - k or k
end

-- Weights of the coefficients k - 1 .. k + 2 at k + f.
local function spline(f)
  return (1 - f) ^ 3 / 6, (4 - 6 * f ^ 2 + 3 * f ^ 3) / 6, (1 + 3 * f + 3 * f ^ 2 - 3 * f ^ 3) / 6, f ^ 3 / 6
end

-- Coefficients from samples, [n][n]: the inverse of (c[k-1] + 4 c[k] + c[k+1]) / 6, by Gauss-Jordan (its diagonal
-- dominates).
local function prefilter(n)
  local a, inverse = {}, {}
  for r = 0, n - 1 do
    a[r], inverse[r] = {}, {}
    for k = 0, n - 1 do a[r][k], inverse[r][k] = 0, r == k and 1 or 0 end
    for step = -1, 1 do
      local k = mirrored(r + step, n)
      a[r][k] = a[r][k] + (step == 0 and 4 or 1) / 6
    end
  end
  for p = 0, n - 1 do
    local pivot = a[p][p]
    for k = 0, n - 1 do a[p][k], inverse[p][k] = a[p][k] / pivot, inverse[p][k] / pivot end
    for r = 0, n - 1 do
      local f = r ~= p and a[r][p] or 0
      for k = 0, n - 1 do a[r][k], inverse[r][k] = a[r][k] - f * a[p][k], inverse[r][k] - f * inverse[p][k] end
    end
  end
  return inverse
end

-- Weights of the n samples at a coordinate; nil outside of them.
local function at(u, n, inverse)
  local near = math.floor(u + 0.5)
  if math.abs(u - near) < 1e-9 then u = near end
  if u < 0 or u > n - 1 then return nil end
  local k = math.floor(u)
  local w, out = { spline(u - k) }, {}
  for s = 0, n - 1 do out[s] = 0 end
  for j = 1, 4 do
    local row = inverse[mirrored(k + j - 2, n)]
    if w[j] ~= 0 then
      for s = 0, n - 1 do out[s] = out[s] + w[j] * row[s] end
    end
  end
  return out
end

-- [area, area]: the image turned by `angle` (radians), times factor.
local function turned(h, w, angle, factor)
  local area = h * w
  local a, c, s = ffi.new('double[?]', area * area), math.cos(angle), math.sin(angle)
  local rows, cols = prefilter(h), prefilter(w)
  local middle, centre = (h - 1) / 2, (w - 1) / 2
  for r = 0, h - 1 do
    for q = 0, w - 1 do
      local of_row = at(c * (r - middle) + s * (q - centre) + middle, h, rows)
      local of_col = at(c * (q - centre) - s * (r - middle) + centre, w, cols)
      if of_row and of_col then
        local to = (r * w + q) * area
        for i = 0, h - 1 do
          for j = 0, w - 1 do a[to + i * w + j] = factor * of_row[i] * of_col[j] end
        end
      end
    end
  end
  return a
end

return forms.matrices(function(t, _, _, o)
  forms.side_by_side(t, o, function(i)
    return turned(o.height, o.width, 2 * math.pi * i / o.n, o.sign and 1 - 2 * i or 1)
  end)
end)
