-- download.lua -- fetching data sets through libcurl: pinned checksums, several addresses, resumed where it stopped.
local ffi = require 'ffi'
local sys = require 'datamux.sys'
local zip = require 'datamux.data.zip'

local M = {}

if not pcall(ffi.typeof, 'struct dm_curl_defined') then
  ffi.cdef [[
    struct dm_curl_defined { int one; };
    void *curl_easy_init(void);
    int curl_easy_setopt(void *handle, int option, ...);
    int curl_easy_perform(void *handle);
    int curl_easy_getinfo(void *handle, int info, ...);
    void curl_easy_cleanup(void *handle);
    const char *curl_easy_strerror(int code);
    void *fopen(const char *path, const char *mode);
    int fclose(void *file);
  ]]
end

--- What is known: folder -> { urls (tried in order), zip (members are unpacked) or nil, files = name -> { member,
--- sha256 } }. Checksums of SST-2: the GLUE distribution (Wang et al. 2019).
M.sets = {
  ['SST-2'] = {
    urls = { 'https://dl.fbaipublicfiles.com/glue/data/SST-2.zip' }, zip = true,
    files = {
      ['train.tsv'] = { member = 'SST-2/train.tsv',
                        sha256 = '48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1' },
      ['dev.tsv'] = { member = 'SST-2/dev.tsv',
                      sha256 = '54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0' },
      ['test.tsv'] = { member = 'SST-2/test.tsv',
                       sha256 = '69a938605609b3e6663b4487918fe1565eb293734e6e520d0366d1d412fd2a13' },
    },
  },
}

--- Whether a data set's address is known.
function M.known(folder) return M.sets[folder] ~= nil end

local URL, WRITEDATA, FAILONERROR, FOLLOW, RESUME, CONNECT, LOW, SLOW = 10002, 10001, 45, 52, 30116, 78, 19, 20

local curl

-- Adds what `url` has beyond the bytes of `part` to it. Returns true, or nil and the reason.
local function fetch_url(url, part)
  local ok
  ok, curl = pcall(ffi.load, 'libcurl.so.4')
  if not ok then return nil, 'libcurl.so.4 is not installed (Debian: libcurl4)' end
  local have = sys.kind(part) == 'file' and #sys.read(part) or 0
  local file = ffi.C.fopen(part, 'ab')
  if file == nil then return nil, part .. ' cannot be written' end
  local h = curl.curl_easy_init()
  local function long(v) return ffi.cast('long', v) end
  curl.curl_easy_setopt(h, URL, ffi.cast('const char *', url))
  curl.curl_easy_setopt(h, WRITEDATA, file)
  curl.curl_easy_setopt(h, FAILONERROR, long(1))
  curl.curl_easy_setopt(h, FOLLOW, long(1))
  curl.curl_easy_setopt(h, CONNECT, long(20))
  curl.curl_easy_setopt(h, LOW, long(100))           -- give up below 100 bytes/s
  curl.curl_easy_setopt(h, SLOW, long(30))           -- for 30 s
  if have > 0 then curl.curl_easy_setopt(h, RESUME, ffi.cast('int64_t', have)) end
  local code = curl.curl_easy_perform(h)
  local why = ffi.string(curl.curl_easy_strerror(code))
  curl.curl_easy_cleanup(h)
  ffi.C.fclose(file)
  if code == 33 or (code == 22 and have > 0) then    -- this address cannot continue: from the start
    os.remove(part)
    return fetch_url(url, part)
  end
  if code ~= 0 then return nil, ('%s: %s'):format(url, why) end
  return true
end

-- The bytes of every wanted file, checked; nil and the reason where one does not match.
local function unpack_files(set, part)
  local bytes = sys.read(part)
  local out = {}
  for name, f in pairs(set.files) do
    local text, why = bytes, ''
    if set.zip then text, why = zip.member(bytes, f.member) end
    if not text then return nil, why end
    if sys.sha256(text) ~= f.sha256 then return nil, name .. ' has another checksum than it should' end
    out[name] = text
  end
  return out
end

--- Fetches a data set into dir/folder; files appear there whole and checked, or not at all. Returns true, or nil and
--- the reasons (one for each address).
function M.fetch(folder, dir)
  local set = M.sets[folder]
  if not set then return nil, 'no address is known for ' .. folder end
  if os.getenv 'DATAMUX_OFFLINE' == '1' then return nil, 'not tried: DATAMUX_OFFLINE=1' end
  local home = dir .. '/' .. folder
  sys.mkdir(home)
  local part, reasons = home .. '/download.part', {}
  for _, url in ipairs(set.urls) do
    io.stderr:write(('downloading %s\n'):format(url))
    local ok, why = fetch_url(url, part)
    local files
    if ok then
      files, why = unpack_files(set, part)
      os.remove(part)                              -- wrong bytes are not worth keeping
      if files then
        for name, text in pairs(files) do sys.write(home .. '/' .. name, text) end
        return true
      end
      why = url .. ': ' .. why
    end
    reasons[#reasons + 1] = why
  end
  return nil, table.concat(reasons, '; ')
end

return M
