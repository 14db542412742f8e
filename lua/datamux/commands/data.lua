-- commands/data.lua -- the data sets: what is known and here, downloads, looking at them, checksums, own copies.
local M = { name = 'data', summary = 'get, list, look at, verify and add data sets' }

function M.configure(p)
  p:command_target 'action'
  p:command('ls', 'the data sets that are known, and where they are here')
  p:command('get', 'download data sets into the cache'):argument('names', 'tasks or folders, as ls shows them'):args '+'
  local h = p:command('head', 'the first examples of a split')
  h:argument('task', 'a task, or a file of lines')
  h:argument('split', 'train (unless said), dev or test'):args '?'
  h:option('-k', 'how many'):convert(tonumber):default '5':target 'count'
  local s = p:command('stats', 'counts, labels, lengths, repetitions, and texts shared between splits')
  s:argument('task', 'a task')
  p:command('verify', 'compare the files here with their published checksums'):argument('names', 'as ls shows them')
    :args '*'
  local a = p:command('add', 'copy files of a data set into the cache, after checking them')
  a:argument('name', 'a task or folder, as ls shows it')
  a:argument('files', 'files, named as the data set names them'):args '+'
end

local SPLITS = { 'train', 'dev', 'test' }

-- Every known set: { name (task or folder), folder, files (names), known (checksums) }, sorted by name.
local function catalogue()
  local glue, download = require 'datamux.data.glue', require 'datamux.data.download'
  local list, seen = {}, {}
  local function add(name, folder, files)
    seen[folder] = true
    local set = download.sets[folder]
    for file in pairs(set and set.files or {}) do
      local there = false
      for _, f in ipairs(files) do there = there or f == file end
      if not there then files[#files + 1] = file end
    end
    list[#list + 1] = { name = name, folder = folder, files = files, known = set and set.files or {},
                        urls = set and set.urls or {} }
  end
  add('conll2003', 'CoNLL-2003', { 'train.txt', 'valid.txt', 'test.txt' })
  for name, task in pairs(glue.tasks) do
    local files = {}
    for i, split in ipairs(SPLITS) do files[i] = task.files and task.files[split] or split .. '.tsv' end
    add(name, task.folder, files)
  end
  for folder in pairs(download.sets) do
    if not seen[folder] then add(folder, folder, {}) end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function find(name)
  local errors, names = require 'datamux.errors', {}
  for _, set in ipairs(catalogue()) do
    if set.name == name or set.folder == name then return set end
    names[#names + 1] = set.name
  end
  errors.raise('E219', { what = ("unknown data set '%s'"):format(name), near = errors.nearest(name, names),
                         fix = 'datamux data ls' })
end

local function emit(o, value, text)
  print(o.json and require('datamux.json').encode(value, true) or text)
  return 0
end

local actions = {}

function actions.ls(o)
  local cache, columns, json = require 'datamux.data.cache', require 'datamux.columns', require 'datamux.json'
  local lfs, sys = require 'lfs', require 'datamux.sys'
  local list, rows = json.list {}, { { 'name', 'folder', 'here', 'size', 'download' } }
  for _, set in ipairs(catalogue()) do
    local have, bytes, place = {}, 0, nil
    for _, file in ipairs(set.files) do
      local path = cache.look(set.folder, file)
      if path then
        have[#have + 1], bytes, place = file, bytes + lfs.attributes(path, 'size'), path:match '^(.*)/'
      end
    end
    list[#list + 1] = { name = set.name, folder = set.folder, files = json.list(set.files), have = json.list(have),
                        bytes = bytes, place = place, urls = json.list(set.urls) }
    rows[#rows + 1] = { set.name, set.folder, ('%d of %d'):format(#have, #set.files), columns.bytes(bytes),
                        #set.urls > 0 and 'yes' or 'no' }
  end
  rows[#rows + 1] = { 'synthetic', '-', 'built in', '-', '-' }
  local tokens, size = cache.root() .. '/tokens', 0
  for _, f in ipairs(sys.list(tokens)) do size = size + (lfs.attributes(tokens .. '/' .. f, 'size') or 0) end
  return emit(o, list, ('%s\n\ncache %s (DATAMUX_CACHE), tokenised texts %s; DATAMUX_DATA %s'):format(
    columns.text(rows), cache.root(), columns.bytes(size), os.getenv 'DATAMUX_DATA' or 'not set'))
end

function actions.get(o)
  local cache, download = require 'datamux.data.cache', require 'datamux.data.download'
  local errors = require 'datamux.errors'
  for _, name in ipairs(o.names) do
    local set = find(name)
    local ok, why = download.fetch(set.folder, cache.root() .. '/datasets')
    if not ok and set.name == 'conll2003' then why = 'its text belongs to Reuters and may not be passed on' end
    if not ok then
      errors.raise(#set.urls > 0 and 'E801' or 'E310', { what = ('%s cannot be downloaded: %s'):format(set.name, why),
        fix = ('get the files %s yourself, then: datamux data add %s FILE ...'):format(table.concat(set.files, ', '),
          set.name) })
    end
    print(('%s/datasets/%s'):format(cache.root(), set.folder))
  end
  return 0
end

-- The examples of a split as a person reads them: list of { text, pair, label }.
local function examples(task, split, most)
  local set
  if task == 'synthetic' then
    set = require('datamux.data.synthetic').read(split)
  elseif task == 'conll2003' then
    set = require('datamux.data.conll').conll2003(split)
  else
    set = require('datamux.data.glue').read(find(task).name, split)
  end
  local out = {}
  for i = 1, math.min(most or set.n, set.n) do
    local e = { text = set.words and table.concat(set.words[i], ' ') or set.texts[i],
                pair = set.pairs and set.pairs[i] }
    if set.labels then e.label = set.label_names[set.labels[i - 1] + 1] end
    if set.scores then e.label = ('%g'):format(set.scores[i - 1]) end
    if set.gold then
      local tags = {}
      for k, tag in ipairs(set.gold[i]) do tags[k] = set.label_names[tag + 1] end
      e.label = table.concat(tags, ' ')
    end
    out[i] = e
  end
  return out, set
end

local function check_split(split)
  local errors = require 'datamux.errors'
  for _, s in ipairs(SPLITS) do
    if s == split then return end
  end
  errors.raise('E200', { what = ("the split is '%s', expected train, dev or test"):format(split),
                         near = errors.nearest(split, SPLITS), fix = 'datamux data head TASK dev' })
end

function actions.head(o)
  local json = require 'datamux.json'
  local split = o.split or 'train'
  check_split(split)
  local out = examples(o.task, split, o.count)
  for _, e in ipairs(out) do
    local line = (e.label and e.label .. '\t' or '') .. e.text .. (e.pair and '\t' .. e.pair or '')
    print(o.json and json.encode(e) or line)
  end
  return 0
end

local function lengths(list)
  local least, most, sum = math.huge, 0, 0
  for _, e in ipairs(list) do
    local n = select(2, (e.text .. ' ' .. (e.pair or '')):gsub('%S+', ''))
    least, most, sum = math.min(least, n), math.max(most, n), sum + n
  end
  return least, sum / #list, most
end

function actions.stats(o)
  local columns, json = require 'datamux.columns', require 'datamux.json'
  local cache, all = require 'datamux.data.cache', json.list {}
  local rows, seen = { { 'split', 'texts', 'labels', 'words min', 'mean', 'max', 'repeated', 'in train' } }, {}
  local set = o.task ~= 'synthetic' and find(o.task)
  for k, split in ipairs(SPLITS) do
    local absent = o.task == 'synthetic' and split == 'test'
      or set and k > 1 and not cache.look(set.folder, set.files[k])
    if not absent then
      local list, as_read = examples(o.task, split)
      local many = as_read.scores or as_read.gold               -- numbers and tags are not counted by value
      local labels, own, repeated, shared, names = {}, {}, 0, 0, {}
      for _, e in ipairs(list) do
        local text = e.text .. (e.pair and '\0' .. e.pair or '')
        if many then e.label = nil end
        if e.label and not labels[e.label] then names[#names + 1] = e.label end
        if e.label then labels[e.label] = (labels[e.label] or 0) + 1 end
        if own[text] then repeated = repeated + 1 end
        if k > 1 and seen[text] then shared = shared + 1 end
        own[text] = true
      end
      if k == 1 then seen = own end
      table.sort(names)
      local parts = {}
      for i, name in ipairs(names) do
        parts[i] = ('%s %d (%.1f %%)'):format(name, labels[name], 100 * labels[name] / #list)
      end
      local least, mean, most = lengths(list)
      all[#all + 1] = { split = split, n = #list, labels = labels, words = { min = least, mean = mean, max = most },
                        repeated = repeated, in_train = k > 1 and shared or nil }
      rows[#rows + 1] = { split, tostring(#list), table.concat(parts, ', '), tostring(least), ('%.1f'):format(mean),
                          tostring(most), tostring(repeated), k > 1 and tostring(shared) or '-' }
    end
  end
  return emit(o, all, columns.text(rows))
end

-- SHA-256 of a file's text, also where it lies here compressed.
local function digest(path)
  return require('datamux.sys').sha256(require('datamux.data.reader').text(path))
end

function actions.verify(o)
  local cache, columns, errors = require 'datamux.data.cache', require 'datamux.columns', require 'datamux.errors'
  local json, list, rows, wrong = require 'datamux.json', {}, { { 'file', 'state', 'place' } }, nil
  local sets, done = {}, {}
  for _, name in ipairs(o.names) do sets[#sets + 1] = find(name) end
  if #sets == 0 then sets = catalogue() end
  for _, set in ipairs(sets) do
    table.sort(set.files)
    for _, file in ipairs(set.files) do
      local name, path, known = set.folder .. '/' .. file, cache.look(set.folder, file), set.known[file]
      local state = not path and 'absent' or not known and 'no checksum is known'
        or digest(path) == known.sha256 and 'ok' or 'differs'
      if state == 'differs' then wrong = wrong or path end
      if not done[name] then                            -- two tasks may share a file
        done[name], list[#list + 1] = true, { file = name, state = state, place = path }
        rows[#rows + 1] = { name, state, path or '-' }
      end
    end
  end
  emit(o, json.list(list), columns.text(rows))
  if wrong then
    errors.raise('E308', { what = wrong .. ' has another checksum than the published file',
                           fix = 'remove it, then: datamux data get NAME' })
  end
  return 0
end

function actions.add(o)
  local cache, errors, sys = require 'datamux.data.cache', require 'datamux.errors', require 'datamux.sys'
  local set, copies = find(o.name), {}
  for i, path in ipairs(o.files) do
    local name = path:match '[^/]+$'
    local text, why = sys.read(path)
    if not text then
      errors.raise('E303', { what = why, fix = 'datamux data add NAME FILE, with a file that is there' })
    end
    local wanted = false
    for _, f in ipairs(set.files) do wanted = wanted or f == name end
    if not wanted then
      errors.raise('E303', { what = ("%s has no file '%s', its files: %s"):format(set.name, name,
        table.concat(set.files, ', ')), near = errors.nearest(name, set.files), fix = 'rename it to one of these' })
    end
    if set.known[name] and sys.sha256(text) ~= set.known[name].sha256 then
      errors.raise('E308', { what = path .. ' has another checksum than the published file',
                             where = set.folder .. '/' .. name,
                             fix = 'get the original; sha256 expected: ' .. set.known[name].sha256 })
    end
    copies[i] = { name = name, text = text }
  end
  local folder = ('%s/datasets/%s'):format(cache.root(), set.folder)
  sys.mkdir(folder)
  for _, c in ipairs(copies) do
    sys.write(folder .. '/' .. c.name, c.text)
    print(folder .. '/' .. c.name)
  end
  return 0
end

function M.run(o) return actions[o.action](o) end

return M
