-- commands/model.lua -- datamux model ACTION: finished models looked at, written in another form, fetched and removed.
local M = { name = 'model', summary = 'get, list, look at, export, import, quantize and remove models' }

local MODEL = 'a run (folder, name or id), RUN:best, RUN:last, RUN:step-N, a model folder, a folder of RoBERTa, BERT, '
  .. 'DataMUX or MUX-PLM, or a name in the cache'

function M.configure(p, take)
  p:command_target 'action'
  local function action(name, text, to)
    local c = p:command(name, text)
    c:argument('model', MODEL)
    if to then c:option('--to', to):argname 'DIR' end
    take(c, 'device threads trust')
    return c
  end
  take(p:command('ls', 'the models in the cache'), 'json')
  local get = p:command('get', 'download models of the Hugging Face hub into the cache')
  get:argument('names', 'NAME, OWNER/NAME or OWNER/NAME@REVISION'):args '+'
  get:option('--sha256', 'what the weights must have'):argname 'HEX'
  take(get, 'offline')
  take(action('info', 'what it is, and which tensors were loaded'), 'json')
  action('export', 'write its folder', 'the new folder (default RUN/model)')
  action('import', 'write a folder of ours of a model of another program',
    'the new folder (default: the same name, here)')
  action('quantize', 'write a folder of it in 8-bit integers, for the CPU',
    'the new folder (default: RUN/model-int8, or FOLDER-int8)')
  action('convert', 'write a model of another program as safetensors, its names kept', 'the new folder')
    :argument('to_folder', 'the new folder'):args '?'
  action('card', 'its model card')
  p:command('rm', 'remove models from the cache'):argument('names', 'as ls shows them'):args '+'
end

local actions = {}

-- In a few words, what a folder in the cache holds: "bert, N = 10".
local function kind_of(folder)
  local bytes = require('datamux.sys').read(folder .. '/config.json')
  local ok, c = pcall(require('cjson').decode, bytes or '')
  if not ok or type(c) ~= 'table' then return '-' end
  local n = tonumber(c.num_instances) or type(c.mux) == 'table' and tonumber(c.mux.n) or 1
  return ('%s, N = %d'):format(tostring(c.model_type), n)
end

function actions.ls(o)
  local hub, columns, json = require 'datamux.hub', require 'datamux.columns', require 'datamux.json'
  local list, rows = hub.list(), { { 'name', 'model', 'size', 'state', 'folder' } }
  for _, m in ipairs(list) do
    rows[#rows + 1] = { m.name, kind_of(m.folder), columns.bytes(m.bytes), m.complete and (m.commit or '-'):sub(1, 12)
      or 'broken off', m.folder }
  end
  return require('datamux.commands').emit(o, json.list(list), #list > 0 and columns.text(rows)
    or 'no models in the cache (datamux model get NAME); those of runs: datamux runs ls')
end

function actions.get(o)
  local hub = require 'datamux.hub'
  for _, name in ipairs(o.names) do
    local folder, list = hub.get(name, { sha256 = o.sha256, note = function(text) io.stderr:write(text, '\n') end })
    for _, e in ipairs(list) do io.stderr:write(('%s  %s\n'):format(e[2], e[1])) end
    print(folder)
  end
  return 0
end

function actions.rm(o)
  for _, name in ipairs(o.names) do require('datamux.hub').remove(name) end
  return 0
end

-- info of a model of another program: what it is, and what became of each tensor.
local function info_published(o)
  local import, json, plural = require 'datamux.import', require 'datamux.json', require 'datamux.plural'
  local m = import.load(o.model)
  local p = m.options
  if o.json then
    print(json.encode { path = o.model, published = true, architecture = p.arch, n = p.n or 1, demux = p.demux,
      output = p.output, classes = p.classes, parameters = m.model:count(), tensors = json.list(m.report.loaded) })
    return 0
  end
  print(('published model %s: %s, %s of %d%s'):format(o.model, p.arch, plural.of(p.layers, 'layer'), p.width, p.demux
    and (', N = %d, %s demultiplexer, %s, %d classes'):format(p.n, p.demux, p.output, p.classes)
    or p.output and (', %s, %d classes'):format(p.output, p.classes) or ', no head'))
  print(('%.1f M parameters'):format(m.model:count() / 1e6))
  print(import.report(m.report))
  print(tostring(m.model))
  return 0
end

function actions.info(o)
  if require('datamux.import').is(o.model) then return info_published(o) end
  local saved, json = require 'datamux.saved', require 'datamux.json'
  local m = saved.load(o.model)
  if o.json then
    local tok = m.tokenizer or {}
    print(json.encode { path = m.path, step = m.step, n = m.n, output = m.output, labels = json.list(m.labels),
      tokenizer = tok.kind, vocabulary = tok.vocab_size, parameters = m.model:count(), dtype = m.dtype,
      tensors = json.list(m.report.loaded), config = m.config })
    return 0
  end
  print(m)
  local reads = m.images and ('images of %d x %d'):format(m.data.height, m.data.width)
    or ('tokenizer %s, %d entries · texts of up to %d tokens'):format(m.tokenizer.kind, m.tokenizer.vocab_size,
      m.config.data.length)
  print(('%s%.2f M parameters, %s · %s'):format(m.step and ('step %d · '):format(m.step) or '', m.model:count() / 1e6,
    m.dtype, reads))
  print(saved.report(m.report))
  print(m.model)
  return 0
end

function actions.export(o)
  print((require('datamux.saved').export(o.model, { to = o.to })))
  return 0
end

actions['import'] = function(o)
  local saved = require 'datamux.saved'
  local dir, report = saved.export(o.model, { to = o.to or o.model:match '([^/]+)/*$' })
  io.stderr:write(saved.report(report), '\n')
  print(dir)
  return 0
end

function actions.quantize(o)
  local saved = require 'datamux.saved'
  local bare = o.model:gsub(':[%w-]+$', ''):gsub('/+$', '')
  local run = saved.run_of(bare)
  local to = o.to or run and run .. '/model-int8' or bare .. '-int8'
  print((saved.export(o.model, { to = to, int8 = true })))
  return 0
end

function actions.convert(o)
  local errors, import = require 'datamux.errors', require 'datamux.import'
  local to = o.to_folder or o.to
  if not to then
    errors.raise('E200', { what = 'the new folder is missing, expected one after the model',
      fix = ('datamux model convert %s NEW_FOLDER'):format(o.model) })
  end
  local config = require('datamux.sys').read(o.model .. '/config.json') or ''
  if require('datamux.saved').run_of(o.model) or config:find '"datamux"%s*:' then
    errors.raise('E706', { what = ("'%s' is a model of datamux, expected one of another program"):format(o.model),
      fix = ('datamux model export %s --to %s'):format(o.model, to) })
  end
  print(import.report(import.convert(o.model, to)))
  print(to)
  return 0
end

function actions.card(o)
  io.write(require('datamux.saved').card_of(o.model))
  return 0
end

function M.run(o)
  local offers = { ls = true, get = true, rm = true }
  if not offers[o.action] then
    require('datamux.launch').device(o.device or 'cpu', o.threads)
    if not require('datamux.sys').kind(o.model) then o.model = require('datamux.hub').find(o.model) or o.model end
  end
  return actions[o.action](o)
end

return M
