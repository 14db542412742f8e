-- commands/model.lua -- datamux model ACTION MODEL: look at a finished model, export it, convert a published one.
local M = { name = 'model', summary = 'look at a finished model, export it, import a published one' }

function M.configure(p)
  p:argument('action', 'info (what it is, which tensors were loaded), export (write its folder), import (a published '
    .. 'model: write our folder of it), card (its README), convert (a published model: PyTorch or safetensors to '
    .. 'safetensors, names kept)')
    :choices { 'info', 'export', 'import', 'card', 'convert' }
  p:argument('model', 'a run directory, RUN:best, RUN:last, RUN:step-N, a model folder, or '
    .. 'a folder of RoBERTa, BERT, DataMUX or MUX-PLM')
  p:argument('to_folder', 'convert: the new folder'):args '?'
  p:option('--to', 'export, import, convert: the new folder (default: export RUN/model; import: the same name, here)')
    :argname 'DIR'
end

local function info(o)
  local saved, json = require 'datamux.saved', require 'datamux.json'
  local m = saved.load(o.model)
  if o.json then
    local tok = m.tokenizer or {}
    print(json.encode { path = m.path, step = m.step, n = m.n, output = m.output, labels = json.list(m.labels),
      tokenizer = tok.kind, vocabulary = tok.vocab_size, parameters = m.model:count(),
      tensors = json.list(m.report.loaded), config = m.config })
    return 0
  end
  print(m)
  local reads = m.images and ('images of %d x %d'):format(m.data.height, m.data.width)
    or ('tokenizer %s, %d entries · texts of up to %d tokens'):format(m.tokenizer.kind, m.tokenizer.vocab_size,
      m.config.data.length)
  print(('step %s · %.2f M parameters · %s'):format(tostring(m.step or '-'), m.model:count() / 1e6, reads))
  print(saved.report(m.report))
  print(m.model)
  return 0
end

function M.run(o)
  local saved = require 'datamux.saved'
  require('datamux.launch').device(o.device or 'cpu', o.threads)
  local published = require 'datamux.import.command'
  if o.action == 'convert' then return published.convert(o) end
  if o.action == 'info' then return (published.has(o.model) and published.info or info)(o) end
  if o.action == 'import' then
    local dir, report = saved.export(o.model, { to = o.to or o.to_folder or o.model:match '([^/]+)/*$' })
    io.stderr:write(saved.report(report), '\n')
    print(dir)
    return 0
  end
  if o.action == 'export' then
    print(saved.export(o.model, { to = o.to }))
    return 0
  end
  io.write(saved.card_of(o.model))
  return 0
end

return M
