-- import/command.lua -- datamux model info and convert, for models of other programs.
local errors = require 'datamux.errors'
local import = require 'datamux.import'
local json = require 'datamux.json'
local plural = require 'datamux.plural'
local sys = require 'datamux.sys'

local M = {}

--- True where a path holds a model of another program.
M.has = import.is

--- datamux model info FOLDER: what it is, and what became of each tensor.
function M.info(o)
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

--- datamux model convert SRC DST.
function M.convert(o)
  local to = o.to_folder or o.to
  if not to then
    errors.raise('E200', { what = 'the new folder is missing, expected one after the model',
      fix = ('datamux model convert %s NEW_FOLDER'):format(o.model) })
  end
  if require('datamux.saved').run_of(o.model) or (sys.read(o.model .. '/config.json') or ''):find '"datamux"%s*:' then
    errors.raise('E706', { what = ("'%s' is a model of datamux, expected one of another program"):format(o.model),
      fix = ('datamux model export %s --to %s'):format(o.model, to) })
  end
  print(import.report(import.convert(o.model, to)))
  print(to)
  return 0
end

return M
