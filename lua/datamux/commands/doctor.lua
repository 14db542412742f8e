-- commands/doctor.lua -- versions, devices, disk, cache and network of this machine, as one block to paste.
local M = { name = 'doctor', summary = 'versions, devices, disk, cache, network: a block to paste; what is missing' }

function M.configure(p, take)
  p:flag('--network', 'also try to reach the data sets\' first address')
  take(p, 'out device threads json offline')
end

local function first(command)
  local f = io.popen(('{ %s; } 2> /dev/null'):format(command))
  local line = f and f:read '*l'
  if f then f:close() end
  return line ~= '' and line or nil
end

local function devices()
  local ffi, C = require 'ffi', require('datamux.ffi').C
  local out, i = {}, 0
  while C.dm_device_candidate(i) ~= nil do
    out[#out + 1] = ffi.string(C.dm_device_candidate(i))
    i = i + 1
  end
  return out
end

-- Libraries that are opened when they are needed: { name, package, what for }.
local LIBRARIES = {
  { 'libcurl.so.4', 'libcurl4', 'downloads' }, { 'libcrypto.so.3', 'libssl3', 'checksums' },
  { 'libz.so.1', 'zlib1g', '.gz files' }, { 'libzstd.so.1', 'libzstd1', '.zst files' },
  { 'libpcre2-8.so.0', 'libpcre2-8-0', 'byte-level BPE' }, { 'libutf8proc.so.2', 'libutf8proc2', 'WordPiece' },
}

local function libraries()
  local ffi, there, absent = require 'ffi', {}, {}
  for _, l in ipairs(LIBRARIES) do
    if pcall(ffi.load, l[1]) then
      there[#there + 1] = l[1]
    else
      absent[#absent + 1] = { what = ('%s is not there, needed for %s'):format(l[1], l[3]),
                              fix = 'apt install ' .. l[2] }
    end
  end
  return there, absent
end

-- The folder `path`, or the nearest above it that is there.
local function existing(path)
  local sys = require 'datamux.sys'
  while sys.kind(path) ~= 'directory' do path = path:match '^(.+)/[^/]*$' or (path:sub(1, 1) == '/' and '/' or '.') end
  return path
end

-- Bytes free on the disk of a folder, or nil.
local function free_space(path)
  local kilobytes = first(("df -Pk %s | tail -1 | awk '{print $4}'"):format(require('datamux.sys').quoted(path)))
  return tonumber(kilobytes) and tonumber(kilobytes) * 1024
end

local function writable(path)
  local sys = require 'datamux.sys'
  local ok, why = pcall(function()
    local probe = ('%s/.probe-%d'):format(path, sys.pid())
    sys.write(probe, '')
    os.remove(probe)
  end)
  return ok, not ok and tostring(why):match '[^\n]+' or nil
end

function M.run(o)
  local ffi, lfs = require 'ffi', require 'lfs'
  local cache, columns, json = require 'datamux.data.cache', require 'datamux.columns', require 'datamux.json'
  local cli, launch, rundir = require 'datamux.cli', require 'datamux.launch', require 'datamux.rundir'
  local sys = require 'datamux.sys'
  local problems, rows = {}, {}
  local out = { devices = json.list(devices()) }
  local function row(name, text) rows[#rows + 1] = { name, text } end
  -- rank: how much it is in the way, 1 the most
  local function problem(rank, what, fix) problems[#problems + 1] = { rank = rank, what = what, fix = fix } end

  local preferences = require 'datamux.preferences'
  local fine, own = pcall(preferences.apply)
  if not fine then problem(3, own.what or tostring(own), own.fix or 'datamux explain E221') end
  out.preferences = { path = preferences.path(), there = sys.kind(preferences.path()) == 'file', fine = fine }
  local ok, about = pcall(launch.device, o.device or os.getenv 'DATAMUX_DEVICE' or 'auto', o.threads)
  out.version, out.threads = cli.version(), require('datamux.ffi').C.dm_threads()
  row('datamux', out.version)
  out.system = (sys.read '/etc/os-release' or ''):match 'PRETTY_NAME="([^"]+)' or ffi.os
  out.kernel = (sys.read '/proc/sys/kernel/osrelease' or ''):match '[^\n]+'
  row('system', ('%s, Linux %s, %s'):format(out.system, out.kernel or '?', ffi.arch))
  out.cpu = (sys.read '/proc/cpuinfo' or ''):match 'model name%s*:%s*([^\n]+)'
  out.memory = tonumber((sys.read '/proc/meminfo' or ''):match 'MemTotal:%s*(%d+)') or 0
  out.available = tonumber((sys.read '/proc/meminfo' or ''):match 'MemAvailable:%s*(%d+)') or 0
  row('cpu', ('%s, %s used'):format(out.cpu or '?', require('datamux.plural').of(out.threads, 'thread')))
  row('memory', ('%s, %s available'):format(columns.bytes(out.memory * 1024), columns.bytes(out.available * 1024)))
  if not ok then problem(1, tostring(about):match '[^\n]+', '-d cpu; what can compute here: datamux --devices') end
  out.device = ok and about or nil
  out.gpu = first 'nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader'
  row('gpu', out.gpu or 'none that nvidia-smi knows')
  out.nvcc = first "nvcc --version | grep release"
  row('cuda', out.nvcc or 'no nvcc')
  for _, d in ipairs(out.devices) do row('device', d) end
  local there, absent = libraries()
  row('libraries', #there > 0 and table.concat(there, ' ') or 'none')
  out.libraries, out.absent = json.list(there), json.list {}
  for i, a in ipairs(absent) do
    out.absent[i] = a.what
    problem(4, a.what, a.fix)
  end

  for _, place in ipairs { { 'cache', cache.root() }, { 'runs', rundir.root(o.out) } } do
    local folder = existing(place[2])
    local can, why = writable(folder)
    local free = free_space(folder)
    out[place[1]] = { path = place[2], writable = can, free = free }
    row(place[1], ('%s, %s'):format(place[2], free and columns.bytes(free) .. ' free' or 'free space unknown'))
    local another = place[1] == 'cache' and 'DATAMUX_CACHE=/another/folder' or '--out /another/folder'
    if not can then problem(2, ('%s cannot be written: %s'):format(place[2], why), another) end
    if free and free < 1e9 then problem(5, ('%s: less than 1 GB is free'):format(place[2]), another) end
  end
  local data = os.getenv 'DATAMUX_DATA'
  row('data', data and (lfs.attributes(data, 'mode') == 'directory' and data or data .. ' is no folder')
    or 'DATAMUX_DATA is not set')
  if data and lfs.attributes(data, 'mode') ~= 'directory' then
    problem(3, ('DATAMUX_DATA is %s, which is no folder'):format(data), 'unset DATAMUX_DATA, or name a folder')
  end
  out.offline = os.getenv 'DATAMUX_OFFLINE' == '1'
  local proxy = os.getenv 'https_proxy' or os.getenv 'HTTPS_PROXY'
  local network = out.offline and 'off (DATAMUX_OFFLINE=1)' or 'not tried (doctor --network does)'
  if o.network and not out.offline then
    local set = require('datamux.data.download').sets['SST-2']
    local code = first(("curl -sSI -m 5 -o /dev/null -w '%%{http_code}' '%s'"):format(set.urls[1]))
    out.reached = code and code:find '^2' ~= nil
    network = out.reached and 'reached ' .. set.urls[1]:match '//([^/]+)' or 'not reached: ' .. set.urls[1]
    if not out.reached then
      problem(6, 'no network', 'datamux data pack NAME -O FILE.tar where there is one, data unpack FILE.tar here')
    end
  end
  row('defaults', out.preferences.path .. (not out.preferences.there and ' (not there)' or fine and '' or ' (refused)'))
  row('network', network .. (proxy and ', proxy ' .. proxy:gsub('//[^@/]*@', '//') or ''))
  for i, e in ipairs(problems) do e.place = i end
  table.sort(problems, function(a, b) return a.rank < b.rank or (a.rank == b.rank and a.place < b.place) end)
  out.problems = json.list {}
  for i, e in ipairs(problems) do out.problems[i] = ('%s; fix: %s'):format(e.what, e.fix) end
  if o.json then
    print(json.encode(out, true))
    return 0
  end
  print(columns.text(rows) .. '\n')
  for i = #problems, 2, -1 do print('also: ' .. out.problems[i]) end
  print(problems[1] and 'first: ' .. out.problems[1] or ('ready: %s'):format(out.device))
  return 0
end

return M
