-- card.lua -- the model card of a finished model: README.md of its folder.
local fit = require 'datamux.models.fit'
local plural = require 'datamux.plural'

local M = {}

local function metrics(r)
  if not r or not r.value then return 'Not measured.' end
  local out = { '| measure | value |', '| --- | --- |',
    ('| %s, mean of %s | %s |'):format(r.metric, plural.of(#r.groupings, 'random grouping'), r.value ~= r.value
      and 'undefined' or ('%.4f (std %.4f)'):format(r.value, r.std)),
    ('| scored | %d of %d |'):format(r.scored, r.total) }
  if r.retrieval then out[#out + 1] = ('| retrieval accuracy, held-out text | %.4f |'):format(r.retrieval) end
  return table.concat(out, '\n')
end

local MATES = [[

## Answers depend on neighbours

This model reads N = %d inputs in one pass. The others that share a pass change the score of one a little, and near the
border between two labels sometimes the label: `datamux eval MODEL` prints how often (flip rate). The same file gives
the same answers every time. `--ensemble K` reads each input K times, in other places beside others, and averages.]]

-- "A multiplexed Transformer for `sst2`: ..."
local function first_line(config, task, count)
  local n, many = config.mux.n, config.mux.n > 1 and 'multiplexed' or 'plain'
  if fit.images(config) then
    return ('A %s %s for `%s`: %.1f k parameters%s.'):format(many, config.model.kind:upper(), task, count / 1e3,
      n > 1 and (', N = %d images per pass (multiplexer %s)'):format(n, config.mux.kind) or '')
  end
  return ('A %s Transformer for `%s`: %s of %d, %.1f M parameters%s.'):format(many, task,
    plural.of(config.model.layers, 'layer'), config.model.width, count / 1e6,
    n > 1 and (', N = %d texts per pass (%s keys, %s demultiplexer, %s read-out)'):format(n, config.mux.kind,
      config.demux.kind, config.demux.read) or '')
end

-- A file that the model answers, and the same for model:predict.
local function example(data)
  if not data.tok then return 'images-idx3-ubyte', "'images-idx3-ubyte'" end
  if data.output == 'tag' then return 'sentences.conll', "{ { 'Anna', 'lives', 'here' } }" end
  if data.pairs then return 'pairs.tsv', "{ { 'a text', 'its other' } }" end
  return 'reviews.txt', "{ 'a text', 'another' }"
end

--- The text of a card. data: { label_names, tok (nil: images), pairs, published (a model of another program) };
--- results: what Session:results gives, or nil; count: parameters.
function M.text(config, data, results, count)
  local own = config.task == 'own'
  local task = own and config.name or config.task or 'unnamed data'
  local names = data.label_names or {}
  local file, texts = example(data)
  return table.concat({ ('# %s'):format(config.name), '', first_line(config, task, count), '',
    '## Use', '', '```', 'datamux predict MODEL_FOLDER ' .. file,
    'datamux eval MODEL_FOLDER' .. (own and ' FILE' or ''), '```', '',
    ("From Lua: `dm.load('MODEL_FOLDER'):predict(%s)`."):format(texts), '',
    (#names > 0 and ('Labels: %s. '):format(table.concat(names, ', ')) or '') .. (data.tok
      and ('Texts are cut after %d tokens (%s).'):format(config.data.length, data.tok.kind) or ''), '',
    '## Results', '', metrics(results), '', '## Data', '',
    data.published and 'A published model in another form; its source says what it was trained on.'
      or own and 'Trained on files of its maker, which are not part of this folder; scored on others.'
      or ('Trained on the training split of `%s`; scored on its validation split. The licence of the data is that of '
        .. 'its owner.'):format(task),
    config.mux.n > 1 and MATES:format(config.mux.n) or nil }, '\n') .. '\n'
end

return M
