-- tensor.lua -- class Tensor: a contiguous, row-major array on the device.
-- A Lua table around the 48-byte descriptor: { c = dm_tensor, grad, store, needs, name, owner }.
--   grad   gradient of this step, set by the tape        store  where a parameter's gradient lives
--   needs  true when a gradient is wanted                owner  the block that keeps lasting data alive
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local scope = require 'datamux.scope'
local C, check = core.C, core.check

local Tensor = {}
Tensor.__index = Tensor

local new_c = ffi.typeof 'dm_tensor'
local ctype = { [C.DM_F32] = ffi.typeof(core.real .. '[?]'), [C.DM_I32] = ffi.typeof 'int32_t[?]',
                [C.DM_BF16] = ffi.typeof 'uint16_t[?]' }
local ptype = { [C.DM_F32] = ffi.typeof(core.real .. '*'), [C.DM_I32] = ffi.typeof 'int32_t*',
                [C.DM_BF16] = ffi.typeof 'uint16_t*' }

--- A descriptor of that shape and type without storage. Raises on a bad shape or type.
local function describe(shape, dtype)
  local c = new_c()
  local id = core.dtypes[dtype or scope.compute]
  if not id then core.raise(("tensor: dtype is '%s', expected f32, bf16 or i32"):format(tostring(dtype))) end
  if #shape < 1 or #shape > 6 then
    core.raise(('tensor: shape has %d dimensions, expected 1 to 6'):format(#shape))
  end
  c.dtype, c.ndim = id, #shape
  for i = 1, #shape do
    local n = shape[i]
    if type(n) ~= 'number' or n < 0 or n ~= math.floor(n) or n > 2147483647 then
      core.raise(('tensor: shape[%d] is %s, expected a whole number >= 0'):format(i, tostring(n)))
    end
    c.shape[i - 1] = n
  end
  return c
end

Tensor.describe = describe

local function wrap(c, owner) return setmetatable({ c = c, owner = owner }, Tensor) end

--- An uninitialised tensor in the running step, or lasting outside one. shape: list of sizes; dtype: 'f32', 'bf16',
--- 'i32' (default: scope.compute, f32 unless bf16 was asked for). Raises on a bad shape and when memory is exhausted.
function Tensor.new(shape, dtype)
  local c = describe(shape, dtype)
  return wrap(c, scope.alloc(c))
end

--- As new, but lasting even inside a step.
function Tensor.lasting(shape, dtype)
  local c = describe(shape, dtype)
  return wrap(c, scope.alloc(c, true))
end

--- A tensor of zeros.
function Tensor.zeros(shape, dtype) return Tensor.new(shape, dtype):fill(0) end

local function flatten(values, out, shape, depth)
  if type(values[1]) == 'table' then
    shape[depth] = #values
    for i = 1, #values do
      if #values[i] ~= #values[1] then
        core.raise(('tensor: row %d has %d values, expected %d'):format(i, #values[i], #values[1]))
      end
      flatten(values[i], out, shape, depth + 1)
    end
  else
    shape[depth] = #values
    for i = 1, #values do out[#out + 1] = values[i] end
  end
  return out, shape
end

--- A tensor from a flat or nested list of numbers. shape: optional for nested lists; dtype as in new.
function Tensor.from(values, shape, dtype)
  local flat, seen = flatten(values, {}, {}, 1)
  local t = Tensor.new(shape or seen, dtype)
  local n = t:numel()
  if #flat ~= n then core.raise(('tensor: %d values, expected %d'):format(#flat, n)) end
  local id = t.c.dtype
  if id == C.DM_BF16 then
    return t:assign(Tensor.from(flat, t:shape(), 'f32'))
  end
  local host = ctype[id](math.max(n, 1))
  for i = 1, n do host[i - 1] = flat[i] end
  check(C.dm_tensor_put(t.c, host, t:bytes()))
  return t
end

--- A tensor of the same shape and type, uninitialised.
function Tensor:like()
  local c = new_c()
  ffi.copy(c, self.c, ffi.sizeof(c))
  return wrap(c, scope.alloc(c))
end

--- The same data under another shape (and dtype of equal size), from element `offset` on; no copy.
function Tensor:view(shape, offset, dtype)
  local c = describe(shape, dtype or self:dtype())
  check(C.dm_tensor_view(c, self.c, offset or 0))
  local v = wrap(c, self.owner)
  v.lent = true
  return v
end

--- Name of its type: 'f32', 'bf16' or 'i32'.
function Tensor:dtype() return core.dtype_names[self.c.dtype] end

--- Number of dimensions.
function Tensor:ndim() return self.c.ndim end

--- Size of dimension i, counted from 1; negative from the end.
function Tensor:size(i) return self.c.shape[i > 0 and i - 1 or self.c.ndim + i] end

--- Its sizes as a list, the last varying fastest.
function Tensor:shape()
  local s = {}
  for i = 1, self.c.ndim do s[i] = self.c.shape[i - 1] end
  return s
end

--- The last dimension.
function Tensor:cols() return self.c.shape[self.c.ndim - 1] end

--- The product of all dimensions but the last.
function Tensor:rows()
  local n = 1
  for i = 0, self.c.ndim - 2 do n = n * self.c.shape[i] end
  return n
end

--- Number of elements.
function Tensor:numel() return C.dm_tensor_numel(self.c) end

--- Size of its data in bytes.
function Tensor:bytes() return C.dm_tensor_bytes(self.c) end

--- Sets every element to v; returns self.
function Tensor:fill(v)
  check(C.dm_tensor_fill(self.c, v))
  return self
end

--- Sets every element to 0, as an op of the step (dm_zero); returns self.
function Tensor:zero()
  check(C.dm_zero(self.c))
  return self
end

--- Takes the values of x, of the same shape, each in f32 or bf16 (to nearest even); returns self.
function Tensor:assign(x)
  check(C.dm_cast(self.c, x.c))
  return self
end

--- Normal random values from (seed, site): the same bits on every device. Returns self.
function Tensor:normal(mean, std, seed, site)
  check(C.dm_tensor_normal(self.c, mean, std, seed, site))
  return self
end

--- Uniform random values in [lo, hi) from (seed, site): the same bits on every device. Returns self.
function Tensor:uniform(lo, hi, seed, site)
  check(C.dm_tensor_uniform(self.c, lo, hi, seed, site))
  return self
end

--- Copies host memory (cdata pointer, exactly :bytes() long) into the tensor; returns self.
function Tensor:put(host, bytes)
  check(C.dm_tensor_put(self.c, host, bytes or self:bytes()))
  return self
end

--- Copies the tensor into host memory (cdata pointer, exactly :bytes() long); returns the pointer.
function Tensor:get(host, bytes)
  check(C.dm_tensor_get(host, self.c, bytes or self:bytes()))
  return host
end

--- A C array on the host with room for its values, zeros: real[n], int32_t[n], or uint16_t[n] for bf16 bits.
function Tensor:room() return ctype[self.c.dtype](math.max(self:numel(), 1)) end

--- The values as a C array on the host, as room gives it.
function Tensor:host() return self:get(self:room()) end

--- Pointer to the data of a tensor that lives in host memory (the CPU's); nil elsewhere.
function Tensor:pointer()
  if ffi.string(C.dm_device_name(C.dm_arena_device(self.c.arena))) ~= 'cpu' then return nil end
  return ffi.cast(ptype[self.c.dtype], self.c.data)
end

--- Itself, or where it is bf16 its values in f32: for what reads numbers.
function Tensor:real()
  if self.c.dtype ~= C.DM_BF16 then return self end
  return Tensor.new(self:shape(), 'f32'):assign(self)
end

--- The values as a flat list of numbers.
function Tensor:totable()
  local host, out = self:real():host(), {}
  for i = 1, self:numel() do out[i] = host[i - 1] end
  return out
end

--- The only element as a number.
function Tensor:item()
  if self:numel() ~= 1 then
    core.raise(('item: tensor has %d elements, expected 1'):format(self:numel()))
  end
  return tonumber(self:real():host()[0])
end

--- A lasting copy: outlives the step.
function Tensor:keep()
  local t = Tensor.lasting(self:shape(), self:dtype())
  return t:put(self:host())
end

--- Frees a lasting tensor now; it and its views are stale from here on. A view frees nothing.
function Tensor:free()
  if not self.lent then scope.free(self.owner) end
  self.owner = nil
end

local function corner(self, out)
  local host, cols, rows = self:host(), self:cols(), self:rows()
  local integer = self.c.dtype == C.DM_I32
  for r = 0, math.min(rows, 4) - 1 do
    local cells = {}
    for k = 0, math.min(cols, 6) - 1 do
      local v = tonumber(host[r * cols + k])
      cells[#cells + 1] = integer and ('%8d'):format(v) or ('%8.4f'):format(v)
    end
    out[#out + 1] = table.concat(cells, ' ') .. (cols > 6 and '  ..' or '')
  end
  if rows > 4 then out[#out + 1] = ('      ..  %d rows'):format(rows) end
end

--- "f32[20, 149, 768] cpu  min -3.1  mean 0.0  max 3.4" and the corner.
function Tensor:__tostring()
  local device = ffi.string(C.dm_device_name(C.dm_arena_device(self.c.arena)))
  local head = ('%s[%s] %s'):format(self:dtype(), table.concat(self:shape(), ', '), device)
  if self:numel() == 0 then return head .. '  empty' end
  if self.c.dtype == C.DM_BF16 then
    return scope.step(function() return (tostring(self:real()):gsub('^f32', 'bf16')) end)
  end
  local out = { head }
  if self.c.dtype == C.DM_F32 then
    local s = ffi.new 'double[5]'
    check(C.dm_tensor_stats(s, self.c))
    out[1] = ('%s  min %.4g  mean %.4g  max %.4g  sd %.4g'):format(head, s[0], s[2], s[1], s[3])
    if s[4] > 0 then out[1] = ('%s  not finite %d'):format(out[1], s[4]) end
  end
  corner(self, out)
  return table.concat(out, '\n')
end

return Tensor
