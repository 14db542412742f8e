-- identity.lua -- all keys 1: the plain sum of the instances. The control: answers cannot be told apart.
return {
  reduce = 'sqrt', published = 'mean', fixed = true,
  keys = function(o)
    return { o.n, o.width }, function(v)
      for k = 0, o.n * o.width - 1 do v[k] = 1 end
    end
  end,
}
