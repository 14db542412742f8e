-- init.lua -- the `dm` table: tensors, ops, modules, models and the programme, loaded as they are first used.
local M = {}

local lazy = {
  Tensor = 'datamux.tensor', tape = 'datamux.tape', scope = 'datamux.scope', optim = 'datamux.optim',
  schedule = 'datamux.schedule', train = 'datamux.train', evaluate = 'datamux.evaluate', text = 'datamux.text',
  checkpoint = 'datamux.checkpoint', plot = 'datamux.plot', safetensors = 'datamux.safetensors',
  assemble = 'datamux.assemble', infer = 'datamux.infer', import = 'datamux.import',
}

local rooms = {
  nn = { Module = 'datamux.nn.module', Linear = 'datamux.nn.linear', LayerNorm = 'datamux.nn.norm',
         Encoder = { 'datamux.nn.encoder', 'Encoder' }, MuxEmbedding = 'datamux.nn.embedding',
         Demux = 'datamux.nn.demux', Head = 'datamux.nn.head', Coupling = 'datamux.nn.coupling',
         Conv = 'datamux.nn.conv', imagemux = 'datamux.nn.imagemux', Mixer = 'datamux.nn.imagemux.mixer' },
  models = { TMux = 'datamux.models.tmux', Plain = 'datamux.models.plain', Cnn = 'datamux.models.cnn',
             Mlp = 'datamux.models.mlp' },
  data = { glue = 'datamux.data.glue', images = 'datamux.data.images', synthetic = 'datamux.data.synthetic',
           corpus = 'datamux.data.corpus', loader = 'datamux.data.loader', cache = 'datamux.data.cache' },
}

-- Op name -> the module that has it.
local ops = {
  linear = 'linear', matmul = 'linear', layernorm = 'norm', attention = 'attn', embed = 'embed', gather = 'embed',
  scatter = 'embed', embed_mux = 'embed', mux = 'mux', demux = 'mux', unbind = 'mux', meanpool = 'mux',
  conv2d = 'conv', maxpool2d = 'conv', add = 'point', scale = 'point', act = 'point', dropout = 'point',
  reshape = 'shape', xent = 'loss', linear_xent = 'loss', mse = 'loss', count_correct = 'loss',
}

local function room(entries)
  local function names()
    local list = {}
    for k in pairs(entries) do list[#list + 1] = k end
    table.sort(list)
    return table.concat(list, ', ')
  end
  return setmetatable({}, { complete = entries, __tostring = function() return '{ ' .. names() .. ' }' end,
    __index = function(t, k)
      local e = entries[k]
      if not e then return nil end
      local v = type(e) == 'table' and require(e[1])[e[2]] or require(e)
      rawset(t, k, v)
      return v
    end })
end

for name, entries in pairs(rooms) do M[name] = room(entries) end

--- A tensor from a flat or nested list; see Tensor.from.
function M.tensor(values, shape, dtype) return M.Tensor.from(values, shape, dtype) end

local draws = 0

--- Normal random values: dm.randn(20, 128, 768). Seeds count up from 1 in a session.
function M.randn(...)
  draws = draws + 1
  return M.Tensor.new({ ... }):normal(0, 1, draws, 0)
end

--- Zeros: dm.zeros(4, 8).
function M.zeros(...) return M.Tensor.zeros { ... } end

--- Runs fn as a step: its tensors live until it returns; see scope.step.
function M.step(fn, ...) return M.scope.step(fn, ...) end

--- Bytes in use: { live, used, scratch, peak, allocs }.
function M.memory() return M.scope.memory() end

--- Checks a recipe table and returns the recipe; see datamux.recipe.
function M.recipe(t) return require('datamux.recipe').new(t) end

--- In a recipe: the value that the command line or DATAMUX_SET gives a key, else `default`: dm.arg('n', 20).
function M.arg(name, default) return require('datamux.recipe').arg(name, default) end

--- Strategies of a recipe's own, by a name that mux.kind or demux.kind then takes: dm.register.mux(name, spec),
--- dm.register.demux(name, spec), dm.register.imagemux(name, spec). See datamux.nn.mux, datamux.nn.demux,
--- datamux.nn.imagemux and docs/extending.md.
M.register = {
  mux = function(name, spec) require('datamux.nn.mux').register(name, spec) end,
  demux = function(name, spec) require('datamux.nn.demux').register(name, spec) end,
  imagemux = function(name, spec) require('datamux.nn.imagemux').register(name, spec) end,
}

--- A finished model from a run, one of its checkpoints, or a model folder; see saved.load.
function M.load(path, o) return require('datamux.saved').load(path, o) end

--- Names that completion and help list besides what is loaded already.
function M.names()
  local list = {}
  for k in pairs(M) do list[#list + 1] = k end
  for k in pairs(lazy) do list[#list + 1] = k end
  for k in pairs(ops) do list[#list + 1] = k end
  table.sort(list)
  return list
end

return setmetatable(M, { __index = function(t, k)
  local v
  if lazy[k] then
    v = require(lazy[k])
  elseif ops[k] then
    v = require('datamux.ops.' .. ops[k])[k]
  end
  if v ~= nil then rawset(t, k, v) end
  return v
end })
