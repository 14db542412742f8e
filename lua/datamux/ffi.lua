-- ffi.lua -- the one door to the engine: the binding cut from src/datamux.h, its handshake, its errors.
local ffi = require 'ffi'
local fault = require 'datamux.fault'

local M = {}

--- The exported region of the header text: what lies between the two visibility lines.
local function region(header)
  local from, to = '#pragma GCC visibility push(default)', '#pragma GCC visibility pop'
  local _, a = header:find(from, 1, true)
  local b = header:find(to, a, true)
  return header:sub(a + 1, b - 1)
end

-- cdef once per process: busted reloads this module for each spec file.
if not pcall(ffi.typeof, 'dm_tensor') then ffi.cdef(region(require 'datamux.header')) end

local C = ffi.C

assert(ffi.abi 'gc64', 'datamux: this LuaJIT keeps pointers in 32 bits; a GC64 build is needed')
assert(C.dm_abi() == C.DM_ABI, 'datamux: the engine and its header are of different versions')
assert(C.dm_sizeof_tensor() == ffi.sizeof 'dm_tensor', 'datamux: dm_tensor has another layout in the engine')

M.C = os.getenv 'DATAMUX_PROFILE' and require('datamux.profile').watch(require 'datamux.header') or C
M.real_size = C.dm_sizeof_real()                   -- 4, or 8 in the f64 test twin
M.real = M.real_size == 8 and 'double' or 'float'  -- C name of "real"

M.dtypes = { f32 = C.DM_F32, bf16 = C.DM_BF16, i32 = C.DM_I32 }
M.dtype_names = { [C.DM_F32] = 'f32', [C.DM_BF16] = 'bf16', [C.DM_I32] = 'i32' }
M.acts = { none = C.DM_NONE, gelu = C.DM_GELU, relu = C.DM_RELU, tanh = C.DM_TANH }

M.last_status = 0

--- See fault.raise.
M.raise = fault.raise

--- Raises the engine's last message unless status is 0.
function M.check(status)
  if status ~= 0 then
    M.last_status = status
    M.raise(ffi.string(C.dm_last_error()))
  end
end

--- The descriptor of an optional tensor: cdata or nil.
function M.ptr(t) return t and t.c or nil end

--- Raises "op: arg is nil, expected a tensor" unless x is one.
function M.want(op, arg, x)
  if type(x) ~= 'table' or not x.c then
    M.raise(('%s: %s is %s, expected a tensor'):format(op, arg, type(x) == 'table' and 'a table' or tostring(x)))
  end
end

--- The number of an activation by name ('none', 'gelu', 'relu', 'tanh'; nil is 'none').
function M.act(op, name)
  local act = M.acts[name or 'none']
  if not act then
    M.raise(("%s: act is '%s', expected none, gelu, relu or tanh"):format(op, tostring(name)))
  end
  return act
end

return M
