-- programs.lua -- what the benches share: their options, the programs they start, medians.
local cjson = require 'cjson'
local json = require 'datamux.json'

local M = {}

--- Options from words key=value over their defaults, whose types they take. Raises for a word that is none.
function M.options(words, o)
  for _, word in ipairs(words) do
    local k, v = word:match '^([%w_]+)=(.*)$'
    if o[k or ''] == nil then error('bench: ' .. word .. ' is no key=value it knows', 0) end
    if type(o[k]) == 'number' and not tonumber(v) then error(('bench: %s is %s, expected a number'):format(k, v), 0) end
    o[k] = type(o[k]) == 'number' and tonumber(v) or v
  end
  return o
end

--- 'a,b' as a list.
function M.list(text)
  local out = {}
  for word in text:gmatch '[^,]+' do out[#out + 1] = word end
  return out
end

--- Whether 'a,b' names word.
function M.has(text, word)
  for _, w in ipairs(M.list(text)) do
    if w == word then return true end
  end
  return false
end

--- Runs a command and decodes the last line it prints; nil and what it said where it fails.
function M.run(command)
  local said = os.tmpname()
  local pipe = io.popen(('%s 2> %s'):format(command, said))
  local text = pipe:read '*a'
  pipe:close()
  local f = io.open(said)
  local why = f:read '*a'
  f:close()
  os.remove(said)
  local ok, row = pcall(cjson.decode, text:match '([^\n]+)\n*$' or '')
  if ok and type(row) == 'table' then return row end
  return nil, text .. why
end

--- The middle one of rows[i][key].
function M.median(rows, key)
  local v = {}
  for i, r in ipairs(rows) do v[i] = r[key] end
  table.sort(v)
  return v[math.ceil(#v / 2)]
end

--- A table as words, form ('%s=%s') for each pair, in the order of their names.
function M.words(t, form)
  local out = {}
  for k, v in pairs(t) do out[#out + 1] = form:format(k, v) end
  table.sort(out)
  return table.concat(out, ' ')
end

--- Writes what was measured as JSON, where a path is named.
function M.save(path, results)
  if path == '' then return end
  local f = assert(io.open(path, 'w'))
  f:write(json.encode(results, true), '\n')
  f:close()
end

return M
