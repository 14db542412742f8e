-- predict_images.lua -- from files of images to answers, one a line and in their order.
-- Which images share a row is drawn anew for each file, from their number alone: a file sorted by class would else give
-- rows of one class, which training never saw. --group file takes them by their places.
local errors = require 'datamux.errors'
local evaluate = require 'datamux.evaluate'
local images = require 'datamux.data.images'
local predict = require 'datamux.predict'
local render = require 'datamux.render'

local M = {}

local formats = { text = true, jsonl = true, tsv = true, csv = true }

--- The images of an IDX file, cut as the model's task cuts them. labels: an IDX file of theirs, or nil. Raises code 3.
function M.read(model, path, labels)
  return images.read_files(path, labels, images.tasks[model.config.task])
end

--- The answers to a set of images, as a scored predictor (see predict.lua): best, probabilities. o: { group = 'length'
--- | 'file', ensemble, rows }.
function M.answers(model, set, o)
  local options = require('datamux.saved').options(model)
  options.rows = o.rows or options.rows
  if o.group == 'file' then options.order = 'data' end
  local k = o.ensemble or 1
  local out = k > 1 and evaluate.ensemble(model.model, set, options, k) or evaluate.outputs(model.model, set, options)
  return predict.scored(model, out.values, out.K)
end

--- Answers the images of IDX files. o: { files, output ('same' is text), k, scores, threshold (see render.new), group,
--- ensemble, rows, header (false: none), sink (gets the output: a function) }. Returns the number of images.
function M.run(model, o)
  local format = o.output == 'same' and 'text' or o.output
  if not formats[format] then
    errors.raise('E215', ("--out is '%s': answers to images are text, jsonl, tsv or csv\n  fix: --out jsonl"):format(
      format))
  end
  local total, source = 0, { format = 'text' }
  for i, path in ipairs(o.files) do
    local set = M.read(model, path)
    local p = M.answers(model, set, o)
    local w = render.new(p, model, { format = format, k = o.k, scores = o.scores, threshold = o.threshold,
                                     keep = 'none', header = o.header })
    local head = w:begin(source, {})
    local out, record = {}, { source = source }
    for k = 0, set.n - 1 do out[k + 1] = w:record(record, k) end
    o.sink((i == 1 and head or '') .. table.concat(out, '\n') .. '\n')
    total = total + set.n
  end
  return total
end

return M
