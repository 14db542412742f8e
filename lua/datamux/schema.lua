-- schema.lua -- every key a recipe may have: type, default, limits, and one line of explanation.
local mux = require 'datamux.nn.mux'
local demux = require 'datamux.nn.demux'
local imagemux = require 'datamux.nn.imagemux'

local M = {}

local function leaf(name, kind, default, doc, o)
  local e = { name = name, kind = kind, default = default, doc = doc }
  for k, v in pairs(o or {}) do e[k] = v end
  return e
end

local function group(name, doc, entries) return { name = name, doc = doc, entries = entries } end

-- Multiplexers of texts and of images; which of them suits the model, models/fit.lua knows.
local multiplexers = {}
mux.follow(multiplexers)
imagemux.follow(multiplexers)

local positive, whole = { min = 1 }, { min = 0 }

-- What a finished run may be held to: one group for each score.
local function floors()
  local out = {}
  for _, name in ipairs { 'accuracy', 'f1', 'macro_f1', 'mcc', 'pearson', 'spearman', 'retrieval' } do
    out[#out + 1] = group(name, 'this score', {
      leaf('at_least', 'number', nil, 'datamux test RECIPE exits with 10 below it', { min = -1, max = 1,
        optional = true }) })
  end
  return out
end

local schedule = { choice = { 'linear', 'cosine', 'constant' } }

local function optimisation(entries)
  for _, e in ipairs {
    leaf('lr', 'number', 5e-4, 'peak learning rate', { min = 0 }),
    leaf('rows', 'integer', 8, 'mixed rows per step; a step reads rows * mux.n texts', positive),
    leaf('schedule', 'string', 'linear', 'shape of the learning rate after its rise', schedule),
    leaf('warmup', 'number', 0.1, 'part of the steps over which the rate rises', { min = 0, max = 1 }),
    leaf('decay', 'number', 0.01, 'decoupled weight decay', { min = 0 }),
    leaf('clip', 'number', 1, 'largest norm of the gradients; 0: no clipping', { min = 0 }),
    leaf('every', 'integer', nil, 'steps between evaluations; default: an epoch', { min = 1, optional = true }),
    leaf('targets', 'integer', 1, 'retrieval: instances asked for at each position', positive),
  } do entries[#entries + 1] = e end
  return entries
end

M.root = group('recipe', 'a run', {
  leaf('name', 'string', nil, 'name of the run and of its folder; default: the name of the file',
    { optional = true }),
  leaf('task', 'string', nil, 'what is learned: a name, or a table for files of your own', { choice = {
    'sst2', 'qnli', 'mnli', 'mnli_mismatched', 'qqp', 'mrpc', 'rte', 'cola', 'stsb', 'wnli', 'conll2003', 'synthetic',
    'mnist', 'own' }, table = 'own', entries = {
    leaf('type', 'string', nil, 'own files: a label, a number or a label for each word',
      { choice = { 'classify', 'regress', 'tag' }, optional = true, at = 'own.type' }),
    leaf('train', 'string', nil, 'own files: to learn from', { optional = true, at = 'own.train' }),
    leaf('dev', 'string', nil, 'own files: to score on', { optional = true, at = 'own.dev' }),
    leaf('format', 'string', nil, 'own files: default by the name of the file',
      { choice = { 'tsv', 'csv', 'jsonl', 'conll' }, optional = true, at = 'own.format' }),
    leaf('text', 'column', nil, 'own files: column of texts (sentence; tokens for jsonl tags; 1 for conll)',
      { optional = true, at = 'own.text' }),
    leaf('pair', 'column', nil, 'own files: column of second texts', { optional = true, at = 'own.pair' }),
    leaf('label', 'column', nil, 'own files: column of labels (label; tags for jsonl tags; the last for conll)',
      { optional = true, at = 'own.label' }),
    leaf('labels', 'list', nil, 'own files: the labels in order; default: those that occur',
      { optional = true, at = 'own.labels' }),
  } }),
  leaf('seed', 'integer', 42, 'of initial values, order, dropout', whole),
  leaf('profile', 'string', 'auto', 'which part of `profiles`; auto: small on a CPU, else paper',
    { choice = { 'auto', 'small', 'paper' } }),
  leaf('device', 'string', 'auto', 'auto, cpu, cuda or cuda:N'),
  leaf('precision', 'string', 'f32', 'type of activations and of the weights that are read; bf16 keeps f32 masters',
    { choice = { 'f32', 'bf16' } }),
  leaf('capture', 'boolean', true, 'GPU: a step is recorded once for each padded length, and replayed'),
  group('model', 'the network', {
    leaf('kind', 'string', 'tmux', 'texts: multiplexed, or the plain Transformer; images: cnn or mlp',
      { choice = { 'tmux', 'plain', 'cnn', 'mlp' } }),
    leaf('layers', 'integer', 4, 'encoder layers', positive),
    leaf('width', 'integer', 256, 'channels', positive),
    leaf('heads', 'integer', 4, 'attention heads; divides width', positive),
    leaf('inner', 'integer', nil, 'width of the feed-forward part; default 4 * width', { min = 1, optional = true }),
    leaf('dropout', 'number', 0.1, 'of embeddings, attention and residual branches', { min = 0, max = 0.99 }),
    leaf('positions', 'integer', 514, 'rows of the position table', positive),
    leaf('norm_eps', 'number', 1e-5, 'epsilon of the layer norms', { min = 1e-12 }),
    leaf('init', 'number', 0.02, 'standard deviation of initial weights', { min = 0 }),
    leaf('embed_twice', 'boolean', false, 'positions, norm and dropout once more on the mixture, as published'),
    group('vocab', 'the tokenizer', {
      leaf('kind', 'string', 'words', 'how text is cut',
        { choice = { 'words', 'sentencepiece', 'bpe', 'wordpiece' } }),
      leaf('size', 'integer', 8000, 'entries, where the vocabulary is learned from the text', positive),
      leaf('name', 'string', 'roberta-base', 'folder of the vocabulary files, for bpe and wordpiece'),
      leaf('lower', 'boolean', true, 'wordpiece: lower-case and strip accents'),
    }),
  }),
  group('mux', 'how instances are mixed', {
    leaf('n', 'integer', 20, 'instances per row', positive),
    leaf('kind', 'string', 'hadamard', 'how an instance is bound; images: none is the plain network',
      { choice = multiplexers }),
    leaf('channels', 'integer', 1, 'images, nonlinear: channels of the mixture', positive),
    leaf('init', 'string', 'normal', 'images, what is drawn at first: normals (published), or divided by sqrt(inputs)',
      { choice = { 'normal', 'fan_in' } }),
    leaf('sign', 'boolean', false, 'images, rotation: instance i also times 1 - 2 i, as published'),
    leaf('norm', 'number', 'sqrt', 'hadamard: Euclidean norm of each key, or sqrt: the square root of the width',
      { min = 0, also = 'sqrt' }),
    leaf('overlap', 'number', 0, 'binary: part of a block by which neighbouring masks overlap', { min = 0, max = 1 }),
    leaf('reduce', 'string', 'auto', 'sum divided by: sqrt(n), n (mean), 1 (sum); auto: what keeps the variance of one '
      .. 'instance, or the published one with embed_twice; images: sum',
      { choice = { 'auto', 'sqrt', 'mean', 'sum' } }),
    leaf('learn', 'boolean', false, 'train the keys'),
    leaf('pads', 'string', 'skip', 'skip: padding is left out of the mixture; mix: it is a token like others',
      { choice = { 'skip', 'mix' } }),
  }),
  group('demux', 'how answers are separated', {
    leaf('kind', 'string', 'unbind', 'index prefix or a layer per instance (published), learned keys, or unbinding',
      { choice = demux.names }),
    leaf('key', 'string', 'mux', 'unbind: the multiplexer\'s keys, or own learned ones', { choice = { 'mux', 'own' } }),
    leaf('rank', 'integer', 0, 'inner width; 0: full width', whole),
    leaf('read', 'string', 'pool', 'read-out: the added CLS; the first token; each position demultiplexed, then '
      .. 'averaged (pool; when tagging each stands for itself: token); averaged, then demultiplexed (mean)',
      { choice = { 'cls', 'first', 'pool', 'mean', 'token' } }),
    leaf('retrieval', 'string', 'shared', 'whether retrieval uses the task\'s demultiplexer',
      { choice = { 'shared', 'separate' } }),
    leaf('tied', 'boolean', true, 'retrieval projects with the embedding table'),
    leaf('mask', 'string', 'or', 'attention to positions where some instance has a token, or to all',
      { choice = { 'or', 'none' } }),
  }),
  group('data', 'how texts become batches', {
    leaf('length', 'integer', 64, 'longest text, in tokens', positive),
    leaf('limit', 'integer', nil, 'train on the first so many examples only', { min = 1, optional = true }),
    leaf('bucket', 'boolean', true, 'rows hold texts of like length'),
    leaf('fixed', 'boolean', false, 'always pad to length, as published'),
    leaf('multiple', 'integer', 1, 'padded lengths are multiples of this', positive),
    leaf('draw', 'string', 'epoch', 'images: each once an epoch; or every batch from the whole set, n / rows batches '
      .. 'an epoch (published)', { choice = { 'epoch', 'whole' } }),
    group('warmup', 'text of the retrieval warm-up', {
      leaf('source', 'list', 'task', 'task: the task\'s own texts; or files of plain text'),
      leaf('chunk', 'boolean', true, 'files: cut into chunks of exactly data.length tokens; else one text a line'),
      leaf('held_out', 'number', 0.01, 'files: part of the texts that only measures', { min = 0.0001, max = 0.5 }),
    }),
  }),
  group('warmup', 'stage 1: retrieval of tokens', optimisation {
    leaf('steps', 'integer', 0, 'updates; 0: no warm-up', whole),
    leaf('grow', 'number', 0, 'part of the steps over which mixed instances grow from n/8 to n', { min = 0, max = 1 }),
    leaf('stop', 'number', nil, 'end the stage at this held-out retrieval accuracy',
      { min = 0, max = 1, optional = true }),
  }),
  group('train', 'stage 2: the task', optimisation {
    leaf('epochs', 'number', 10, 'passes over the training set', { min = 0 }),
    leaf('steps', 'integer', nil, 'updates, instead of epochs', { min = 0, optional = true }),
    leaf('alpha', 'number', 0.1, 'weight of the retrieval loss; the task has the rest', { min = 0, max = 1 }),
    leaf('grow', 'number', 0, 'as warmup.grow: fewer texts in a row at first, their answers alone count',
      { min = 0, max = 1 }),
    leaf('accumulate', 'integer', 1, 'batches per update', positive),
    leaf('recompute', 'boolean', false, 'both stages: encoder layers are computed again in the backward pass, not '
      .. 'kept; less memory, a third more time, the same bits'),
    leaf('optimiser', 'string', 'adamw', 'AdamW (decay 0 is Adam), or gradient descent',
      { choice = { 'adamw', 'sgd' } }),
    leaf('loss', 'string', 'square', 'images: (tanh - +-1)^2 / 2, or cross-entropy; summed over the instances',
      { choice = { 'square', 'xent' } }),
    leaf('beta1', 'number', 0.9, 'AdamW', { min = 0, max = 0.99999 }),
    leaf('beta2', 'number', 0.999, 'AdamW', { min = 0, max = 0.99999 }),
    leaf('eps', 'number', 1e-8, 'AdamW', { min = 1e-16 }),
    leaf('patience', 'integer', nil, 'stop after so many evaluations without a better one',
      { min = 1, optional = true }),
  }),
  group('eval', 'scoring', {
    leaf('groupings', 'integer', 5, 'random groupings that the final scores are averaged over', positive),
    leaf('blocks', 'boolean', false, 'images: index i gets the i-th of n contiguous blocks, as published'),
    leaf('metric', 'string', nil, 'what `best` means; default: the usual one of the task', { optional = true }),
    leaf('protocol', 'string', 'full', 'full: every example; paper: beside it, what the published scripts score '
      .. '(the tail that fills no batch is dropped)', { choice = { 'full', 'paper' } }),
    leaf('ensemble', 'integer', 1, 'each text in so many slots with other neighbours, answers averaged', positive),
    leaf('retrieval', 'string', 'one', 'held-out retrieval: one random instance per position, or also all of them',
      { choice = { 'one', 'all' } }),
    leaf('bootstrap', 'integer', 1000, 'samples of the 95 % interval; 0: none', whole),
  }),
  group('expect', 'what a run of this recipe must reach (datamux test)', floors()),
  group('log', 'progress', {
    leaf('every', 'number', 30, 'seconds between plain lines', { min = 0.1, unit = 's' }),
    leaf('tensorboard', 'boolean', true, 'keep an event file for TensorBoard in tb/'),
  }),
  group('save', 'checkpoints', {
    leaf('every', 'number', nil, 'seconds between checkpoints; default: 50 times what the last one took to write, 1 to '
      .. '600 s: saving takes 2 % of the time at most, a kill costs half of that interval on average',
      { min = 1, unit = 's', optional = true }),
    leaf('keep', 'integer', 2, 'older checkpoints kept besides best and last', whole),
  }),
})

-- Keys that say nothing to the other kind of network; one that ends in a dot: all below it.
local only = {
  images = 'mux.channels mux.init mux.sign data.draw train.loss eval.blocks',
  texts = 'model.layers model.width model.heads model.dropout model.positions model.norm_eps model.init '
    .. 'model.embed_twice model.vocab. mux.norm mux.overlap mux.pads demux. data.length data.bucket data.fixed',
}

--- 'images' or 'texts' where a key means something to such networks alone, else nil.
function M.only(path)
  for what, list in pairs(only) do
    for key in list:gmatch '%S+' do
      if path == key or (key:sub(-1) == '.' and path:sub(1, #key) == key) then return what end
    end
  end
end

--- Calls fn(path, leaf) for every leaf, in order. A leaf with entries of its own is a value or a table (`task`): the
--- table's values go to another place of the configuration, `at`.
function M.each(fn, entry, path)
  for _, e in ipairs((entry or M.root).entries) do
    local p = path and path .. '.' .. e.name or e.name
    if e.kind then fn(p, e) end
    if e.entries then M.each(fn, e, p) end
  end
end

--- The entry of one group with this name, or nil.
function M.find(entry, name)
  for _, e in ipairs(entry.entries) do
    if e.name == name then return e end
  end
end

--- Names inside a group.
function M.names(entry)
  local list = {}
  for i, e in ipairs(entry.entries) do list[i] = e.name end
  return list
end

return M
