-- infer.lua -- a finished model on the CPU: weights where the file is mapped, products in f32 or int8.
--
-- Loading copies nothing and draws no initial values: each parameter is the memory of the mapped file, and only what a
-- batch touches is read. oneDNN packs a weight while it multiplies at no measurable cost, so no second form is kept.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
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

return M
