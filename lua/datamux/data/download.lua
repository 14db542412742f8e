-- download.lua -- fetching data sets through libcurl: pinned checksums, several addresses, resumed where it stopped.
local ffi = require 'ffi'
local lfs = require 'lfs'
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

local GLUE = 'https://dl.fbaipublicfiles.com/glue/data/'

-- A set of the GLUE distribution (Wang et al. 2019): one zip, FOLDER/train.tsv, dev.tsv, test.tsv.
local function glue(folder, zip_name, train, dev, test)
  local files = {}
  for name, sum in pairs { train = train, dev = dev, test = test } do
    files[name .. '.tsv'] = { member = ('%s/%s.tsv'):format(folder, name), sha256 = sum }
  end
  return { urls = { GLUE .. zip_name }, zip = true, files = files }
end

--- What is known: folder -> { urls (tried in order), zip (members are unpacked) or nil, each (urls are folders that
--- hold the files one by one) or nil, files = name -> { member, sha256 } }.
M.sets = {
  ['SST-2'] = glue('SST-2', 'SST-2.zip', '48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1',
    '54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0',
    '69a938605609b3e6663b4487918fe1565eb293734e6e520d0366d1d412fd2a13'),
  CoLA = glue('CoLA', 'CoLA.zip', 'cb368ebeb9f27d7ad03720d27ddc95687a311bdb100781a2fe59a5f5b1bc0624',
    '8c013e21dc39957cac37378d87bebe225b694a0d5fe13eded66c2856628833fd',
    '3b4df85f7a9a0633574b38d181e18090ac961a24b18fb6bcd74999ddea8ad0b8'),
  QNLI = glue('QNLI', 'QNLIv2.zip', '3bb7026735a0d4cd439dc1ca6ea162e0c1cc8f962f52df9cc50ee8f8278e0c0e',
    'ac19409dcb04631eaaa094bdebdcf621086bc352503dfb6a1a648b614986f4fd',
    '6d856264e292fa7a7bc7b8e182efa1454ffd9532733c12ad813017dd5b377a5a'),
  RTE = glue('RTE', 'RTE.zip', '41e3a9b063433392343fad9e962cf2f58b681c78d8f71592f4186f0837246c5c',
    '80230dfa1347282e7b532b06a1004a76a710087541189bf874223ddf0e3819fb',
    '6e33f09b5c2bfd5fd5fde217070f3dd49e484e33b9752b5864cf36fc421a213f'),
  ['STS-B'] = glue('STS-B', 'STS-B.zip', '41c4d978b6162abdcada7e49a982211954cca5459c228db478af333124b257a2',
    'fe7dc0632a5033562f3cadff991f6e8d9b9b6311861660e78c3c82eb7db67f59',
    '16b4223d7d44a644fbc10f1b449472cfe81e1715fb07cf44023b0aa88ce856eb'),
  WNLI = glue('WNLI', 'WNLI.zip', '9a88e9d54b6861cc796a088e9acf4f5f65064a9ef65ae6fa7a688b28391e5c9a',
    'cba00490596dd14be8cf53b4f53bb744abe3a7b89f81ab210528d80225338ed5',
    'ff0296817e235bf6f7a230c5f6781bd6ee228a45445f6510831fdef6f2a04766'),
  MNIST = {
    urls = { 'https://ossci-datasets.s3.amazonaws.com/mnist/', 'https://storage.googleapis.com/cvdf-datasets/mnist/' },
    each = true,
    files = {
      ['train-images-idx3-ubyte.gz'] = { sha256 = '440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609' },
      ['train-labels-idx1-ubyte.gz'] = { sha256 = '3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c' },
      ['t10k-images-idx3-ubyte.gz'] = { sha256 = '8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6' },
      ['t10k-labels-idx1-ubyte.gz'] = { sha256 = 'f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6' },
    },
  },
}

-- Sets whose checksums are not known: where a person finds them.
local elsewhere = {
  MNLI = GLUE .. 'MNLI.zip', QQP = GLUE .. 'QQP-clean.zip',
  MRPC = 'https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_train.txt, without the pairs of '
    .. GLUE .. 'mrpc_dev_ids.tsv, which are dev.tsv',
}

--- Whether a data set's address is known.
function M.known(folder) return M.sets[folder] ~= nil end

local URL, WRITEDATA, FAILONERROR, FOLLOW, RESUME, CONNECT, LOW, SLOW = 10002, 10001, 45, 52, 30116, 78, 19, 20
local HTTPAUTH, BEARER, TOKEN, STATUS = 107, 64, 10220, 0x200002

local curl

--- Addresses to download from instead: beginning of an address -> what stands in its place.
M.mirrors = {}

--- The address that a download is made from: of the mirror with the longest beginning in common, or as it is.
function M.address(url)
  local best = ''
  for from in pairs(M.mirrors) do
    if url:sub(1, #from) == from and #from > #best then best = from end
  end
  return best ~= '' and M.mirrors[best] .. url:sub(#best + 1) or url
end

--- Adds what `url`, or its mirror, has beyond the bytes of `part` to it. token: for servers that want one, or nil.
--- Returns true, or nil, the reason, and the status that the server gave (0: none).
function M.url(url, part, token)
  local address = M.address(url)
  local ok
  ok, curl = pcall(ffi.load, 'libcurl.so.4')
  if not ok then return nil, 'libcurl.so.4 is not installed (Debian: libcurl4)', 0 end
  local have = lfs.attributes(part, 'size') or 0
  local file = ffi.C.fopen(part, 'ab')
  if file == nil then return nil, part .. ' cannot be written', 0 end
  local h = curl.curl_easy_init()
  local function long(v) return ffi.cast('long', v) end
  curl.curl_easy_setopt(h, URL, ffi.cast('const char *', address))
  curl.curl_easy_setopt(h, WRITEDATA, file)
  curl.curl_easy_setopt(h, FAILONERROR, long(1))
  curl.curl_easy_setopt(h, FOLLOW, long(1))
  curl.curl_easy_setopt(h, CONNECT, long(20))
  curl.curl_easy_setopt(h, LOW, long(100))           -- give up below 100 bytes/s
  curl.curl_easy_setopt(h, SLOW, long(30))           -- for 30 s
  if have > 0 then curl.curl_easy_setopt(h, RESUME, ffi.cast('int64_t', have)) end
  if token then
    curl.curl_easy_setopt(h, HTTPAUTH, long(BEARER))
    curl.curl_easy_setopt(h, TOKEN, ffi.cast('const char *', token))
  end
  local code = curl.curl_easy_perform(h)
  local status = ffi.new 'long[1]'
  curl.curl_easy_getinfo(h, ffi.cast('int', STATUS), status)
  local why = ffi.string(curl.curl_easy_strerror(code))
  curl.curl_easy_cleanup(h)
  ffi.C.fclose(file)
  if code == 33 or (code == 22 and have > 0) then    -- this address cannot continue: from the start
    os.remove(part)
    return M.url(url, part, token)
  end
  if code ~= 0 then return nil, ('%s: %s'):format(address, why), tonumber(status[0]) end
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

-- Fetches a set's archive or file, from the first address that gives it; adds the reasons why others do not.
local function fetch_one(set, home, reasons)
  local part = home .. '/download.part'
  for _, url in ipairs(set.urls) do
    io.stderr:write(('downloading %s\n'):format(M.address(url)))
    local ok, why = M.url(url, part)
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
end

-- A set whose files lie one by one, as sets of one file.
local function split(set)
  local out = {}
  for name, f in pairs(set.files) do
    local one = { urls = {}, files = { [name] = f } }
    for i, folder in ipairs(set.urls) do one.urls[i] = folder .. name end
    out[#out + 1] = one
  end
  return out
end

--- Fetches a data set into dir/folder; each file appears there whole and checked, or not at all. Returns true, or nil
--- and the reasons (one for each address).
function M.fetch(folder, dir)
  local set = M.sets[folder]
  if not set and elsewhere[folder] then
    return nil, ('by hand (its checksum is not known here): %s'):format(elsewhere[folder])
  end
  if not set then return nil, 'no address is known for ' .. folder end
  if os.getenv 'DATAMUX_OFFLINE' == '1' then return nil, ('not tried (DATAMUX_OFFLINE=1): %s'):format(set.urls[1]) end
  local home = dir .. '/' .. folder
  sys.mkdir(home)
  local reasons = {}
  for _, one in ipairs(set.each and split(set) or { set }) do
    if not fetch_one(one, home, reasons) then return nil, table.concat(reasons, '; ') end
  end
  return true
end

return M
