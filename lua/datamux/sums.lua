-- sums.lua -- SHA256SUMS of a folder: written over what is in it, checked before it is used.
local errors = require 'datamux.errors'
local sys = require 'datamux.sys'

local M = {}

--- Its name.
M.FILE = 'SHA256SUMS'

--- Its text, as sha256sum prints it. list: { name, sum } each.
function M.text(list)
  local out = {}
  for i, e in ipairs(list) do out[i] = ('%s  %s\n'):format(e[2], e[1]) end
  return table.concat(out)
end

--- What the SHA256SUMS of a folder says, a list of { name, sum }; nil where there is none.
function M.read(dir)
  local text, out = sys.read(dir .. '/' .. M.FILE), {}
  if not text then return nil end
  for sum, name in text:gmatch '(%x+)  ([^\n]+)' do out[#out + 1] = { name, sum } end
  return out
end

--- { name, sum } of files of a folder, in their order.
function M.of(dir, names)
  local out = {}
  for i, name in ipairs(names) do out[i] = { name, assert(sys.sha256_file(dir .. '/' .. name)) } end
  return out
end

--- Writes SHA256SUMS over files of a folder (names; all that are in it unless said); returns a list of { name, sum }.
function M.write(dir, names)
  if not names then
    names = {}
    for _, name in ipairs(sys.list(dir)) do
      if name ~= M.FILE then names[#names + 1] = name end
    end
  end
  local list = M.of(dir, names)
  sys.write(dir .. '/' .. M.FILE, M.text(list))
  return list
end

--- The first file of a list that differs from its sum, and in which way; nil where none does.
function M.fault(dir, list)
  for _, e in ipairs(list) do
    local got, why = sys.sha256_file(dir .. '/' .. e[1])
    if got ~= e[2] then return e[1], why or 'its checksum does not match SHA256SUMS' end
  end
end

--- Raises (code 7) for a file of a folder that differs from its SHA256SUMS. A folder without is not checked.
function M.verify(dir)
  local name, why = M.fault(dir, M.read(dir) or {})       -- without: its files are checked as they are read
  if name then errors.raise('E702', ('%s/%s: %s\n  fix: export or copy the model again'):format(dir, name, why)) end
end

return M
