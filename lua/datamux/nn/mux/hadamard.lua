-- hadamard.lua -- Gaussian keys: rows of a standard normal, each divided by its Euclidean norm, times `norm`.
-- Source: DataMUX (Murahari et al. 2022), Gaussian Hadamard multiplexing.
return {
  reduce = 'sqrt', published = 'mean', options = { norm = true },
  keys = function(o)
    local n, c = o.n, o.width
    return { n, c }, function(v, normals)
      local z = normals(n * c)
      for i = 0, n - 1 do
        local s = 0
        for k = 0, c - 1 do s = s + z[i * c + k] ^ 2 end
        s = o.norm / math.sqrt(s)
        for k = 0, c - 1 do v[i * c + k] = z[i * c + k] * s end
      end
    end
  end,
}
