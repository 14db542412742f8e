-- cache.lua -- where data files are looked for: DATAMUX_DATA, then the cache, then a download.
local errors = require 'datamux.errors'
local lfs = require 'lfs'

local M = {}

--- The cache folder: DATAMUX_CACHE, else XDG_CACHE_HOME/datamux, else ~/.cache/datamux.
function M.root()
  local set = os.getenv 'DATAMUX_CACHE'
  if set then return set end
  local xdg = os.getenv 'XDG_CACHE_HOME'
  return (xdg and xdg ~= '' and xdg or (os.getenv 'HOME' or '.') .. '/.cache') .. '/datamux'
end

local function exists(path) return lfs.attributes(path, 'mode') == 'file' end

--- Path of `folder`/`file`, looked for in $DATAMUX_DATA and the cache; nil and where it was looked for.
function M.look(folder, file)
  local looked = {}
  local data = os.getenv 'DATAMUX_DATA'
  local places = { data, M.root() .. '/datasets' }
  if not data then places = { M.root() .. '/datasets' } end
  for _, place in ipairs(places) do
    for _, ending in ipairs { '', '.zst', '.gz' } do
      local path = ('%s/%s/%s%s'):format(place, folder, file, ending)
      if exists(path) then return path end
    end
    looked[#looked + 1] = ('%s/%s/%s'):format(place, folder, file)
  end
  return nil, looked
end

--- As look, downloading the data set where its address is known. Raises a data error (code 3) that says where the
--- file was looked for and how to provide it.
function M.find(folder, file)
  local path, looked = M.look(folder, file)
  if path then return path end
  local download = require 'datamux.data.download'
  local ok, why = download.fetch(folder, M.root() .. '/datasets')
  path = M.look(folder, file)
  if ok and path then return path end
  errors.raise(download.known(folder) and 'E801' or 'E310', ('%s/%s is not here\n  looked in: %s\n  download:  %s\n'
    .. '  fix: put it under a folder and set DATAMUX_DATA to that folder (%s/%s)'):format(
    folder, file, table.concat(looked, '\n             '), why, '$DATAMUX_DATA/' .. folder, file))
end

return M
