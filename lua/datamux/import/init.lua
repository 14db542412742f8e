-- import/init.lua -- models of other programs: RoBERTa and BERT encoders, DataMUX and MUX-PLM checkpoints.
--
--   local m = import.load 'folder'         config.json beside model.safetensors or pytorch_model.bin
--   print(import.report(m.report))         every tensor of the file: loaded, ignored (why), unexpected, missing
-- The network is models/published.lua, which computes what the published program computes.
local ffi = require 'ffi'
local bit = require 'bit'
local cjson = require 'cjson'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local names = require 'datamux.import.names'
local pickle = require 'datamux.pickle'
local safetensors = require 'datamux.safetensors'
local sys = require 'datamux.sys'
local Module = require 'datamux.nn.module'
local Tensor = require 'datamux.tensor'
local Published = require 'datamux.models.published'

local M = {}

-- -- files -----------------------------------------------------------------------------------------------------------

local WEIGHTS = { 'model.safetensors', 'pytorch_model.bin' }

-- The folder and the weights of what a person typed.
local function locate(path)
  if sys.kind(path) == 'file' then return path:match '^(.*)/[^/]+$' or '.', path end
  for _, name in ipairs(WEIGHTS) do
    if sys.kind(path .. '/' .. name) == 'file' then return path, path .. '/' .. name end
  end
  errors.raise('E706', ("no model '%s': expected a file of weights, or a folder with config.json and %s"):format(path,
    table.concat(WEIGHTS, ' or ')))
end

--- Opens a file of weights, safetensors or a PyTorch checkpoint: see safetensors.open. Raises (code 7).
function M.open(path)
  return (path:find '%.safetensors$' and safetensors or pickle).open(path)
end

local function read_config(dir)
  local path = dir .. '/config.json'
  local bytes, why = sys.read(path)
  if not bytes then errors.raise('E706', why) end
  local ok, t = pcall(cjson.decode, bytes)
  if not ok or type(t) ~= 'table' then errors.raise('E702', path .. ': not a JSON object') end
  for k, v in pairs(t) do
    if v == cjson.null then t[k] = nil end                                 -- as absent
  end
  return t, path
end

-- -- what the network is ---------------------------------------------------------------------------------------------

local prefix_ids = { roberta = { filler = 50000, cls = 49923 }, bert = { filler = 680, cls = 101, index = 678 } }
local multiplexers = { gaussian_hadamard = true, binary_hadamard = true, random_ortho = true }
local demultiplexers = { index = true, mlp = true, index_pos = true }

local function has(tensors, pattern)
  for name in pairs(tensors) do
    if name:find(pattern) then return true end
  end
  return false
end

local function wrong(path, key, value, expected)
  errors.raise('E702', ('%s: %s is %s, expected %s'):format(path, key, tostring(value), expected))
end

-- The multiplexed part of the options.
local function multiplexed(o, config, tensors, path)
  o.n, o.demux = config.num_instances, config.demuxing_variant
  if type(o.n) ~= 'number' or o.n < 1 or o.n % 1 ~= 0 then
    wrong(path, 'num_instances', o.n, 'a whole number from 1')
  end
  if not demultiplexers[o.demux] then wrong(path, 'demuxing_variant', o.demux, 'index, mlp or index_pos') end
  local kind = config.muxing_variant
  if not multiplexers[kind] then
    wrong(path, 'muxing_variant', kind, 'gaussian_hadamard, binary_hadamard or random_ortho')
  end
  o.matrices = kind == 'random_ortho'
  o.family = (o.arch == 'bert' or o.demux == 'index_pos') and 'muxplm' or 'datamux'
  local architecture = type(config.architectures) == 'table' and tostring(config.architectures[1]) or ''
  local token = has(tensors, '^demultiplexer%.decoder%.') or has(tensors, '^lm_head%.decoder%.')
  o.output = (token or architecture:find 'TokenClassification') and 'tag' or 'classify'
  o.retrieval = has(tensors, '^retrieval_head%.')
  o.depth = config.num_hidden_demux_layers or 3
  o.ids = prefix_ids[o.arch]
end

-- The head of a plain encoder: pooled and one layer (BERT), two layers (RoBERTa), one layer on each token; or none.
local function headed(o, config, tensors)
  local architecture = type(config.architectures) == 'table' and tostring(config.architectures[1]) or ''
  local out = tensors['classifier.weight']
  if tensors['classifier.dense.weight'] then
    o.head, out = 'dense', tensors['classifier.out_proj.weight']
  elseif out then
    local pooled = has(tensors, '%f[%w]pooler%.dense%.') and not architecture:find 'TokenClassification'
    o.head = pooled and 'pooled' or 'token'
  end
  if not o.head then return o end
  o.classes = out and out.shape[1] or 2
  o.output = o.head == 'token' and 'tag' or o.classes == 1 and 'regress' or 'classify'
  return o
end

-- Options of Published from a config.json and the names in the file.
local function describe(config, file, path, given)
  local arch = config.model_type
  if arch ~= 'roberta' and arch ~= 'bert' then wrong(path, 'model_type', arch, 'roberta or bert') end
  local o = { arch = arch, vocab = config.vocab_size, positions = config.max_position_embeddings,
              types = config.type_vocab_size, width = config.hidden_size, layers = config.num_hidden_layers,
              heads = config.num_attention_heads, inner = config.intermediate_size, pad = config.pad_token_id,
              eps = config.layer_norm_eps }
  for key, at in pairs { vocab_size = 'vocab', max_position_embeddings = 'positions', type_vocab_size = 'types',
                         hidden_size = 'width', num_hidden_layers = 'layers', num_attention_heads = 'heads',
                         intermediate_size = 'inner', pad_token_id = 'pad', layer_norm_eps = 'eps' } do
    if type(o[at]) ~= 'number' then wrong(path, key, o[at], 'a number') end
  end
  local act = config.hidden_act
  if act ~= nil and act ~= 'gelu' then wrong(path, 'hidden_act', act, 'gelu') end
  if config.num_instances == nil then return headed(o, config, file.tensors) end
  multiplexed(o, config, file.tensors, path)
  for k, v in pairs(given.ids or {}) do
    if o.ids == prefix_ids[arch] then o.ids = { filler = o.ids.filler, cls = o.ids.cls, index = o.ids.index } end
    o.ids[k] = v
  end
  o.ids.index = o.ids.index or o.vocab - 2
  local out = o.family == 'muxplm' and 'classifier.weight'
    or o.output == 'tag' and o.demux == 'index' and 'demultiplexer.decoder.weight' or 'demultiplexer.out_proj.weight'
  local entry = file.tensors[out] or file.tensors[out:gsub('^demultiplexer', 'lm_head')]
  o.classes = entry and entry.shape[1] or 2
  if o.output == 'classify' and o.classes == 1 then o.output = 'regress' end
  return o
end

-- -- values ----------------------------------------------------------------------------------------------------------

local pointer = { F32 = ffi.typeof 'const float *', F16 = ffi.typeof 'const uint16_t *',
                  BF16 = ffi.typeof 'const uint16_t *' }
local u = ffi.new 'union { uint32_t i; float f; }'

local function half(h)
  local sign, e, m = h >= 32768 and -1 or 1, bit.band(bit.rshift(h, 10), 31), bit.band(h, 1023)
  if e == 0 then return sign * m * 2 ^ -24 end
  if e == 31 then return m == 0 and sign / 0 or 0 / 0 end
  return sign * (1 + m / 1024) * 2 ^ (e - 15)
end

local function bfloat(h)
  u.i = bit.lshift(h, 16)
  return u.f
end

local function same(v) return v end
local value = { F32 = same, F16 = half, BF16 = bfloat }

-- Copies columns from .. from + width of an entry with `cols` columns to dst; returns how many values.
local function copy(dst, entry, from, width, cols)
  local p, of = ffi.cast(pointer[entry.dtype], entry.ptr), value[entry.dtype]
  local rows = 1
  for _, s in ipairs(entry.shape) do rows = rows * s end
  rows = rows / cols
  if entry.dtype == 'F32' and width == cols and core.real_size == 4 then
    ffi.copy(dst, entry.ptr, entry.bytes)
    return rows * width
  end
  for r = 0, rows - 1 do
    for k = 0, width - 1 do dst[r * width + k] = of(p[r * cols + from + k]) end
  end
  return rows * width
end

-- The shape that sources have together, from the shape of ours: with halves, twice the columns.
local function source_shape(shape, count, part)
  local out = {}
  for i, s in ipairs(shape) do out[i] = s end
  out[1] = out[1] / count
  if part then out[#out] = out[#out] * 2 end
  return out
end

local function shape_text(t) return ('[%s]'):format(table.concat(t, ', ')) end

-- Fills tensor t from its sources; returns nil, or what does not fit.
local function fill(t, entries, list, part)
  local want = source_shape(t:shape(), #list, part)
  for _, name in ipairs(list) do
    local e = entries[name]
    if not value[e.dtype] then return ('%s is %s, expected F32, F16 or BF16'):format(name, e.dtype) end
    if shape_text(e.shape) ~= shape_text(want) then
      return ('%s is %s, expected %s'):format(name, shape_text(e.shape), shape_text(want))
    end
  end
  local host, at = ffi.new(core.real .. '[?]', math.max(t:numel(), 1)), 0
  local cols = want[#want]
  local width = part and cols / 2 or cols
  for _, name in ipairs(list) do
    at = at + copy(host + at, entries[name], part == 2 and width or 0, width, cols)
  end
  t:put(host)
end

-- -- the report ------------------------------------------------------------------------------------------------------

-- Entries by their canonical name; copies of the same values are noted, others of one name do not fit.
local function canonical(file, o, r)
  local out, first, list = {}, {}, {}
  for name in pairs(file.tensors) do list[#list + 1] = name end
  table.sort(list)
  for _, name in ipairs(list) do
    local e, to = file.tensors[name], names.canonical(name, o)
    local other = out[to]
    if not other then
      out[to], first[to] = e, name
    elseif other.bytes == e.bytes
      and (other.ptr == e.ptr or ffi.string(other.ptr, other.bytes) == ffi.string(e.ptr, e.bytes)) then
      r.ignored[#r.ignored + 1] = { name, 'the same values as ' .. first[to] }
    else
      r.misfits[#r.misfits + 1] = ('%s differs from %s, whose copy it is'):format(name, first[to])
    end
  end
  return out, first
end

-- Loads what the model asks for, and says what became of each tensor.
local function read(model, file, o)
  local r = { loaded = {}, ignored = {}, missing = {}, unexpected = {}, misfits = {} }
  local entries, first = canonical(file, o, r)
  local used, list = {}, {}
  for name in pairs(model:named()) do list[#list + 1] = name end
  table.sort(list)
  local tensors = model:named()
  for _, name in ipairs(list) do
    local sources, part = names.sources(name)
    local complete = true
    for _, s in ipairs(sources) do
      if not entries[s] then
        r.missing[#r.missing + 1], complete = s, false
      elseif not used[s] then
        used[s] = true
        r.loaded[#r.loaded + 1] = first[s]
      end
    end
    local why = complete and fill(tensors[name], entries, sources, part)
    if why then r.misfits[#r.misfits + 1] = why end
  end
  for name in pairs(entries) do
    if not used[name] then
      local why = names.ignored(name, o)
      if why then
        r.ignored[#r.ignored + 1] = { first[name], why }
      else
        r.unexpected[#r.unexpected + 1] = first[name]
      end
    end
  end
  for _, k in ipairs { 'loaded', 'missing', 'unexpected' } do table.sort(r[k]) end
  table.sort(r.ignored, function(a, b) return a[1] < b[1] end)
  return r
end

--- A load report in words, a line for each tensor that was not simply loaded.
function M.report(r)
  local out = { ('%d tensors loaded, %d ignored'):format(#r.loaded, #r.ignored) }
  for _, e in ipairs(r.ignored) do out[#out + 1] = ('  ignored: %s (%s)'):format(e[1], e[2]) end
  for _, kind in ipairs { 'missing', 'unexpected', 'misfits' } do
    for _, name in ipairs(r[kind]) do
      out[#out + 1] = ('  %s: %s'):format(kind == 'misfits' and 'does not fit' or kind, name)
    end
  end
  return table.concat(out, '\n')
end

--- Loads a published model. path: a folder with config.json and model.safetensors or pytorch_model.bin, or the file of
--- weights beside its config.json. o: { ids = { filler, cls, index } for another vocabulary than RoBERTa's or BERT's }.
--- Returns { model (a Published), options, config, report = { loaded, ignored = { name, why }.., missing, unexpected,
--- misfits } }. Raises (code 7) where a tensor is missing, unexpected or does not fit, naming each.
function M.load(path, o)
  local dir, weights = locate(path)
  local config, config_path = read_config(dir)
  local file = M.open(weights)
  local options = describe(config, file, config_path, o or {})
  local model = Module.build(Published.new(options))
  local r = read(model, file, options)
  if #r.missing + #r.unexpected + #r.misfits > 0 then
    errors.raise('E704', ('%s: the weights do not belong to its configuration: %s'):format(weights, M.report(r)))
  end
  return { model = model:train(false), options = options, config = config, report = r, file = file, dir = dir }
end

--- True for a folder (or file of weights) whose config.json is not of this program.
function M.is(path)
  local dir = sys.kind(path) == 'file' and (path:match '^(.*)/[^/]+$' or '.') or path
  local ok, t = pcall(cjson.decode, sys.read(dir .. '/config.json') or '')
  return ok and type(t) == 'table' and t.datamux == nil and t.model_type ~= nil
end

-- -- writing ---------------------------------------------------------------------------------------------------------

-- Part k of a host array of `count` equal parts, as a tensor of that shape.
local function part_of(t, shape, k)
  local out, host = Tensor.lasting(shape), t:host()
  return out:put(host + (k - 1) * out:numel())
end

-- Files that belong to a model besides its weights.
local BESIDE = { 'config.json', 'vocab.txt', 'vocab.json', 'merges.txt', 'tokenizer.json', 'tokenizer_config.json',
                 'special_tokens_map.json' }

--- Writes a published model as safetensors in f32, each tensor once under its full name, with its configuration and
--- tokenizer; what was ignored is left out. dst: a new folder. Raises (code 7) as load does, before anything is
--- written, and (code 2) where dst holds something. Returns the load report.
function M.convert(src, dst)
  if #sys.list(dst) > 0 then
    errors.raise('E218', ("convert: DST is '%s', which is not empty, expected a new folder"):format(dst))
  end
  local m = M.load(src)
  local entries = canonical(m.file, m.options, { ignored = {}, misfits = {} })
  local out = {}
  for name in pairs(m.model:named()) do
    for _, source in ipairs((names.sources(name))) do
      if not out[source] then
        out[source] = Tensor.lasting(entries[source].shape)
        fill(out[source], entries, { source })
      end
    end
  end
  sys.mkdir(dst)
  for _, name in ipairs(BESIDE) do
    local bytes = sys.read(m.dir .. '/' .. name)
    if bytes then sys.write(dst .. '/' .. name, bytes) end
  end
  safetensors.write(dst .. '/model.safetensors', out, { format = 'pt' })
  return m.report
end

-- The position table of a Plain, which counts from 0, with the rows of RoBERTa's, which counts from pad + 1.
local function shifted(t, pad)
  local rows, cols = t:size(1), t:cols()
  local host, out = t:host(), ffi.new(core.real .. '[?]', (rows + pad + 1) * cols)
  ffi.copy(out + (pad + 1) * cols, host, t:bytes())
  return Tensor.lasting({ rows + pad + 1, cols }):put(out)
end

-- The encoder of a Plain as RoBERTa's: its one segment is a row of zeros.
local function roberta(model)
  local e, out = 'roberta.embeddings.', {}
  for name, t in pairs(model:named()) do
    if name:find '^encoder%.' or name:find '^embeddings%.LayerNorm' then out['roberta.' .. name] = t end
  end
  local x = model.embeddings
  out[e .. 'word_embeddings.weight'] = x.word
  out[e .. 'position_embeddings.weight'] = shifted(x.position, model.o.vocab.pad)
  out[e .. 'token_type_embeddings.weight'] = Tensor.lasting({ 1, model.o.width }):fill(0)
  return out
end

--- Writes the encoder (embeddings and layers) of a model to a safetensors file under Hugging Face's names. model: a
--- Published, or a Plain (as RoBERTa; its table has pad + 1 positions more). Raises for another model (Hugging Face has
--- no class for it), and (code 4) where the file cannot be written.
function M.export(model, path)
  if model.class ~= 'Published' and model.class ~= 'Plain' then
    core.raise(("export: model is a %s, expected a Plain or an imported one"):format(tostring(model.class)))
  end
  local out, prefix = {}, '^' .. (model.o.arch or 'roberta') .. '%.'
  for name, t in pairs(model.class == 'Plain' and roberta(model) or model:named()) do
    if name:find(prefix) then
      local sources = names.sources(name)
      local shape = source_shape(t:shape(), #sources)
      for k, source in ipairs(sources) do out[source] = #sources == 1 and t or part_of(t, shape, k) end
    end
  end
  safetensors.write(path, out, { format = 'pt' })
end

return M
