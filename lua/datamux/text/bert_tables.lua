-- bert_tables.lua -- where the Unicode tables of the reference (Hugging Face tokenizers, about Unicode 8) differ from
-- today's, as ranges of hexadecimal code points; found by asking it for every assigned code point of Unicode 14.
local M = {}

local function set(text)
  local from, to = {}, {}
  for range in text:gmatch '%S+' do
    local a, b = range:match '^(%x+)%-?(%x*)$'
    from[#from + 1] = tonumber(a, 16)
    to[#to + 1] = b == '' and from[#from] or tonumber(b, 16)
  end
  return function(c)
    local low, high = 1, #from
    while low <= high do
      local k = math.floor((low + high) / 2)
      if c < from[k] then high = k - 1 elseif c > to[k] then low = k + 1 else return true end
    end
    return false
  end
end

--- Nonspacing marks (Mn) that the reference keeps.
M.kept_marks = set [[7fd 898-89f 8ca-8e1 9fe afa-aff b55 c04 c3c d00 d3b-d3c d81 eba 180f 1885-1886 1abf-1ace 1df6-1dfb
  a82c a8c5 a8ff a9bd 10d24-10d27 10eab-10eac 10f46-10f50 10f82-10f85 11070 11073-11074 110c2 111c9 111cf 1123e 1133b
  11438-1143f 11442-11444 11446 1145e 1182f-11837 11839-1183a 1193b-1193c 1193e 11943 119d4-119d7 119da-119db 119e0
  11a01-11a0a 11a33-11a38 11a3b-11a3e 11a47 11a51-11a56 11a59-11a5b 11a8a-11a96 11a98-11a99 11c30-11c36 11c38-11c3d
  11c3f 11c92-11ca7 11caa-11cb0 11cb2-11cb3 11cb5-11cb6 11d31-11d36 11d3a 11d3c-11d3d 11d3f-11d45 11d47 11d90-11d91
  11d95 11d97 11ef3-11ef4 16f4f 16fe4 1cf00-1cf2d 1cf30-1cf46 1e000-1e006 1e008-1e018 1e01b-1e021 1e023-1e024
  1e026-1e02a 1e130-1e136 1e2ae 1e2ec-1e2ef 1e944-1e94a]]

--- Characters that it strips although they are no nonspacing marks today.
M.stripped = set '1734'

--- Format characters (Cf) that it keeps.
M.kept_controls = set '890-891 8e2 110cd 13430-13438'

--- Punctuation (P) that it does not split at, and what it splits at although it is no punctuation today.
M.no_punctuation = set [[61d 9fd a76 c77 c84 1b7d-1b7e 2e43-2e4f 2e52-2e5d 10ead 10f55-10f59 10f86-10f89 1144b-1144f
  1145a-1145b 1145d 11660-1166c 116b9 1183b 11944-11946 119e2 11a3f-11a46 11a9a-11a9c 11a9e-11aa2 11c41-11c45
  11c70-11c71 11ef7-11ef8 11fff 12ff1-12ff2 16e97-16e9a 16fe2 1e95e-1e95f]]
M.punctuation = set '166d 111c9'

return M
