-- binary.lua -- masks: instance i keeps its own block of C / N channels, the last one the rest as well. With overlap e
-- every inner border is moved outwards by e / 2 of a block. Source: DataMUX's program, binary Hadamard.
return {
  reduce = 'sum', published = 'mean', options = { overlap = true },
  refuse = function(o)
    if o.n > o.width then
      return ('mux.n is %d, expected at most %d: binary masks need a channel each, and model.width is %d'):format(
        o.n, o.width, o.width), 'mux.n=' .. o.width
    end
  end,
  keys = function(o)
    local n, c = o.n, o.width
    local block = math.floor(c / n)
    local more = math.floor(o.overlap / 2 * block)
    return { n, c }, function(v)
      for i = 0, n - 1 do
        local from = i == 0 and 0 or i * block - more
        local to = i == n - 1 and c or (i + 1) * block + more
        for k = from, math.min(to, c) - 1 do v[i * c + k] = 1 end
      end
    end
  end,
}
