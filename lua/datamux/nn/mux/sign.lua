-- sign.lua -- keys of +1 and -1, a fair coin for each element: binding twice gives the instance back exactly.
-- Source: binary spatter codes (Kanerva 1996).
return {
  reduce = 'sqrt', published = 'mean',
  keys = function(o)
    return { o.n, o.width }, function(v, normals)
      local z = normals(o.n * o.width)
      for k = 0, o.n * o.width - 1 do v[k] = z[k] < 0 and -1 or 1 end
    end
  end,
}
