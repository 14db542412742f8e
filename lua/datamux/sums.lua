-- sums.lua -- SHA256SUMS of a folder: written over what is in it, checked before it is used.
local errors = require 'datamux.errors'
local sys = require 'datamux.sys'

local M = {}

--- Writes SHA256SUMS over what is in a folder; returns a list of { name, sum }.
function M.write(dir)
  local list, out = {}, {}
  for _, name in ipairs(sys.list(dir)) do
    if name ~= 'SHA256SUMS' then
      list[#list + 1] = { name, (sys.sha256_file(dir .. '/' .. name)) }
      out[#list] = ('%s  %s\n'):format(list[#list][2], name)
    end
  end
  sys.write(dir .. '/SHA256SUMS', table.concat(out))
  return list
end

--- Raises (code 7) for a file of a folder that differs from its SHA256SUMS. A folder without is not checked.
function M.verify(dir)
  local list = sys.read(dir .. '/SHA256SUMS')
  if not list then return end                        -- its files are checked as they are read
  for want, name in list:gmatch '(%x+)  (%S+)' do
    local got, why = sys.sha256_file(dir .. '/' .. name)
    if got ~= want then
      errors.raise('E702', ('%s/%s: %s\n  fix: export or copy the model again'):format(dir, name,
        why or 'its checksum does not match SHA256SUMS'))
    end
  end
end

return M
