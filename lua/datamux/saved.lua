-- saved.lua -- finished models: the model folder, and loading one to use it.
--
--   model/  config.json          the configuration, under our names and Hugging Face's; labels
--           model.safetensors    the best weights
--           vocab.txt | vocab.json merges.txt | spm.model
--           README.md            model card          SHA256SUMS
--           recipe.lua           where strategies of the model are the recipe's own (docs/extending.md)
--
-- A run writes config.json and the tokenizer when it starts, so that each of its checkpoints can be used at any time,
-- and the weights and the card when it ends. A folder of another program (see import) is loaded as it is; exported, it
-- becomes such a folder, with what its config.json said kept, and our tensors, which then are mapped and not converted.
local ffi = require 'ffi'
local cjson = require 'cjson'
local core = require 'datamux.ffi'
local assemble = require 'datamux.assemble'
local capture = require 'datamux.capture'
local card = require 'datamux.card'
local checkpoint = require 'datamux.checkpoint'
local errors = require 'datamux.errors'
local hub = require 'datamux.hub'
local import = require 'datamux.import'
local infer = require 'datamux.infer'
local json = require 'datamux.json'
local recipe = require 'datamux.recipe'
local rundir = require 'datamux.rundir'
local safetensors = require 'datamux.safetensors'
local sandbox = require 'datamux.sandbox'
local schema = require 'datamux.schema'
local scope = require 'datamux.scope'
local sums = require 'datamux.sums'
local sys = require 'datamux.sys'
local text = require 'datamux.text'
local use = require 'datamux.import.use'
local fit = require 'datamux.models.fit'
local outputs = require 'datamux.models.outputs'
local Module = require 'datamux.nn.module'
local Published = require 'datamux.models.published'
local C = core.C

local M = {}

local Model = {}
Model.__index = Model

local WEIGHTS = 'model.safetensors'

-- -- config.json -----------------------------------------------------------------------------------------------------

-- Names that readers of Hugging Face folders look for; a view of the same values.
local function hugging_face(config, data)
  local m, tok = config.model, data.tok
  local c = not tok and { architectures = { 'DatamuxImage' }, model_type = 'datamux', num_channels = 1,
    image_size = { data.height, data.width }, torch_dtype = 'float32', id2label = {}, label2id = {} } or {
    architectures = { m.kind == 'plain' and 'DatamuxPlain' or 'DatamuxTMux' }, model_type = 'datamux',
    hidden_size = m.width, num_hidden_layers = m.layers, num_attention_heads = m.heads, intermediate_size = m.inner,
    max_position_embeddings = m.positions, layer_norm_eps = m.norm_eps, hidden_dropout_prob = m.dropout,
    vocab_size = tok.vocab_size, pad_token_id = tok.pad, bos_token_id = tok.bos, eos_token_id = tok.eos,
    torch_dtype = 'float32', id2label = {}, label2id = {} }
  for i, name in ipairs(data.label_names or {}) do
    c.id2label[tostring(i - 1)], c.label2id[name] = name, i - 1
  end
  return c
end

-- What a model scored on its dev set: { metric, value, accuracy }, of a report or of such a table; nil where it says
-- nothing.
local function scores_of(r)
  if type(r) ~= 'table' or type(r.value) ~= 'number' or type(r.metric) ~= 'string' then return nil end
  return { metric = r.metric, value = r.value, accuracy = type(r.accuracy) == 'number' and r.accuracy or nil }
end

-- A task of a person's own without the places of its files, which a model folder leaves behind.
local function portable(own)
  local out = {}
  for k, v in pairs(own) do out[k] = v end
  out.train, out.dev = nil, nil
  return out
end

-- What config.json holds. data: { tok, label_names, output, pairs, scores }, or of a published model what use.data
-- gives, with `given`, its own config.json.
local function describe(config, data)
  local out = data.published and {} or hugging_face(config, data)
  for k, v in pairs(data.published and data.given or config) do out[k] = v end
  out.folder, out.own = nil, config.own and portable(config.own)
  out.output, out.pairs = data.output or 'classify', data.pairs or false
  out.tokenizer = data.tok and { kind = data.tok.kind, lower = data.tok.lower }
  out.datamux = { schema = 1, version = ffi.string(C.dm_version()), published = data.published, int8 = data.int8,
    scores = data.scores }
  if data.published then
    out.datamux.labels, out.datamux.task, out.datamux.longest = json.list(data.label_names), data.task, data.longest
  end
  return out
end

-- The first of a configuration's strategies that nobody registered, or nil.
local function absent(config)
  for _, s in ipairs(fit.own(config)) do
    if not s.registered then return s end
  end
end

-- Registers a configuration's own strategies by the recipe beside the model. That of a run is run as recipes are; a
-- folder may be a stranger's: its recipe is run where it is trusted.
local function register(config, at, trust)
  local strategy, dir = absent(config), at.run or at.folder
  if not strategy then return end
  local file = dir .. '/recipe.lua'
  local what = ("%s: %s is '%s', which "):format(dir, strategy.key, strategy.name)
  if sys.kind(file) == 'file' then
    if not (at.run or trust or sandbox.trusted) then
      errors.raise('E707', { what = what .. 'the recipe beside the model registers, and that may do everything',
                             fix = ('--trust, if you know %s'):format(file) })
    end
    local early = recipe.early
    require('datamux.launch').load(file, {}, { config = config, trust = trust })
    recipe.early = early
    if not absent(config) then return end
  end
  errors.raise('E707', what .. 'no recipe here registers\n  fix: copy the recipe that does to ' .. file)
end

-- The part of a decoded config.json that is a recipe's configuration. at, trust: see register.
local function configuration(t, path, at, trust)
  local own = {}
  for _, e in ipairs(schema.root.entries) do
    if t[e.name] ~= nil then own[e.name] = t[e.name] end
  end
  if t.task == 'own' then own.task = t.own end                        -- files of a person's own
  register(own, at, trust)
  local ok, config = pcall(recipe.resolve, own, { file = path })
  if not ok then errors.raise('E702', ('%s: %s'):format(path, tostring(config))) end
  return config
end

local function decode(path)
  local bytes, why = sys.read(path)
  if not bytes then errors.raise('E702', why) end
  local ok, t = pcall(cjson.decode, bytes)
  if not ok or type(t) ~= 'table' then errors.raise('E702', path .. ': not a JSON object') end
  return t
end

-- The configuration of a run from its own config.json: path -> { value, from }.
local function run_configuration(at, trust)
  local path = at.run .. '/config.json'
  local flat, nested = decode(path), {}
  schema.each(function(key, leaf)
    local e, part_of = flat[key], nested
    if type(e) ~= 'table' then return end
    key = leaf.at or key
    for part in key:gmatch '([^.]+)%.' do
      part_of[part] = part_of[part] or {}
      part_of = part_of[part]
    end
    part_of[key:match '[^.]+$'] = e.value
  end)
  return configuration(nested, path, at, trust)
end

-- -- writing ---------------------------------------------------------------------------------------------------------

local function write_description(dir, config, data)
  sys.mkdir(dir)
  sys.write(dir .. '/config.json', json.encode(describe(config, data), true) .. '\n')
  for name, bytes in pairs(data.tok and data.tok:files() or {}) do sys.write(dir .. '/' .. name, bytes) end
end

-- Copies the bytes of an open safetensors file to `path`.
local function copy_file(file, path)
  local out = ffi.new 'dm_writer *[1]'
  if C.dm_writer_open(out, path) ~= 0 then errors.raise('E401', ffi.string(C.dm_last_error())) end
  local w = ffi.gc(out[0], C.dm_writer_free)
  if C.dm_writer_write(w, file.data, file.size) ~= 0 or C.dm_writer_commit(w) ~= 0 then
    errors.raise('E401', ffi.string(C.dm_last_error()))
  end
  C.dm_writer_free(ffi.gc(w, nil))
end

-- Makes the whole model folder `dir` beside its place and puts it there. o: { config, data, weights (a mapped file) or
-- tensors, results, count (parameters), card (its text, else it is made), from (the run or folder it is made of) }.
local function write_folder(dir, o)
  dir = dir:gsub('(.)/+$', '%1')
  local aside = dir .. '.tmp-' .. sys.pid()
  sys.remove(aside)
  o.data.scores = scores_of(o.results) or o.data.scores
  if o.data.int8 then o.data.scores = nil end                            -- those were of other weights
  write_description(aside, o.config, o.data)
  if o.weights then
    copy_file(o.weights, aside .. '/' .. WEIGHTS)
  else
    safetensors.write(aside .. '/' .. WEIGHTS, o.tensors)
  end
  local own = o.from and #fit.own(o.config) > 0 and sys.read(o.from .. '/recipe.lua')
  if own then sys.write(aside .. '/recipe.lua', own) end
  sys.write(aside .. '/README.md', o.card or card.text(o.config, o.data, o.results, o.count))
  sums.write(aside)
  if not sys.kind(dir) then return sys.rename(aside, dir) end
  sys.exchange(aside, dir)
  sys.remove(aside)
end

--- Writes what a run's checkpoints need to be used later: model/config.json and the tokenizer. session: a training
--- session with a run directory.
function M.begin(session)
  local dir = session.run_dir .. '/model'
  if sys.kind(dir .. '/' .. WEIGHTS) ~= 'file' then write_description(dir, session.config, session.data) end
end

--- Writes the finished model of a session: model/ with its best weights (the last ones where no score was taken).
--- Nothing where the run has no checkpoint.
function M.finish(session, results)
  local run = session.run_dir
  local link = session.at.best and checkpoint.load_best(run) and 'best' or 'last'
  if sys.kind(run .. '/checkpoints/' .. link) ~= 'directory' then return end
  write_folder(run .. '/model', { from = run, config = session.config, data = session.data, results = results,
    weights = checkpoint.weights(run, link).file.file, count = session.model:count() })
end

-- -- reading ---------------------------------------------------------------------------------------------------------

--- The folder of a run from what a person types: the folder itself, one that holds runs and a link `latest`, or the
--- name or id of a run (see rundir.search); nil where it is none.
function M.run_of(path)
  for _, dir in ipairs { path, path .. '/latest' } do
    if sys.kind(dir .. '/.datamux-run') == 'file' then return dir end
  end
  local run = not sys.kind(path) and rundir.search(nil, path)
  return run and run.dir or nil
end

-- What may have been meant by a path that leads to no model.
local function meant(path)
  local folder = path:match '^(.*)/[^/]+/?$'
  local list = {}
  for _, entry in ipairs(sys.list(folder or '.')) do
    local at = (folder and folder .. '/' or '') .. entry
    if sys.kind(at) == 'directory' then list[#list + 1] = at end
  end
  for _, run in ipairs(not folder and rundir.all() or {}) do list[#list + 1] = run.name end
  for _, m in ipairs(hub.list()) do list[#list + 1] = m.name end
  return errors.nearest(path, list)
end

-- Where a model lies: { run, which } or { folder }.
local function locate(path)
  local bare, which = path:match '^(.*):([%w-]+)$'
  if bare and (which == 'best' or which == 'last' or which:find '^step%-%d+$') then
    local run = M.run_of(bare)
    if not run then errors.raise('E706', ("%s: '%s' is no run directory"):format(path, bare)) end
    return { run = run, which = which }
  end
  if path:find '%.safetensors$' or path:find '%.bin$' then path = path:match '^(.*)/[^/]+$' or '.' end
  local run = M.run_of(path)
  if run then return { run = run } end
  if sys.kind(path) ~= 'directory' then
    local got = hub.find(path)
    if got then return { folder = got } end
    local near = meant(path)
    errors.raise('E706', { what = ("no model '%s': expected a run directory or its name, RUN:best, RUN:last, "
      .. 'RUN:step-N, a model folder, or the name of one in the cache'):format(path), near = near,
      fix = near or 'datamux runs ls, datamux model ls'
        .. (hub.is_name(path) and ', datamux model get ' .. path or '') })
  end
  if sys.kind(path .. '/config.json') ~= 'file' then
    errors.raise('E706', path .. ': no config.json in it, expected a run directory or a model folder')
  end
  return { folder = path }
end

local function tokenizer_of(dir, t)
  local kind = type(t) == 'table' and t.kind
  local function file(name) return dir .. '/' .. name end
  local o = ({ words = { vocab = file 'vocab.txt' }, wordpiece = { vocab = file 'vocab.txt' },
               bpe = { vocab = file 'vocab.json', merges = file 'merges.txt' },
               sentencepiece = { model = file 'spm.model' } })[kind]
  if not o then
    errors.raise('E702', ("%s/config.json: tokenizer.kind is '%s', expected words, wordpiece, bpe or sentencepiece")
      :format(dir, tostring(kind)))
  end
  o.kind, o.lower = kind, t.lower
  return text.load(o)
end

-- The same of a folder that was made of a published model.
local function read_published(dir, t)
  local own = t.datamux
  local data = { tok = tokenizer_of(dir, t.tokenizer), label_names = own.labels or {}, output = t.output,
                 pairs = t.pairs, task = own.task, longest = own.longest, published = own.published, given = t,
                 int8 = own.int8 }
  local ok, config = pcall(use.configuration, own.published, data, dir)
  if not ok then errors.raise('E702', ('%s/config.json: %s'):format(dir, tostring(config))) end
  return { config = config, data = data }
end

-- { config, data = { tok, label_names, output } } of a model folder. at, trust: see register.
local function read_description(dir, at, trust)
  local path = dir .. '/config.json'
  local t = decode(path)
  if type(t.datamux) ~= 'table' then
    errors.raise('E702', ('%s: not a configuration of this program (model_type is %s)'):format(path,
      tostring(t.model_type)))
  end
  if t.datamux.schema ~= 1 then
    errors.raise('E702', ('%s: schema is %s, expected 1 (made by a newer version?)'):format(path,
      tostring(t.datamux.schema)))
  end
  if t.datamux.published then return read_published(dir, t) end
  local labels = {}
  for id, name in pairs(t.id2label or {}) do labels[(tonumber(id) or -1) + 1] = name end
  local config = configuration(t, path, at, trust)
  local data = { label_names = labels, output = t.output, pairs = t.pairs, int8 = t.datamux.int8,
                 scores = scores_of(t.datamux.scores) }
  if fit.images(config) then
    data.height, data.width = unpack(t.image_size or {})
  else
    data.tok = tokenizer_of(dir, t.tokenizer)
  end
  return { config = config, data = data }
end

-- Where the recipe of a run was, which names files beside it.
local function recipe_folder(run)
  local env = decode(run .. '/env.json')
  local folder = (env.recipe or ''):match '^.*/' or ''
  return folder:sub(1, 1) == '/' and folder or ('%s/%s'):format(env.folder, folder)
end

-- The description of a run: of its model folder, else (a run of an older version) from its data. at, trust: see
-- register.
local function run_description(at, trust)
  local dir = at.run .. '/model'
  local d = sys.kind(dir .. '/config.json') == 'file' and read_description(dir, at, trust)
    or { config = run_configuration(at, trust) }
  if d.config.task == 'own' then
    d.config.own, d.config.folder = run_configuration(at, trust).own, recipe_folder(at.run)
  end
  d.data = d.data or assemble.data(d.config)
  return d
end

--- Fills tensors (name -> Tensor) from an open safetensors file. Returns the load report: sorted lists of names
--- { loaded, missing, unexpected, misfits (with the reason) }. Copies from the mapped file, not through Lua.
function M.fill(file, tensors)
  local r, names = { loaded = {}, missing = {}, unexpected = {}, misfits = {} }, {}
  for name in pairs(tensors) do names[#names + 1] = name end
  for name in pairs(file.tensors) do
    if not tensors[name] then r.unexpected[#r.unexpected + 1] = name end
  end
  table.sort(names)
  table.sort(r.unexpected)
  for _, name in ipairs(names) do
    local entry = file.tensors[name]
    if not entry then
      r.missing[#r.missing + 1] = name
    else
      local ok, why = safetensors.copy(entry, tensors[name])
      if ok then r.loaded[#r.loaded + 1] = name else r.misfits[#r.misfits + 1] = ('%s is %s'):format(name, why) end
    end
  end
  return r
end

-- The report of a model that lies in its file as it is.
local function whole_report(net)
  local r = { loaded = {}, missing = {}, unexpected = {}, misfits = {} }
  for name in pairs(net:named()) do r.loaded[#r.loaded + 1] = name end
  table.sort(r.loaded)
  return r
end

--- The load report in words: "39/39 tensors loaded", and each that is missing, unexpected or does not fit; of a
--- published model as import.report.
function M.report(r)
  if r.ignored then return import.report(r) end
  local out = { ('%d/%d tensors loaded'):format(#r.loaded, #r.loaded + #r.missing + #r.misfits) }
  for _, kind in ipairs { 'missing', 'unexpected', 'misfits' } do
    for _, name in ipairs(r[kind]) do
      out[#out + 1] = ('  %s: %s'):format(kind == 'misfits' and 'does not fit' or kind, name)
    end
  end
  return table.concat(out, '\n')
end

local function accept(r, what, allow)
  if #r.misfits == 0 and (#r.missing == 0 or allow.missing) and (#r.unexpected == 0 or allow.unexpected) then return end
  errors.raise('E704', ('%s: the weights do not belong to its configuration: %s'):format(what, M.report(r)))
end

-- What the report of a run says of its best weights; nil for others.
local function results_of(at)
  local bytes = at.run and (at.which or 'best') == 'best' and sys.read(at.run .. '/report.json')
  return bytes and cjson.decode(bytes) or nil
end

-- The description, file of weights and step of a run or of a folder of ours.
local function open(at, trust)
  if at.run then
    local which = at.which or (sys.kind(at.run .. '/checkpoints/best') == 'directory' and 'best' or 'last')
    local d, w = run_description(at, trust), checkpoint.weights(at.run, which)
    return d, w.file, w.step
  end
  local d = read_description(at.folder, at, trust)
  if sys.kind(at.folder .. '/' .. WEIGHTS) ~= 'file' then
    errors.raise('E706', at.folder .. ': there is no model.safetensors in it yet\n  fix: give the run directory '
      .. 'instead, or finish the run')
  end
  return d, safetensors.open(at.folder .. '/' .. WEIGHTS)
end

-- The network of a description with the tensors of a file, and the load report.
local function network(d, file, path, allow)
  local net = d.data.published and Published.new(d.data.published) or assemble.model(d.config, d.data)
  if d.data.int8 then infer.int8_declare(net) end
  if infer.map(net, file) then return net, whole_report(net) end
  if d.data.int8 then
    errors.raise('E704', path .. ': its weights are int8, and run on the CPU only, with exactly the tensors of its '
      .. 'configuration\n  fix: -d cpu, or the model it was made of')
  end
  Module.build(net, allow.missing and d.config.seed or nil)
  local report = M.fill(file, net:named())
  net:refresh()
  accept(report, path, allow)
  return net:train(false), report
end

-- A folder of another program: description, file, network, report.
local function open_published(folder, path, ids)
  local m = import.load(path:find '%.bin$' and path or folder, { ids = ids })
  local data = use.data(m)
  data.given = m.config
  return { config = use.configuration(m.options, data, folder:match '([^/]+)/*$' or folder), data = data }, m.file,
    m.model, m.report
end

local function refuse_bf16(d, path)
  local why = d.data.int8 and 'its weights are int8' or fit.images(d.config) and 'it reads images'
  if why then errors.raise('E215', { what = ('%s: %s, expected f32'):format(path, why), fix = 'leave out --bf16' }) end
end

--- A network as a model that answers, as load gives it, without what a file adds (path, step, scores, report, file,
--- dtype). data: see assemble.data.
function M.of(net, config, data)
  return setmetatable({ model = net, tokenizer = data.tok, labels = data.label_names, n = config.mux.n,
    output = data.output or 'classify', pairs = data.pairs or false, config = config, data = data,
    images = fit.images(config), recorder = capture.new(config.capture) }, Model)
end

--- Loads a finished model. path: a run directory (its best weights), RUN:best, RUN:last, RUN:step-N, a folder with a
--- link `latest`, a model folder, a folder of Hugging Face (RoBERTa or BERT with a head of classification), DataMUX or
--- MUX-PLM, or the name of one that is in the cache (see hub.lua). o: { allow = { missing = true, unexpected = true }
--- }: tensors that may be missing (they get their initial values) or left over; o.int8: its products in int8
--- (see infer.int8); o.bf16: in bf16, and from then on whatever this process computes (see scope.precision); o.ids: see
--- import.load; o.trust: the recipe beside a model folder may register the strategies that the model names, and do
--- whatever else is in it. Raises (code 7) for what is damaged or does not fit, tensor by tensor.
--- Returns { model, tokenizer, labels, n, output ('classify' | 'regress' | 'tag'), pairs (whether it reads two texts),
--- scores ({ metric, value, accuracy } on its dev set, as its report or its folder says; nil where it says nothing),
--- images (whether it reads images; those have no tokenizer), dtype ('f32' | 'bf16' | 'int8'), config, path, step,
--- report }.
function M.load(path, o)
  o = o or {}
  errors.options('dm.load', o, { 'allow', 'int8', 'bf16', 'ids', 'trust' })
  local at = locate(path)
  if o.bf16 then
    if o.int8 then errors.raise('E215', { what = 'bf16 and int8, expected one of them', fix = 'leave out one' }) end
    scope.precision 'bf16'
  end
  local d, file, step, net, report
  if at.folder then sums.verify(at.folder) end
  if at.folder and import.is(at.folder) then
    d, file, net, report = open_published(at.folder, path, o.ids)
  else
    d, file, step = open(at, o.trust)
    if o.bf16 then refuse_bf16(d, path) end
    net, report = network(d, file, path, o.allow or {})
  end
  if o.int8 and not d.data.int8 then infer.int8(net) end
  local m = M.of(net, d.config, d.data)
  m.path, m.step, m.report, m.file = path, step, report, file
  m.scores = not o.int8 and (scores_of(results_of(at)) or d.data.scores) or nil
  m.dtype = (o.int8 or d.data.int8) and 'int8' or o.bf16 and 'bf16' or 'f32'
  return m
end

--- The model card of a model: its README.md, or what it would be.
function M.card_of(path)
  local at = locate(path)
  local own = at.folder and sys.read(at.folder .. '/README.md')
  if own then return own end
  local m = M.load(path)
  return card.text(m.config, m.data, results_of(at), m.model:count())
end

--- Writes a model folder: of a run (its best weights, or those that RUN:last or RUN:step-N name), of another model
--- folder, or of a published model. o: { to = folder, default RUN/model; ids: see import.load }. Raises (code 2) where
--- o.to is there and holds something; o.int8: with weights in int8 (see infer.int8). Returns the folder,
--- and the load report.
function M.export(path, o)
  local at = locate(path)
  local dir = o.to or at.run and at.run .. '/model'
  if not dir then
    errors.raise('E200', { what = ("no new folder is named for a copy of '%s'"):format(path), fix = '--to DIR' })
  end
  if o.to and #sys.list(o.to) > 0 then
    errors.raise('E218', { what = ("the new folder is '%s', which is there and not empty"):format(o.to),
      fix = '--to DIR, a folder that is not there' })
  end
  local m = M.load(path, { ids = o.ids, int8 = o.int8 })
  if o.int8 and m.data.int8 then
    errors.raise('E215', { what = path .. ': its weights are 8-bit integers already',
      fix = 'datamux predict ' .. sys.word(path) })
  end
  local foreign, packing = m.report.ignored ~= nil, o.int8
  local data = m.data.published and m.data
    or { tok = m.tokenizer, label_names = m.labels, output = m.output, pairs = m.pairs, height = m.data.height,
         width = m.data.width, scores = m.scores }
  data.int8 = m.dtype == 'int8' or nil
  write_folder(dir, { from = at.run or at.folder, config = m.config,
    weights = not (foreign or packing) and m.file.file or nil,
    tensors = packing and infer.int8_tensors(m.model) or m.model:named(), count = m.model:count(),
    data = data, results = results_of(at),
    card = m.data.published and sys.read(at.folder .. '/README.md') or nil })
  return dir, m.report
end

-- -- using -----------------------------------------------------------------------------------------------------------

local function run(q, model) return { logits = model:forward(q).logits } end

local function forward(self, batch)
  local q = self.model:prepare(batch, { seed = 0, step = 0, task = true })
  local logits = self.recorder:run('forward', run, q, self.model).logits
  batch.at, batch.answers = q.task and q.task.at, q.task and q.task.count or logits:rows()
  return outputs.host(logits, batch.answers)
end

--- The network's answers to a batch (see predict.lua): logits as a C array [R, K], and K; batch.answers = R, and for
--- taggers batch.at = the places of those rows in the batch. The one place where a finished model is run.
function Model:logits(batch) return scope.step(forward, self, batch) end

--- How a model's batches are made, for evaluate.score.
function M.options(model)
  local c = model.config
  return { rows = math.max(c.train.rows, 8), group = model.n, length = c.data.length, pad = model.data.tok and
           model.data.tok.pad,
           multiple = c.data.multiple, fixed = c.data.fixed, bucket = c.data.bucket }
end

--- Answers to a list of texts (for pair tasks { a, b } each, for taggers a list of words), in their order: { label,
--- score, scores } each, or { tags }, as predict.answers. o: see predict.new. A model of images takes the path of an
--- IDX file.
function Model:predict(texts, o)
  errors.options('predict', o, { 'group', 'ensemble', 'truncate', 'rows' })
  local predict = require 'datamux.predict'
  if not self.images then return predict.answers(self, texts, o) end
  local room = require 'datamux.predict_images'
  local set, out = room.read(self, texts), {}
  local p = room.answers(self, set, o or {})
  for k = 0, set.n - 1 do out[k + 1] = p:answer(k) end
  return out
end

function Model:__tostring()
  return ('model %s: %s, %s, %s'):format(self.path, recipe.words(self.config), self.output,
    table.concat(self.labels, ' | '))
end

return M
