-- lines.lua -- what all tokenizers share: many texts at once, truncation of pairs.
local ffi = require 'ffi'

local M = {}

--- All texts at once: { ids = int32[], offset = int32[n + 1], n, truncated }. tok: a tokenizer; o: { max }.
function M.encode_lines(tok, texts, o)
  local room, used, truncated = 65536, 0, 0
  local ids, offset = ffi.new('int32_t[?]', room), ffi.new('int32_t[?]', #texts + 1)
  for k, text in ipairs(texts) do
    local list, cut = tok:encode(text, o and o.max)
    if used + #list > room then
      room = math.max(2 * room, used + #list)
      local wider = ffi.new('int32_t[?]', room)
      ffi.copy(wider, ids, 4 * used)
      ids = wider
    end
    for i = 1, #list do ids[used + i - 1] = list[i] end
    used = used + #list
    offset[k] = used
    if cut then truncated = truncated + 1 end
  end
  return { ids = ids, offset = offset, n = #texts, truncated = truncated }
end

--- Cuts two lists so that together they have at most `room` entries, from the longer one each time. Returns whether
--- anything was cut.
function M.truncate_pair(a, b, room)
  local cut = false
  while #a + #b > room and #a + #b > 0 do
    local longer = #a > #b and a or b
    longer[#longer] = nil
    cut = true
  end
  return cut
end

return M
