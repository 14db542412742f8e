-- import/use.lua -- a published model as a finished one of ours: its tokenizer, labels, task and configuration.
local errors = require 'datamux.errors'
local glue = require 'datamux.data.glue'
local conll = require 'datamux.data.conll'
local recipe = require 'datamux.recipe'
local tokenizer = require 'datamux.import.tokenizer'

local M = {}

-- Texts of multiplexed ones are padded to this, as they were when those were trained: their padding is attended.
local MUXED_LENGTH = 128

-- The name of our task that a config.json says it was made for, or nil.
local function task_of(config, output)
  local name = config.finetuning_task
  if type(name) ~= 'string' then return nil end
  name = name:lower():gsub('^glue/', ''):gsub('[-_]', '')
  local task = glue.tasks[name]
  if task then return (task.output or 'classify') == output and name or nil end
  return output == 'tag' and (name == 'ner' or name == 'conll2003') and 'conll2003' or nil
end

-- Names of the answers: those of the configuration; where it has none, those of the task in Hugging Face's order.
local function labels_of(config, p, task)
  if p.output == 'regress' then return {} end
  local given, named = type(config.id2label) == 'table' and config.id2label or {}, false
  local out = {}
  for id, name in pairs(given) do
    local k = tonumber(id)
    if not k or k < 0 or k >= p.classes or type(name) ~= 'string' then
      errors.raise('E702', ('config.json: id2label has %s: %s, expected names for 0 .. %d'):format(tostring(id),
        tostring(name), p.classes - 1))
    end
    out[k + 1], named = name, named or not name:find '^LABEL_%d+$'
  end
  local usual = task == 'conll2003' and conll.labels or task and glue.tasks[task].labels
  if not named and usual and #usual == p.classes then return usual end
  for k = 1, p.classes do out[k] = out[k] or 'LABEL_' .. k - 1 end
  return out
end

--- The longest text of a model, in tokens. p: options of models/published.lua; longest: what its tokenizer says.
local function length_of(p, longest)
  local places = p.positions - (p.arch == 'roberta' and p.pad + 1 or 0)
  if p.demux == 'index' then places = places - p.n - 1 end
  return math.min(places, p.demux and MUXED_LENGTH or longest or places)
end

--- Our configuration of a published model: sizes, N, length of texts, the task if it is known.
function M.configuration(p, d, name)
  local length = length_of(p, d.longest)
  local config = recipe.resolve({ name = name, task = d.task or 'synthetic', mux = { n = 1 },
    model = { kind = 'plain', layers = p.layers, width = p.width, heads = p.heads, inner = p.inner, dropout = 0,
              positions = p.positions, norm_eps = p.eps },
    data = { length = length, fixed = p.demux ~= nil } }, { file = name })
  config.task, config.model.kind, config.mux.n = d.task, 'published', p.n or 1
  config.mux.kind, config.demux.kind, config.demux.read = p.demux and (p.matrices and 'ortho' or 'hadamard') or 'none',
    p.demux or 'none', p.output == 'tag' and 'token' or 'cls'
  return config
end

--- What an open published model (see import.load) answers and reads: { tok, label_names, output, pairs, task, longest,
--- published (its options) }. Raises (code 7) for one without a head, or whose tokenizer does not fit.
function M.data(m)
  local p = m.options
  if not p.output then
    errors.raise('E704', { what = m.dir .. ': an encoder without a head, which answers nothing',
      fix = 'give a model with a head of classification; the encoder alone: require(\'datamux.import\').load' })
  end
  local tok, longest = tokenizer.open(m.dir, p)
  p.eos = tok.eos
  local task = task_of(m.config, p.output)
  return { tok = tok, label_names = labels_of(m.config, p, task), output = p.output, task = task, longest = longest,
           pairs = task ~= nil and glue.tasks[task] ~= nil and glue.tasks[task].pair ~= nil, published = p }
end

return M
