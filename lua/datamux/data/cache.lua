-- cache.lua -- where data files are looked for: DATAMUX_DATA, then the cache; and a download, where it is asked for.
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

-- Whether a data set is to be fetched: as --download said, or as the person at the terminal says.
local function wanted(folder, file)
  local host = require 'datamux.host'
  if os.getenv 'DATAMUX_DOWNLOAD' == '1' then return true end
  if not (host.isatty(0) and host.isatty(2)) then return false end
  io.stderr:write(('%s/%s is not here. Download %s into %s? [y/N] '):format(folder, file, folder, M.root()))
  return (io.read '*l' or ''):find '^%s*[yY]' ~= nil
end

--- As look, downloading the data set where its address is known and that is asked for (--download, or yes to a
--- question on the terminal). Raises E801 or, where no address is known, E310, which say where the file was looked for
--- and how to provide it.
function M.find(folder, file)
  local path, looked = M.look(folder, file)
  if path then return path end
  local download = require 'datamux.data.download'
  local known, why, fix = download.known(folder), 'not asked for', ''
  if not known or os.getenv 'DATAMUX_OFFLINE' == '1' or wanted(folder, file) then
    local ok
    ok, why = download.fetch(folder, M.root() .. '/datasets')
    path = ok and M.look(folder, file)
    if path then return path end
  end
  if known then
    fix = ('datamux data get %s, or --download with this command; without a network: datamux data pack %s -O FILE.tar\n'
      .. '       on a machine that has it, datamux data unpack FILE.tar here; or '):format(folder, folder)
  end
  errors.raise(known and 'E801' or 'E310', ('%s/%s is not here\n  looked in: %s\n  download:  %s\n'
    .. '  fix: %sput it under a folder and set DATAMUX_DATA to that folder (%s/%s)'):format(
    folder, file, table.concat(looked, '\n             '), why, fix, '$DATAMUX_DATA/' .. folder, file))
end

return M
