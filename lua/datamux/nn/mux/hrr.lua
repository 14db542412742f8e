-- hrr.lua -- circular correlation with a key: y[c] = sum over k of w[k] x[(c + 1 + k - C/2) mod C], as circulant
-- matrices. Keys are Gaussian of norm one (Plate 1995), so that a bound instance keeps its length on average.
-- Source: holographic reduced representations as binding of MIMONets (Menet et al. 2023), offset as published there.
return {
  reduce = 'sqrt', published = 'sum',
  keys = function(o)
    local n, c = o.n, o.width
    local offset = 1 - math.floor(c / 2)
    return { n, c, c }, function(v, normals)
      local z = normals(n * c)
      for i = 0, n - 1 do
        local s = 0
        for k = 0, c - 1 do s = s + z[i * c + k] ^ 2 end
        s = 1 / math.sqrt(s)
        for row = 0, c - 1 do
          for k = 0, c - 1 do v[(i * c + row) * c + (row + offset + k) % c] = z[i * c + k] * s end
        end
      end
    end
  end,
  refuse = function(o)
    if o.learn then
      return "mux.learn is true with mux.kind 'hrr', whose matrices would not stay circulant, expected false",
        'mux.learn=false'
    end
  end,
}
