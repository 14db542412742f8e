-- commands/data.lua -- the data sets: what is known and here, downloads, looking at them, checksums, own copies;
-- packing them (and models) for a machine without a network, removing them.
local emit = require('datamux.commands').emit

local M = { name = 'data', summary = 'get, list, look at, verify, add, pack and remove data sets' }

-- Seconds of "30d".
local function days(text)
  local n = text:match '^(%d+)d$'
  if n then return tonumber(n) * 86400 end
  return nil, 'a number of days such as 30d'
end

function M.configure(p, take)
  p:command_target 'action'
  take(p:command('ls', 'the data sets that are known, and where they are here'), 'json')
  local g = p:command('get', 'download data sets into the cache')
  g:argument('names', 'tasks or folders, as ls shows them'):args '+'
  take(g, 'offline')
  local h = p:command('head', 'the first examples of a split')
  h:argument('task', 'a task')
  h:argument('split', 'train (unless said), dev or test'):args '?'
  h:option('-k', 'how many'):convert(require('datamux.commands.values').whole(1)):default '5':target 'count'
  take(h, 'json download offline')
  local s = p:command('stats', 'counts, labels, lengths, repetitions, and texts shared between splits')
  s:argument('task', 'a task')
  take(s, 'json download offline')
  local v = p:command('verify', 'compare the files here with their published checksums')
  v:argument('names', 'as ls shows them'):args '*'
  take(v, 'json')
  local a = p:command('add', 'copy files of a data set into the cache, after checking them')
  a:argument('name', 'a task or folder, as ls shows it')
  a:argument('files', 'files, named as the data set names them'):args '+'
  a:flag('--replace', 'put them in the place of others that were added')
  local k = p:command('pack', 'write data sets and models of this machine into a tar file, for one without a network')
  k:argument('names', 'data sets as ls shows them, models as model ls does'):args '+'
  k:option('-O --output', 'the new file'):argname 'FILE.tar':target 'path':count '1'
  p:command('unpack', 'put what a tar file of pack holds into the cache, after checking it')
    :argument('file', 'FILE.tar')
  local r = p:command('rm', 'remove data sets and models from the cache')
  r:argument('names', 'as ls and model ls show them'):args '*'
  r:option('--unused', 'all that nobody has read or written for so long'):argname '30d':convert(days)
  take(r, 'dry_run')
end

local SPLITS = { 'train', 'dev', 'test' }

-- The files of CoNLL-2003: of each split the one that is here.
local function conll_files()
  local cache, conll, out = require 'datamux.data.cache', require 'datamux.data.conll', {}
  for i, split in ipairs(SPLITS) do
    local names = conll.files[split]
    out[i] = cache.look('CoNLL-2003', names[1]) and names[1] or names[2]
  end
  return out
end

-- Every known set: { name (task or folder), folder, files (names), known (checksums), read (function that reads file
-- number i from a path, or raises; nil: not known) }, sorted by name.
local function catalogue()
  local glue, download = require 'datamux.data.glue', require 'datamux.data.download'
  local list, seen = {}, {}
  local function add(name, folder, files, read)
    seen[folder] = true
    local set = download.sets[folder]
    for file in pairs(set and set.files or {}) do
      local there = false
      for _, f in ipairs(files) do there = there or f == file end
      if not there then files[#files + 1] = file end
    end
    list[#list + 1] = { name = name, folder = folder, files = files, known = set and set.files or {},
                        urls = set and set.urls or {}, read = read }
  end
  add('conll2003', 'CoNLL-2003', conll_files(), function(_, path)
    require('datamux.data.conll').read_file(path)
  end)
  for name, task in pairs(glue.tasks) do
    local files = {}
    for i, split in ipairs(SPLITS) do files[i] = task.files and task.files[split] or split .. '.tsv' end
    add(name, task.folder, files, function(i, path) glue.read_file(name, path, SPLITS[i] == 'test') end)
  end
  for folder in pairs(download.sets) do
    if not seen[folder] then add(folder, folder, {}) end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

-- The data set of this name. others: further names that may be meant, for messages.
local function find(name, others)
  local errors, names = require 'datamux.errors', {}
  for _, set in ipairs(catalogue()) do
    if set.name == name or set.folder == name then return set end
    names[#names + 1] = set.name
  end
  for _, other in ipairs(others or {}) do names[#names + 1] = other end
  errors.raise('E219', { what = ("unknown data set '%s'"):format(name), near = errors.nearest(name, names),
                         fix = 'datamux data ls' })
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
      local by_hand = ('get the files %s yourself, then: datamux data add %s FILE ...'):format(
        table.concat(set.files, ', '), set.name)
      local packed = ('datamux data pack %s -O FILE.tar where there is a network, datamux data unpack FILE.tar here')
        :format(set.name)
      errors.raise(#set.urls > 0 and 'E801' or 'E310', { what = ('%s cannot be downloaded: %s'):format(set.name, why),
        fix = #set.urls > 0 and packed or by_hand })
    end
    print(('%s/datasets/%s'):format(cache.root(), set.folder))
  end
  return 0
end

-- The name of a task of texts. Raises E219 for what is none: other data sets have no examples that could be read.
local function text_task(name)
  local glue, errors = require 'datamux.data.glue', require 'datamux.errors'
  for _, set in ipairs(catalogue()) do
    if (set.name == name or set.folder == name) and glue.tasks[set.name] then return set.name end
  end
  local names = { 'conll2003', 'synthetic', unpack(glue.names()) }
  local near = errors.nearest(name, names)
  errors.raise('E219', { what = ("'%s' is no task of texts, expected one of %s"):format(name,
    table.concat(names, ', ')), near = near, fix = near or 'datamux data head ' .. names[2] })
end

-- The examples of a split as a person reads them: list of { text, pair, label }.
local function examples(task, split, most)
  local set
  if task == 'synthetic' then
    set = require('datamux.data.synthetic').read(split)
  elseif task == 'conll2003' then
    set = require('datamux.data.conll').conll2003(split)
  else
    set = require('datamux.data.glue').read(text_task(task), split)
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
  local columns, facts, json = require 'datamux.columns', require 'datamux.data.facts', require 'datamux.json'
  local cache, all = require 'datamux.data.cache', json.list {}
  local rows, seen = { { 'split', 'texts', 'labels', 'words min', 'mean', 'max', 'repeated', 'in train' } }, {}
  local built_in = o.task == 'synthetic'
  local set = not built_in and find(o.task == 'conll2003' and o.task or text_task(o.task))
  for k, split in ipairs(SPLITS) do
    local absent = built_in and split == 'test'
      or set and k > 1 and not cache.look(set.folder, set.files[k])
    if not absent then
      local list, as_read = examples(o.task, split)
      local about, own, repeated, shared = facts.of(as_read), {}, 0, 0
      for _, e in ipairs(list) do
        local text = e.text .. (e.pair and '\0' .. e.pair or '')
        if own[text] then repeated = repeated + 1 end
        if k > 1 and seen[text] then shared = shared + 1 end
        own[text] = true
      end
      if k == 1 then seen = own end
      local least, mean, most = lengths(list)
      all[#all + 1] = { split = split, n = #list, labels = about.labels, scores = about.scores,
                        words = { min = least, mean = mean, max = most }, repeated = repeated,
                        in_train = k > 1 and shared or nil }
      rows[#rows + 1] = { split, tostring(#list), facts.text(about, as_read.label_names, true), tostring(least),
                          ('%.1f'):format(mean), tostring(most), tostring(repeated), k > 1 and tostring(shared) or '-' }
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

-- Number of the file `name` among those of a set; nil where it is none. CoNLL-2003 has two names for each.
local function number_of(set, name)
  for i, f in ipairs(set.files) do
    if f == name then return i end
  end
  for i, split in ipairs(set.name == 'conll2003' and SPLITS or {}) do
    for _, f in ipairs(require('datamux.data.conll').files[split]) do
      if f == name then return i end
    end
  end
end

-- Raises unless `path` can be file number i of the set: by its checksum, or where none is known by reading it.
local function check_file(set, i, path, text)
  local errors, sys = require 'datamux.errors', require 'datamux.sys'
  local known = set.known[set.files[i]]
  if known and sys.sha256(text) ~= known.sha256 then
    errors.raise('E308', { what = path .. ' has another checksum than the published file',
                           where = set.folder .. '/' .. set.files[i],
                           fix = 'get the original; sha256 expected: ' .. known.sha256 })
  end
  if known or not set.read then return end
  local ok, e = pcall(set.read, i, path)
  if ok then return end
  if not errors.is(e) then error(e, 0) end
  errors.raise(e.id, { what = e.what, why = ('it was read as %s of %s'):format(set.files[i], set.name),
    fix = 'get the original; files of your own are named in a recipe: task = { type = ..., train = FILE, ... }' })
end

function actions.add(o)
  local cache, errors, sys = require 'datamux.data.cache', require 'datamux.errors', require 'datamux.sys'
  local set, copies = find(o.name), {}
  local folder = ('%s/datasets/%s'):format(cache.root(), set.folder)
  for k, path in ipairs(o.files) do
    local name = path:match '[^/]+$'
    local text, why = sys.read(path)
    if not text then
      errors.raise('E303', { what = why, fix = 'datamux data add NAME FILE, with a file that is there' })
    end
    local i, to = number_of(set, name), folder .. '/' .. name
    if not i then
      errors.raise('E303', { what = ("%s has no file '%s', its files: %s"):format(set.name, name,
        table.concat(set.files, ', ')), near = errors.nearest(name, set.files), fix = 'rename it to one of these' })
    end
    check_file(set, i, path, text)
    if not o.replace and (sys.read(to) or text) ~= text then
      errors.raise('E218', { what = ('%s is there already, and differs from %s'):format(to, path), fix = '--replace' })
    end
    copies[k] = { path = to, text = text }
  end
  sys.mkdir(folder)
  for _, c in ipairs(copies) do
    sys.write(c.path, c.text)
    print(c.path)
  end
  return 0
end

-- What `name` is, for pack.write: a data set wherever its files are, else a model.
local function part_of(name)
  local cache, errors, hub = require 'datamux.data.cache', require 'datamux.errors', require 'datamux.hub'
  local model, models = hub.find(name), {}
  if model then
    local files = {}
    for _, file in ipairs(require('datamux.sys').list(model)) do
      if require('lfs').attributes(model .. '/' .. file, 'mode') == 'file' then files[file] = model .. '/' .. file end
    end
    return { place = 'models/' .. hub.folder(name):match '[^/]+$', files = files }
  end
  for i, m in ipairs(hub.list()) do models[i] = m.name end
  local set, files = find(name, models), {}
  for _, file in ipairs(set.files) do
    local path = cache.look(set.folder, file)
    if path then files[path:match '[^/]+$'] = path end
  end
  if not next(files) then
    errors.raise('E303', { what = ('no file of %s is here'):format(name), fix = 'datamux data get ' .. name })
  end
  return { place = 'datasets/' .. set.folder, files = files }
end

function actions.pack(o)
  local parts = {}
  for i, name in ipairs(o.names) do parts[i] = part_of(name) end
  local bytes = require('datamux.pack').write(o.path, parts)
  print(('%s  %s'):format(o.path, require('datamux.columns').bytes(bytes)))
  return 0
end

function actions.unpack(o)
  local r = require('datamux.pack').read(o.file)
  for _, folder in ipairs(r.folders) do print(folder) end
  local of = require('datamux.plural').of
  io.stdout:flush()
  io.stderr:write(('%s checked and put there%s\n'):format(of(r.moved, 'file'),
    r.before > 0 and (', %d there before'):format(r.before) or ''))
  return 0
end

function actions.rm(o)
  local errors, pack, sys = require 'datamux.errors', require 'datamux.pack', require 'datamux.sys'
  if (#o.names > 0) == (o.unused ~= nil) then
    errors.raise('E200', { what = 'data rm takes names or --unused, one of the two',
                           fix = 'datamux data rm --unused 30d' })
  end
  local kept, names, gone = pack.kept(), {}, {}
  for i, e in ipairs(kept) do names[i] = e.name end
  for _, name in ipairs(o.names) do
    local before = #gone
    for _, e in ipairs(kept) do
      if e.name == name or e.folder == require('datamux.hub').folder(name) then gone[#gone + 1] = e end
    end
    for _, set in ipairs(#gone == before and catalogue() or {}) do                 -- a task by its folder
      for _, e in ipairs(set.name == name and kept or {}) do
        if e.folder:match 'datasets/([^/]+)$' == set.folder then gone[#gone + 1] = e end
      end
    end
    if #gone == before then
      errors.raise('E219', { what = ("no data set or model '%s' in the cache %s"):format(name,
        require('datamux.data.cache').root()), near = errors.nearest(name, names), fix = 'datamux data ls, model ls' })
    end
  end
  for _, e in ipairs(o.unused and kept or {}) do
    if os.time() - e.used >= o.unused then gone[#gone + 1] = e end
  end
  for _, e in ipairs(gone) do
    if not o.dry_run then sys.remove(e.folder) end
    print(('%s  %s%s'):format(e.folder, require('datamux.columns').bytes(e.bytes), o.dry_run and '  would go' or ''))
  end
  return 0
end

function M.run(o) return actions[o.action](o) end

return M
