-- assemble.lua -- from a resolved configuration to its parts: tokenizer and data sets, model, stages.
local TMux = require 'datamux.models.tmux'
local Plain = require 'datamux.models.plain'
local Cnn = require 'datamux.models.cnn'
local Mlp = require 'datamux.models.mlp'
local fit = require 'datamux.models.fit'
local errors = require 'datamux.errors'
local plural = require 'datamux.plural'
local corpus = require 'datamux.data.corpus'
local loader = require 'datamux.data.loader'
local cache = require 'datamux.data.cache'
local encode = require 'datamux.data.encode'
local task = require 'datamux.data.task'
local text = require 'datamux.text'

local M = {}

local function tokenizer(config, train)
  local v = config.model.vocab
  if v.kind == 'bpe' or v.kind == 'wordpiece' then
    local function find(name) return cache.find('vocab/' .. v.name, name) end
    if v.kind == 'bpe' then
      return text.load { kind = 'bpe', vocab = find 'vocab.json', merges = find 'merges.txt' }
    end
    return text.load { kind = 'wordpiece', vocab = find 'vocab.txt', lower = v.lower }
  end
  return text.train { kind = v.kind, lines = encode.texts(train), vocab_size = v.size }
end

-- The first `n` examples of a set as read (n: nil for all).
local function first(set, n)
  if not n or n >= set.n then return set end
  local part = { n = n }
  for _, name in ipairs { 'texts', 'pairs', 'words', 'gold', 'lines' } do
    part[name] = set[name] and {}
    for i = 1, set[name] and n or 0 do part[name][i] = set[name][i] end
  end
  return setmetatable(part, { __index = set })
end

-- Data of an image task: as M.data's, without tokenizer.
local function image_data(config, t)
  t.train.draw, t.dev.blocks = config.data.draw, config.eval.blocks
  t.train.task, t.dev.task = t, t
  return { train = t.train, dev = t.dev, task = t, output = t.output, label_names = t.label_names, retrieval = false,
           height = t.train.height, width = t.train.width, eval_rows = config.train.rows }
end

--- Data of a configuration: { tok, train, dev (encoded sets), task (see task.open), output ('classify', 'regress' or
--- 'tag'), label_names, pairs (whether it reads two texts), warmup (the set of the warm-up), held_out (texts the
--- warm-up never sees), retrieval (whether there is a retrieval head), eval_rows, pad }; images have height and width
--- and no tok, pad, warmup and held_out.
--- Raises where a data file is absent or does not fit, before any other work.
function M.data(config)
  if config.eval.ensemble > config.mux.n then
    errors.raise('E203', ('eval.ensemble is %d, expected at most mux.n = %d: each text takes another slot'):format(
      config.eval.ensemble, config.mux.n))
  end
  local t = task.open(config)
  t.train = first(t.train, config.data.limit)
  if fit.images(config) then return image_data(config, t) end
  local length = config.data.length
  local tok = tokenizer(config, t.train)
  local d = { tok = tok, pad = tok.pad, task = t, output = t.output, label_names = t.label_names,
              pairs = t.train.pairs ~= nil, retrieval = config.model.kind == 'tmux' }
  d.train, d.dev = encode.set(tok, t.train, length), encode.set(tok, t.dev, length)
  d.train.task, d.dev.task = t, t
  d.warmup, d.held_out = d.train, d.dev
  if d.retrieval and config.data.warmup.source ~= 'task' and config.warmup.steps > 0 then
    d.warmup, d.held_out = corpus.encode(tok, config.data.warmup.source, {
      length = length, chunk = config.data.warmup.chunk, held_out = config.data.warmup.held_out })
  end
  d.eval_rows = config.train.rows
  return d
end

local function image_model(config, data)
  local x = config.mux
  local o = { n = x.n, height = data.height, width = data.width, classes = #data.label_names, mux = x.kind,
              channels = x.channels, learn = x.learn, sign = x.sign, init = x.init,
              reduce = x.reduce == 'auto' and 'sum' or x.reduce, loss = config.train.loss }
  return (config.model.kind == 'cnn' and Cnn or Mlp).new(o)
end

--- The model of a configuration, not yet built (see Module.build). data: { tok, label_names, output ('classify' when
--- absent; 'regress' has one output), of images { label_names, height, width } }. Raises (code 2) for a read-out that
--- does not suit the output.
function M.model(config, data)
  if fit.images(config) then return image_model(config, data) end
  local m, x, d = config.model, config.mux, config.demux
  local output = data.output or 'classify'
  local why, instead = fit.read(d.read, output)
  if why then errors.raise('E215', { what = why, fix = instead }) end
  local o = { vocab = { size = data.tok.vocab_size, pad = data.tok.pad }, layers = m.layers, width = m.width,
              heads = m.heads, inner = m.inner, dropout = m.dropout, positions = m.positions, eps = m.norm_eps,
              init = m.init, output = output, classes = output == 'regress' and 1 or #data.label_names,
              twice = m.embed_twice, read = output == 'tag' and 'token' or d.read }
  if m.kind == 'plain' then
    o.read = (o.read == 'first' or o.read == 'cls') and 'cls' or o.read == 'mean' and 'pool' or o.read
    return Plain.new(o)
  end
  o.n, o.mux, o.norm, o.overlap = x.n, x.kind, x.norm == 'sqrt' and math.sqrt(m.width) or x.norm, x.overlap
  o.reduce, o.learn, o.skip = x.reduce, x.learn, x.pads == 'skip'
  o.demux, o.key, o.rank = d.kind, d.key, d.rank
  o.retrieval, o.tied, o.mask = d.retrieval, d.tied, d.mask
  return TMux.new(o)
end

local function stage_loader(config, data, set, rows, site)
  return loader.new(set, {
    rows = rows, group = config.mux.n, length = config.data.length, pad = data.pad, site = site,
    multiple = config.data.multiple, fixed = config.data.fixed, bucket = config.data.bucket, shuffle = true,
    seed = config.seed, drop_last = true })
end

-- Raises E216 where one update of a stage takes more texts than its set has, with values that fit all stages.
-- plan: { name, o (its values), set } of each.
local function refuse_rows(config, plan)
  local n, what, words = config.mux.n, nil, {}
  for _, s in ipairs(plan) do n = math.min(n, s.set.n) end
  if n < config.mux.n then words[1] = 'mux.n=' .. n end
  for _, s in ipairs(plan) do
    local times = s.o.accumulate or 1
    local texts = s.o.rows * config.mux.n * times
    if texts > s.set.n then
      what = what or ('%s.rows is %d: one update takes %d texts (%s of N = %d%s), expected at most the %d there are')
        :format(s.name, s.o.rows, texts, plural.of(s.o.rows, 'row'), config.mux.n,
          times > 1 and (', %d times'):format(times) or '', s.set.n)
      local rows = math.floor(s.set.n / (n * times))
      words[#words + 1] = ('%s.rows=%d'):format(s.name, math.max(1, rows))
      if rows < 1 then words[#words + 1] = ('%s.accumulate=%d'):format(s.name, math.floor(s.set.n / n)) end
    end
  end
  if what then errors.raise('E216', { what = what, fix = table.concat(words, ' ') }) end
end

--- The stages of a configuration, in order: retrieval warm-up (where there is one), then the task. Raises E216.
function M.stages(config, data)
  local list, plan = {}, {}
  if data.retrieval and config.warmup.steps > 0 then
    plan[1] = { name = 'warmup', o = config.warmup, set = data.warmup, site = 301 }
  end
  if config.train.steps ~= 0 and (config.train.steps or config.train.epochs) then
    plan[#plan + 1] = { name = 'train', o = config.train, set = data.train, site = 302 }
  end
  refuse_rows(config, plan)
  for _, s in ipairs(plan) do
    local name, o = s.name, s.o
    local batches = stage_loader(config, data, s.set, o.rows, s.site)
    local per_epoch = math.floor(batches:steps_per_epoch() / (o.accumulate or 1))
    local steps = o.steps or math.floor(o.epochs * per_epoch)
    list[#list + 1] = {
      name = name, steps = steps, loader = batches, task = name == 'train', lr = o.lr, schedule = o.schedule,
      warmup = o.warmup, decay = o.decay, clip = o.clip, alpha = o.alpha or 1, grow = o.grow or 0,
      accumulate = o.accumulate or 1, beta1 = config.train.beta1, beta2 = config.train.beta2,
      eps = config.train.eps, stop = o.stop, patience = o.patience, targets = o.targets,
      every = math.max(1, math.min(steps, o.every and math.floor(o.every) or per_epoch)) }
  end
  if config.model.kind == 'plain' then list[#list].alpha = 0 end
  return list
end

return M
