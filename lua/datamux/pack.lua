-- pack.lua -- data sets and models carried to a machine without a network: one tar file, written and read by tar.
--
--   SHA256SUMS            of every other member
--   datasets/SST-2/...    as in the cache (see data/cache.lua)
--   models/OWNER--NAME/...                (see hub.lua)
--
-- What is unpacked lies in a folder of its own until all of it is checked, then takes its place: nothing is there by
-- halves, and nothing that was there is replaced.
local lfs = require 'lfs'
local cache = require 'datamux.data.cache'
local errors = require 'datamux.errors'
local sums = require 'datamux.sums'
local sys = require 'datamux.sys'

local M = {}

-- Runs tar with these words; returns what it printed, and the exit code. Raises E404 where it is not there.
local function tar(words)
  local line = { 'LC_ALL=C tar' }
  for i, w in ipairs(words) do line[i + 1] = sys.quoted(w) end
  local process = io.popen(table.concat(line, ' ') .. ' 2>&1; echo "exit $?"')
  local said, code = process:read('*a'):match '^(.*)exit (%d+)\n$'
  process:close()
  if code == '127' then errors.raise('E404', { what = 'tar is not installed', fix = 'apt install tar' }) end
  return said, tonumber(code)
end

-- A path that tar does not take for an option or a host.
local function plain(path) return path:sub(1, 1) == '/' and path or lfs.currentdir() .. '/' .. path end

local function first_line(text) return text:match '[^\n]+' or 'tar said nothing' end

-- Calls fn with a new folder in the cache, which is removed after it, whatever happens.
local function aside(fn)
  local dir = ('%s/tmp/pack-%d'):format(cache.root(), sys.pid())
  sys.remove(dir)
  sys.mkdir(dir)
  local ok, result = pcall(fn, dir)
  sys.remove(dir)
  if not ok then error(result, 0) end
  return result
end

--- Writes a tar file. parts: a list of { place ('datasets/SST-2'), files (name -> path) }. Raises E218 where `path` is
--- there already, E303 for a file that cannot be read, E401 where it cannot be written; then nothing is left of it.
--- Returns its size in bytes.
function M.write(path, parts)
  if lfs.symlinkattributes(path, 'mode') then
    errors.raise('E218', { what = ("-o is '%s', which is there already"):format(path), fix = 'another name' })
  end
  return aside(function(dir)
    local members, list = { sums.FILE }, {}
    for _, part in ipairs(parts) do
      sys.mkdir(dir .. '/' .. part.place)
      local names = {}
      for name in pairs(part.files) do names[#names + 1] = name end
      table.sort(names)
      for _, name in ipairs(names) do
        local member, from = part.place .. '/' .. name, plain(part.files[name])
        local sum, why = sys.sha256_file(from)
        if not sum then errors.raise('E303', why) end
        sys.link(from, dir .. '/' .. member)                          -- tar follows it (-h)
        members[#members + 1], list[#list + 1] = member, { member, sum }
      end
    end
    sys.write(dir .. '/' .. sums.FILE, sums.text(list))
    local part = plain(path) .. '.part'
    local said, code = tar { '-chf', part, '-C', dir, '--owner=0', '--group=0', unpack(members) }
    if code ~= 0 then
      os.remove(part)
      errors.raise('E401', ('%s: %s'):format(path, first_line(said)))
    end
    sys.rename(part, path)
    return lfs.attributes(path, 'size')
  end)
end

local function refuse(path, why)
  errors.raise('E312', { what = ('%s: %s'):format(path, why), fix = 'datamux data pack NAME ... -O ' .. path
    .. ', where the data are' })
end

-- Whether a member's name is one of ours: inside datasets/ or models/, each part an ordinary name.
local function allowed(name)
  if name == sums.FILE or name == 'datasets/' or name == 'models/' then return true end
  local folder, rest = name:match '^(%l+)/(.+)$'
  if folder ~= 'datasets' and folder ~= 'models' then return false end
  for part in rest:gmatch '[^/]+' do
    if not part:find '^[%w_][%w%._+@-]*$' then return false end
  end
  return not rest:find '//' and select(2, rest:gsub('/', '')) <= 1
end

-- Refuses an archive with anything in it but our files and folders, before any is unpacked.
local function check_members(path, archive)
  local names, code = tar { '-Ptf', archive, '--quoting-style=escape' }
  if code ~= 0 then refuse(path, first_line(names)) end
  local long = tar { '-Ptvf', archive, '--quoting-style=escape' }
  for kind in long:gmatch '(.)[^\n]*\n' do
    if kind ~= '-' and kind ~= 'd' then refuse(path, 'it holds a link or a device, expected files only') end
  end
  for name in names:gmatch '([^\n]*)\n' do
    if not allowed(name) then refuse(path, ("its member '%s' would leave the cache"):format(name)) end
  end
end

-- The files below dir: relative paths, sorted.
local function files_below(dir, prefix, out)
  out = out or {}
  for _, name in ipairs(sys.list(dir)) do
    local at = (prefix or '') .. name
    if lfs.symlinkattributes(dir .. '/' .. name, 'mode') == 'directory' then
      files_below(dir .. '/' .. name, at .. '/', out)
    else
      out[#out + 1] = at
    end
  end
  return out
end

-- name -> checksum of what was unpacked, all of it checked. Raises E308, E312.
local function check_sums(path, dir)
  local want, seen = {}, {}
  for _, e in ipairs(sums.read(dir) or refuse(path, 'there is no SHA256SUMS in it')) do want[e[1]] = e[2] end
  for _, name in ipairs(files_below(dir)) do
    if name ~= sums.FILE then
      if not want[name] then refuse(path, name .. ' is not in its SHA256SUMS') end
      if sys.sha256_file(dir .. '/' .. name) ~= want[name] then
        errors.raise('E308', { what = ('%s: %s differs from its SHA256SUMS'):format(path, name),
          fix = 'copy the archive again' })
      end
      seen[name] = true
    end
  end
  for name in pairs(want) do
    if not seen[name] then refuse(path, name .. ' is not in it') end
  end
  return want
end

--- Unpacks a tar file of M.write into the cache. Raises E303 where it is not there, E312 where it is none of ours or
--- would leave the cache, E308 where a file differs from its checksum, E218 where another file is in the place of one;
--- then nothing has changed. Returns { folders (of its files), moved, before (how many came, and were there before) }.
function M.read(path)
  if sys.kind(path) ~= 'file' then
    errors.raise('E303', { what = ("no file '%s'"):format(path), fix = 'datamux data unpack FILE.tar' })
  end
  local archive, root = plain(path), cache.root()
  check_members(path, archive)
  return aside(function(dir)
    local said, code = tar { '-xf', archive, '-C', dir, '--no-same-owner', '--no-same-permissions' }
    if code ~= 0 then errors.raise('E401', ('%s: %s'):format(path, first_line(said))) end
    local moves, folders, known, before = {}, {}, {}, 0
    for name, sum in pairs(check_sums(path, dir)) do
      local to = root .. '/' .. name
      if not lfs.symlinkattributes(to, 'mode') then
        moves[#moves + 1] = name
      elseif sys.sha256_file(to) == sum then
        before = before + 1
      else
        errors.raise('E218', { what = to .. ' is there already, and is another file', fix = ('datamux data rm %s, then '
          .. 'again'):format((name:match '/([^/]+)/':gsub('%-%-', '/', 1))) })
      end
      local folder = name:match '^%l+/[^/]+'
      if not known[folder] then folders[#folders + 1], known[folder] = root .. '/' .. folder, true end
    end
    table.sort(moves)
    for _, name in ipairs(moves) do
      sys.mkdir((root .. '/' .. name):match '^(.*)/')
      sys.rename(dir .. '/' .. name, root .. '/' .. name)
    end
    table.sort(folders)
    return { folders = folders, moved = #moves, before = before }
  end)
end

--- The data sets and models in the cache: a list of { name (as a person says it), folder, bytes, used (os.time when one
--- of its files was last read or written, as far as the disk notes it) }.
function M.kept()
  local out = {}
  for _, kind in ipairs { 'datasets', 'models' } do
    for _, entry in ipairs(sys.list(cache.root() .. '/' .. kind)) do
      local folder = ('%s/%s/%s'):format(cache.root(), kind, entry)
      local e = { name = entry:gsub('%.part$', ''):gsub('%-%-', '/', 1), folder = folder, bytes = 0, used = 0 }
      for _, file in ipairs(files_below(folder)) do
        local a = lfs.attributes(folder .. '/' .. file)
        if a then e.bytes, e.used = e.bytes + a.size, math.max(e.used, a.access, a.modification) end
      end
      out[#out + 1] = e
    end
  end
  return out
end

return M
