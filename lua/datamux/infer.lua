-- infer.lua -- a finished model on the CPU: weights where the file is mapped, products in f32 or int8.
--
-- Loading copies nothing and draws no initial values: each parameter is the memory of the mapped file, and only what a
-- batch touches is read. oneDNN packs a weight while it multiplies at no cost that could be measured, so no second form
-- of it is kept in f32.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
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

-- Whether the file holds exactly the tensors of the model, in f32.
local function belongs(list, file)
  local seen = 0
  for _, e in ipairs(list) do
    local entry = file.tensors[e.name]
    if not entry or entry.dtype ~= 'F32' or not same_shape(e.tensor.spec.shape, entry.shape) then return false end
    seen = seen + 1
  end
  for _ in pairs(file.tensors) do seen = seen - 1 end
  return seen == 0
end

--- Lets the parameters of a model that is not built lie in an open safetensors file (safetensors.open), which stays
--- open as long as they live. Returns the model, ready to run without gradients; nil where that cannot be: on another
--- device than the CPU, or the file holds other tensors than the model has.
function M.map(model, file)
  local list = model:tensors()
  if core.real_size ~= 4 or not scope.about():find '^cpu' or not belongs(list, file) then return nil end
  local out = ffi.new 'dm_arena *[1]'
  check(C.dm_arena_new(out, scope.device()))
  local arena = ffi.gc(out[0], C.dm_arena_free)
  local block = { list = {}, buffers = {}, owner = { arena, file } }
  for _, e in ipairs(list) do
    local t, entry = e.tensor, file.tensors[e.name]
    t.c, t.owner, t.name = Tensor.describe(t.spec.shape), block.owner, e.name
    check(C.dm_tensor_adopt(t.c, arena, entry.ptr))
    e.n, e.master = t:numel(), t
    table.insert(t.spec.make and block.buffers or block.list, e)
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

--- Gives the linear layers of a model's encoder their weights in 7 bits per channel, their inputs in 8 bits per row;
--- the rest (embeddings, attention, norms, demultiplexer, head) stays in f32. For running only. Raises where the device
--- has no products in int8 (only the CPU has). Returns the model.
function M.int8(model)
  model.encoder:each(function(m)
    if m.class ~= 'Linear' then return end
    local d, c = m.weight:size(1), m.weight:size(2)
    m.packed, m.scale = Tensor.lasting({ d, math.ceil(c / 4) }, 'i32'), Tensor.lasting { d }
    check(C.dm_int8_pack(m.packed.c, m.scale.c, m.weight.c))
    m.forward = int8_forward
  end)
  return model
end

return M
