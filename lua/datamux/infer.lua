-- infer.lua -- a finished model on the CPU: weights where the file is mapped, products in f32, bf16 or int8.
--
-- Loading draws no initial values and, but for the weights of bf16, copies nothing: each parameter is the memory of the
-- mapped file, and only what a batch touches is read. oneDNN packs a weight while it multiplies at no cost that could
-- be measured, so no second form of it is kept in f32.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local Module = require 'datamux.nn.module'
local Tensor = require 'datamux.tensor'
local int8 = require 'datamux.ops.int8'
local scope = require 'datamux.scope'
local C, check = core.C, core.check

local M = {}

local function same_shape(shape, other)
  if #shape ~= #other then return false end
  for i = 1, #shape do
    if shape[i] ~= other[i] then return false end
  end
  return true
end

-- Whether the file holds exactly the tensors of the model, in f32 or (packed weights) i32.
local function belongs(list, file)
  local seen = 0
  for _, e in ipairs(list) do
    local entry, spec = file.tensors[e.name], e.tensor.spec
    local dtype = spec.dtype == 'i32' and 'I32' or 'F32'
    if not entry or entry.dtype ~= dtype or not same_shape(spec.shape, entry.shape) then return false end
    seen = seen + 1
  end
  for _ in pairs(file.tensors) do seen = seen - 1 end
  return seen == 0
end

--- Lets the parameters of a model that is not built lie in an open safetensors file (safetensors.open), which stays
--- open as long as they live; in bf16 they are rounded copies of what lies there. Returns the model, ready to run
--- without gradients; nil where that cannot be: on another device than the CPU, or where the file holds other tensors
--- than the model has.
function M.map(model, file)
  local list = model:tensors()
  if core.real_size ~= 4 or not scope.about():find '^cpu' then return nil end
  if not belongs(list, file) then return nil end
  local out = ffi.new 'dm_arena *[1]'
  check(C.dm_arena_new(out, scope.device()))
  local arena = ffi.gc(out[0], C.dm_arena_free)
  local block = { list = {}, buffers = {}, owner = { arena, file } }
  for _, e in ipairs(list) do
    local t, spec = e.tensor, e.tensor.spec
    local there = { c = Tensor.describe(spec.shape, spec.dtype or 'f32'), owner = block.owner, name = e.name }
    check(C.dm_tensor_adopt(there.c, arena, file.tensors[e.name].ptr))
    local used = there
    if scope.compute == 'bf16' then
      used = Tensor.lasting(spec.shape, 'bf16'):assign(there)
    end
    t.c, t.owner, t.name = used.c, used.owner, e.name
    e.n, e.master = spec.values or t:numel(), used == there and t or setmetatable(there, Tensor)
    table.insert(spec.make and block.buffers or block.list, e)
  end
  model:each(function(m) m.site = 0 end)
  model.block = block
  return model:train(false)
end

-- -- int8 ------------------------------------------------------------------------------------------------------------

-- By class (and kind: a recipe's own demultiplexer is none of these), the module's weight that is packed, and the
-- method that multiplies by it; run stands in its place.
local forms = {
  Linear = { weight = 'weight', method = 'forward', run = function(self, x)
    return int8.linear(x, self.packed, self.scale, self.bias, self.options.act, self.gives)
  end },
  Demux = { kind = 'unbind', weight = 'unbind', method = 'inner', run = function(self, state, pairs)
    return int8.unbind(self.keys, state.h, state.of_state, self.packed, self.scale,
      { ik = pairs.who, ih = pairs.where, act = self.args.act })
  end },
}

-- Calls fn(module, path, form) for what is packed: each weight of a form's that gives at least a quarter of what it
-- reads. Narrower ones, as those of the answers, cost little and keep their digits.
local function each_product(model, fn)
  if not model.encoder then
    errors.raise('E215', { what = ('int8: %s has no Transformer encoder, expected a model of texts'):format(
      model.class), fix = 'leave out --int8' })
  end
  model:each(function(m, path)
    local form = forms[m.class]
    local weight = form and form.kind == m.kind and m[form.weight]
    if weight and 4 * weight.spec.shape[1] >= weight.spec.shape[2] then fn(m, path, form) end
  end)
  return model
end

-- Attention takes its q, k and v in bf16 where the processor multiplies that: the product before it gives them so, and
-- the one after it reads bf16. Returns the model.
local function attend_in_bf16(model)
  if C.dm_device_takes(scope.device(), C.DM_BF16) == 0 then return model end
  model:each(function(m)
    if m.class == 'Attention' then m.qkv.gives = 'bf16' end
  end)
  return model
end

--- Gives the linear layers and the unbinding of a model of texts their weights in 7 bits per channel, their inputs in 8
--- bits per row; the rest (embeddings, norms, keys, answers) stays in f32, and attention too where the processor has
--- no bf16. For running only. Raises where the device has no products in int8 (only the CPU has), and for a model
--- without an encoder. Returns the model.
function M.int8(model)
  each_product(model, function(m, _, form)
    m.packed, m.scale = int8.pack(m[form.weight], Tensor.lasting)
    m[form.method] = form.run
  end)
  return attend_in_bf16(model)
end

--- The tensors of a model after M.int8, as a file holds them: `packed` and `scale` in place of a module's weight.
function M.int8_tensors(model)
  local out = model:named()
  each_product(model, function(m, path, form)
    out[path .. '.' .. form.weight], out[path .. '.packed'], out[path .. '.scale'] = nil, m.packed, m.scale
  end)
  return out
end

--- Lets a model that is not built ask for the tensors of M.int8_tensors; map then gives it them. Returns the model.
function M.int8_declare(model)
  each_product(model, function(m, _, form)
    local d, c = unpack(m[form.weight].spec.shape)
    for k, name in ipairs(m.names) do
      if name == form.weight then table.remove(m.names, k) break end
    end
    m[form.weight] = nil
    local function declare(name, spec) Module.share(m, name, setmetatable({ spec = spec }, Tensor)) end
    declare('packed', { shape = int8.packed_shape(d, c), dtype = 'i32', values = d * c })
    declare('scale', { shape = { d }, values = 0 })
    m[form.method] = form.run
  end)
  return attend_in_bf16(model)
end

return M
