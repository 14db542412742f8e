-- plural.lua -- what is counted, as people write it: 1 layer, 2 layers.
local M = {}

--- The noun for n of them: "layer" for 1, else "layers".
function M.noun(n, noun) return n == 1 and noun or noun .. 's' end

--- The number n and the noun: "1 layer", "2 layers".
function M.of(n, noun) return ('%d %s'):format(n, M.noun(n, noun)) end

return M
