-- commands/model.lua -- datamux model ACTION MODEL: look at a finished model, or export it.
local M = { name = 'model', summary = 'look at a finished model, export it' }

function M.configure(p)
  p:argument('action', 'info (what it is, which tensors were loaded), export (write its folder), card (its README)')
    :choices { 'info', 'export', 'card' }
  p:argument('model', 'a run directory, RUN:best, RUN:last, RUN:step-N, or a model folder')
  p:option('--to', 'export: the new folder (default: RUN/model)'):argname 'DIR'
end

local function info(o)
  local saved, json = require 'datamux.saved', require 'datamux.json'
  local m = saved.load(o.model)
  if o.json then
    print(json.encode { path = m.path, step = m.step, n = m.n, output = m.output, labels = json.list(m.labels),
      tokenizer = m.tokenizer.kind, vocabulary = m.tokenizer.vocab_size, parameters = m.model:count(),
      tensors = json.list(m.report.loaded), config = m.config })
    return 0
  end
  print(m)
  print(('step %s · %.1f M parameters · tokenizer %s, %d entries · texts of up to %d tokens'):format(
    tostring(m.step or '-'), m.model:count() / 1e6, m.tokenizer.kind, m.tokenizer.vocab_size, m.config.data.length))
  print(saved.report(m.report))
  print(m.model)
  return 0
end

function M.run(o)
  local saved = require 'datamux.saved'
  require('datamux.launch').device(o.device or 'cpu', o.threads)
  if o.action == 'info' then return info(o) end
  if o.action == 'export' then
    print(saved.export(o.model, { to = o.to }))
    return 0
  end
  io.write(saved.card_of(o.model))
  return 0
end

return M
