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
local scope = require 'datamux.scope'
local tape = require 'datamux.tape'
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
      used = Tensor.lasting(spec.shape, 'bf16')
      check(C.dm_cast(used.c, there.c))
    end
    t.c, t.owner, t.name = used.c, used.owner, e.name
    e.n, e.master = spec.values or t:numel(), used == there and t or setmetatable(there, Tensor)
    table.insert(spec.make and block.buffers or block.list, e)
  end
  model:each(function(m) m.site = 0 end)
  model.block = block
  return model:train(false)
end

-- In place of Linear:forward.
local function int8_forward(self, x)
  if tape.on then core.raise 'linear: its weights are int8, which take no gradient; expected the tape off' end
  local shape = x:shape()
  shape[#shape] = self.scale:numel()
  local y = Tensor.new(shape)
  local act = core.act('linear', self.options.act)
  check(C.dm_int8_linear(y.c, x.c, self.packed.c, self.scale.c, core.ptr(self.bias), act))
  return y
end

-- Calls fn(module, path) for the linear layers of a model's encoder, whose path is "..encoder.layer..".
local function each_linear(model, fn)
  if not model.encoder then
    errors.raise('E215', { what = ('int8: %s has no Transformer encoder, expected a model of texts'):format(
      model.class), fix = 'leave out --int8' })
  end
  local inside = {}
  model.encoder:each(function(m) inside[m] = true end)
  model:each(function(m, path)
    if inside[m] and m.class == 'Linear' then fn(m, path) end
  end)
  return model
end

-- Shape of the packed weights of d channels of c inputs (see dm_int8_pack).
local function packed_shape(d, c) return { math.ceil(d / 16), math.ceil(c / 4), 16 } end

--- A weight [D, C] in 7 bits per channel, as dm_int8_pack lays it, and its scales [D]; made by `new`: Tensor.new, or
--- Tensor.lasting for what outlives the step.
function M.pack(weight, new)
  local d, c = weight:size(1), weight:size(2)
  local packed, scale = new(packed_shape(d, c), 'i32'), new { d }
  check(C.dm_int8_pack(packed.c, scale.c, weight.c))
  return packed, scale
end

--- Gives the linear layers of a model's encoder their weights in 7 bits per channel, their inputs in 8 bits per row;
--- the rest (embeddings, attention, norms, demultiplexer, head) stays in f32. For running only. Raises where the device
--- has no products in int8 (only the CPU has), and for a model without an encoder. Returns the model.
function M.int8(model)
  return each_linear(model, function(m)
    m.packed, m.scale = M.pack(m.weight, Tensor.lasting)
    m.forward = int8_forward
  end)
end

--- The tensors of a model after M.int8, as a file holds them: `packed` and `scale` in place of those layers' `weight`.
function M.int8_tensors(model)
  local out = model:named()
  each_linear(model, function(m, path)
    out[path .. '.weight'], out[path .. '.packed'], out[path .. '.scale'] = nil, m.packed, m.scale
  end)
  return out
end

--- Lets a model that is not built ask for the tensors of M.int8_tensors; map then gives it them. Returns the model.
function M.int8_declare(model)
  return each_linear(model, function(m)
    local d, c = unpack(m.weight.spec.shape)
    m.names = m.bias and { 'bias' } or {}
    m.weight = nil
    local function declare(name, spec) Module.share(m, name, setmetatable({ spec = spec }, Tensor)) end
    declare('packed', { shape = packed_shape(d, c), dtype = 'i32', values = d * c })
    declare('scale', { shape = { d }, values = 0 })
    m.forward = int8_forward
  end)
end

return M
