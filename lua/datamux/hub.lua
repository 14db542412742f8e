-- hub.lua -- models of the Hugging Face hub by their names: downloaded into the cache, found there or in its own cache.
--   cache/models/OWNER--NAME/      config.json, weights, tokenizer, README.md, SHA256SUMS, source.json
--   cache/models/OWNER--NAME.part/ what has arrived of one that is on its way; a download goes on from there
-- HF_ENDPOINT names a mirror, HF_TOKEN opens models that need one (it is sent to that address and stored nowhere).
local cjson = require 'cjson'
local lfs = require 'lfs'
local cache = require 'datamux.data.cache'
local download = require 'datamux.data.download'
local errors = require 'datamux.errors'
local json = require 'datamux.json'
local sums = require 'datamux.sums'
local sys = require 'datamux.sys'

local M = {}

local WEIGHTS = { 'model.safetensors', 'pytorch_model.bin' }            -- the first that is there is taken
local OTHERS = { 'vocab.txt', 'vocab.json', 'merges.txt', 'tokenizer.json', 'tokenizer_config.json',
                 'special_tokens_map.json', 'README.md', 'recipe.lua' }

local function root() return cache.root() .. '/models' end

--- Whether a word looks like a name of the hub: "NAME" or "OWNER/NAME", of letters, digits, "-", "_" and ".".
function M.is_name(name)
  return (name:find '^[%w][%w._-]*$' or name:find '^[%w][%w._-]*/[%w][%w._-]*$') ~= nil
end

--- Where a model lies in the cache, there or not.
function M.folder(name) return ('%s/%s'):format(root(), (name:gsub('/', '--'))) end

-- The folder of a model in the hub's own cache, which is read and never written; nil where it is not there.
local function of_hub_cache(name)
  local home = os.getenv 'HF_HOME' or (os.getenv 'XDG_CACHE_HOME' or (os.getenv 'HOME' or '.') .. '/.cache')
    .. '/huggingface'
  local dir = (os.getenv 'HF_HUB_CACHE' or home .. '/hub') .. '/models--' .. name:gsub('/', '--')
  local commit = (sys.read(dir .. '/refs/main') or ''):match '^%x+'
  local folder = commit and ('%s/snapshots/%s'):format(dir, commit)
  return folder and sys.kind(folder .. '/config.json') == 'file' and folder or nil
end

--- The folder of a model by its name, in the cache or in the hub's own; nil where it is in neither.
function M.find(name)
  if not M.is_name(name) then return nil end
  if sys.kind(M.folder(name) .. '/config.json') == 'file' then return M.folder(name) end
  return of_hub_cache(name)
end

--- The models in the cache: a list of { name, folder, bytes, commit, complete }, sorted by name.
function M.list()
  local out = {}
  for _, entry in ipairs(sys.list(root())) do
    local folder, bytes = root() .. '/' .. entry, 0
    for _, file in ipairs(sys.list(folder)) do bytes = bytes + (lfs.attributes(folder .. '/' .. file, 'size') or 0) end
    local ok, source = pcall(cjson.decode, sys.read(folder .. '/source.json') or '{}')
    out[#out + 1] = { name = entry:gsub('%.part$', ''):gsub('%-%-', '/', 1), folder = folder, bytes = bytes,
                      commit = ok and source.commit or nil, complete = not entry:find '%.part$' }
  end
  return out
end

--- Removes a model from the cache, and what has arrived of it. Raises (code 7) where it is not there.
function M.remove(name)
  local folder, any = M.folder(name), false
  for _, dir in ipairs { folder, folder .. '.part' } do
    if M.is_name(name) and sys.kind(dir) == 'directory' then
      sys.remove(dir)
      any = true
    end
  end
  if any then return end
  local names = {}
  for i, m in ipairs(M.list()) do names[i] = m.name end
  errors.raise('E706', { what = ("no model '%s' in the cache %s"):format(name, root()),
    near = errors.nearest(name, names), fix = 'datamux model ls' })
end

-- -- downloading -----------------------------------------------------------------------------------------------------

local function refuse(name, why)
  errors.raise('E801', { what = ('model %s cannot be downloaded: %s'):format(name, why),
    fix = ('on a machine with a network: datamux model get %s && datamux data pack %s -O model.tar\n'
      .. '  then here: datamux data unpack model.tar'):format(name, name) })
end

local function endpoint() return (os.getenv 'HF_ENDPOINT' or 'https://huggingface.co'):gsub('/+$', '') end

-- Fetches url to `path`, going on from path.part. Raises.
local function fetch(name, url, path)
  local ok, why, status = download.url(url, path .. '.part', os.getenv 'HF_TOKEN')
  if ok then return sys.rename(path .. '.part', path) end
  if status >= 400 then os.remove(path .. '.part') end
  if status == 404 then why = ('%s: there is no such model, revision or file'):format(url) end
  if status == 401 or status == 403 then
    why = ('%s: there is no such model, or it needs a token (HF_TOKEN)'):format(url)
  end
  refuse(name, why)
end

-- What the hub says of a model: its commit, and its files { name = { size, sha256 (or nil) } }.
local function describe(name, revision)
  local path = ('%s/tmp/hub-%d'):format(cache.root(), sys.pid())
  sys.mkdir(cache.root() .. '/tmp')
  local fetched, fault = pcall(fetch, name, ('%s/api/models/%s/revision/%s?blobs=true'):format(endpoint(), name,
    revision), path)
  local ok, t = pcall(cjson.decode, fetched and sys.read(path))
  os.remove(path)
  os.remove(path .. '.part')
  if not fetched then error(fault, 0) end
  if not ok or type(t) ~= 'table' or type(t.siblings) ~= 'table' or type(t.sha) ~= 'string' then
    refuse(name, endpoint() .. ': its answer is not the description of a model')
  end
  local files = {}
  for _, s in ipairs(t.siblings) do
    files[tostring(s.rfilename)] = { size = s.size, sha256 = type(s.lfs) == 'table' and s.lfs.sha256 or nil }
  end
  return t.sha, files
end

-- The names of the files that make a model, config.json first.
local function wanted(name, files)
  local out = { 'config.json' }
  if not files['config.json'] then refuse(name, 'it has no config.json') end
  for _, weights in ipairs(WEIGHTS) do
    if files[weights] and not out[2] then out[2] = weights end
  end
  if not out[2] then
    refuse(name, ('it has neither %s (weights in several files are not read)'):format(table.concat(WEIGHTS, ' nor ')))
  end
  for _, other in ipairs(OTHERS) do
    if files[other] then out[#out + 1] = other end
  end
  return out
end

-- Forgets what arrived of another commit.
local function same_commit(part, commit)
  if sys.read(part .. '/commit') == commit then return end
  for _, file in ipairs(sys.list(part)) do os.remove(part .. '/' .. file) end
  sys.write(part .. '/commit', commit)
end

--- Downloads a model into the cache, or goes on where a download was broken off. word: NAME or NAME@REVISION (a branch,
--- a tag, a commit; default main). o: { sha256 (what the weights must have, in hexadecimal), note (gets a line for each
--- file) }. Each file is checked against the hub's checksum where it gives one. Returns the folder and a list of {
--- name, sum }. Raises E801 (code 8), E308 (code 3) for a
--- wrong checksum.
function M.get(word, o)
  local name, revision = word:match '^(.-)@(.+)$'
  name, revision = name or word, revision or 'main'
  if not M.is_name(name) or not revision:find '^[%w._/-]+$' then
    errors.raise('E200', { what = ("'%s' is no name of a model, expected NAME, OWNER/NAME or OWNER/NAME@REVISION")
      :format(word), fix = 'datamux model get roberta-base' })
  end
  if os.getenv 'DATAMUX_OFFLINE' == '1' then refuse(name, 'the network is off (DATAMUX_OFFLINE=1)') end
  local folder = M.folder(name)
  local part = folder .. '.part'
  local commit, files = describe(name, revision)
  local list = wanted(name, files)
  sys.mkdir(part)
  same_commit(part, commit)
  for _, file in ipairs(list) do
    local path, sum = part .. '/' .. file, files[file].sha256
    if file == 'model.safetensors' or file == 'pytorch_model.bin' then sum = o.sha256 or sum end
    if sys.kind(path) ~= 'file' then
      if o.note then o.note(('downloading %s (%.1f MB)'):format(file, (files[file].size or 0) / 1e6)) end
      fetch(name, ('%s/%s/resolve/%s/%s'):format(endpoint(), name, commit, file), path)
    end
    local got = sys.sha256_file(path)
    if sum and got ~= sum then
      os.remove(path)
      errors.raise('E308', { what = ('%s: %s has sha256 %s, expected %s'):format(name, file, got, sum),
        fix = 'download it again; if it differs again, it is not what was promised' })
    end
  end
  os.remove(part .. '/commit')
  sys.write(part .. '/source.json', json.encode({ name = name, revision = revision, commit = commit }) .. '\n')
  local checked = sums.write(part)
  sys.remove(folder)
  sys.rename(part, folder)
  return folder, checked
end

return M
