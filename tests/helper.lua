-- helper.lua -- what the specs share: host arrays, op cases, dropout as the plain definitions see it.
--
-- A host array is a flat list of numbers with a field `shape` (and `dtype` = 'i32' for integers):
--   h.rand(3, 4)   h.ints(lo, hi, 3, 4)   h.array({ 1, 2 }, { 2 })
-- An op case says how to make inputs, run the op, and compute the same plainly in Lua numbers (doubles):
--   local case = h.op_case {
--     sizes = { { 1, 1 }, { 5, 7 }, { 149, 768 } },            -- each is unpacked into make(...)
--     grad_sizes = { { 1, 1 }, { 5, 7 } },                     -- small ones for finite differences (default: sizes)
--     make  = function(R, C) return { x = h.rand(R, C), w = h.rand(C), p = 0.1 } end,  -- arrays and scalars
--     run   = function(t) return ops.layernorm(t.x, t.w) end,  -- arrays arrive as Tensors; returns y
--     plain = function(a) return { ... } end,                  -- arrays stay arrays; flat list of y's values
--     grads = { 'x', 'w' },
--     weights = { 'w' },                                       -- of the grads, those that are f32 beside bf16 inputs
--     f32 = { 'weight' },                                      -- inputs that are f32 beside bf16 activations
--     no_bf16 = 'why',                                         -- the case is not run in bf16
--   }
-- Cases run on the device in use (DATAMUX_DEVICE), in f32 and, where the device takes it, in bf16: inputs are then
-- exact in bf16, and a result may be off by twice what rounding the plain one costs at most (half a unit in the last
-- place of its largest value, 2^-8 of it), a gradient by three times.
--   case:value()     run equals plain (relative to the largest value: 1e-5 in f32, 1e-12 in the twin)
--   case:gradient()  bwd equals central differences of plain, overwriting and adding; two runs give equal bits
-- h.refuses(fn, pattern): fn raises a message that matches. h.same_bits(fn): fn(), a list of numbers, is equal
-- for 1 and 2 threads.
local bit = require 'bit'
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local tape = require 'datamux.tape'
local scope = require 'datamux.scope'
local C = core.C

local M = { twin = core.real_size == 8 }

C.dm_arena_poison(1)

M.seed, M.step = 1234, 7
scope.knobs { seed = M.seed, step = M.step, lr = 0, update = 1 }

-- -- host arrays ------------------------------------------------------------------------------------

M.cpu = scope.about():find '^cpu' ~= nil

local BF16 = 2 ^ -8                          -- unit roundoff of bf16: 8 significant bits, rounded to nearest
local word = ffi.new 'union { float value; uint32_t bits; }'
local function as_real(v)
  if M.twin then return v end
  word.value = v
  if scope.compute == 'bf16' then word.bits = math.floor(word.bits / 65536) * 65536 end
  return tonumber(word.value)
end

local state = 88172645
local function random()                      -- a small generator of its own, reset for each case
  state = (state * 16807) % 2147483647
  return state / 2147483647
end

local function count(shape)
  local n = 1
  for i = 1, #shape do n = n * shape[i] end
  return n
end

function M.array(values, shape, dtype)
  values.shape, values.dtype = shape or { #values }, dtype
  return values
end

--- Values in (-1, 1), exactly representable in "real".
function M.rand(...)
  local a = { shape = { ... } }
  for i = 1, count(a.shape) do a[i] = as_real(2 * random() - 1) end
  return a
end

--- Integers in [lo, hi].
function M.ints(lo, hi, ...)
  local a = { shape = { ... }, dtype = 'i32' }
  for i = 1, count(a.shape) do a[i] = lo + math.min(math.floor(random() * (hi - lo + 1)), hi - lo) end
  return a
end

function M.reseed(n) state = 88172645 + (n or 0) * 7919 end

local function is_array(v) return type(v) == 'table' and v.shape ~= nil and not v.c end

--- A Tensor with the values of a host array.
function M.tensor(a) return Tensor.from(a, a.shape, a.dtype) end

local pointers = { F32 = ffi.typeof 'const float *', I32 = ffi.typeof 'const int32_t *',
                   BF16 = ffi.typeof 'const uint16_t *' }

--- The values of an entry of safetensors.open as a flat list of numbers.
function M.values(entry)
  local p, n, out = ffi.cast(pointers[entry.dtype], entry.ptr), 1, {}
  for _, size in ipairs(entry.shape) do n = n * size end
  local u = ffi.new 'union { uint32_t i; float f; }'
  for i = 0, n - 1 do
    if entry.dtype == 'BF16' then u.i = bit.lshift(p[i], 16) end
    out[i + 1] = tonumber(entry.dtype == 'BF16' and u.f or p[i])
  end
  return out
end

local function has(list, name)
  for _, v in ipairs(list or {}) do
    if v == name then return true end
  end
end

-- The arrays of a as Tensors; those of case.grads want a gradient, which for weights is kept in f32.
local function tensors(case, a, wanted)
  local t = {}
  for k, v in pairs(a) do
    t[k] = is_array(v) and Tensor.from(v, v.shape, v.dtype or (has(case.f32, k) and 'f32' or nil)) or v
  end
  for _, k in ipairs(wanted and case.grads or {}) do
    t[k].needs = true
    if has(case.weights, k) then t[k].store = Tensor.new(a[k].shape, 'f32') end
  end
  return t
end

-- -- dropout as a plain definition --------------------------------------------------------------------

local counter, key, bits = ffi.new 'uint32_t[4]', ffi.new 'uint32_t[2]', ffi.new 'uint32_t[4]'

--- 0 or 1/(1-p): the factor of element e (from 0) of stream `site` under M.seed and M.step.
function M.keep(e, p, site)
  if p == 0 then return 1 end
  counter[0], counter[1], counter[2], counter[3] = math.floor(e / 4), 0, site, M.step
  key[0], key[1] = M.seed, 0
  C.dm_philox(bits, counter, key)
  local u = math.floor(bits[e % 4] / 256) / 16777216
  word.value = p
  if u < tonumber(word.value) then return 0 end
  return 1 / (1 - tonumber(word.value))
end

-- -- comparing -----------------------------------------------------------------------------------------

local function largest(a)
  local m = 0
  for i = 1, #a do m = math.max(m, math.abs(a[i])) end
  return m
end

--- Fails unless |got - want| <= tolerance * max(least, largest |want|) everywhere, naming the worst place; least: 1.
function M.close(got, want, tolerance, what, least)
  assert(#got == #want, ('%s: %d values, expected %d'):format(what or 'values', #got, #want))
  local scale = math.max(least or 1, largest(want))
  for i = 1, #want do
    local d = math.abs(got[i] - want[i])
    if d ~= d or d > tolerance * scale then
      error(('%s[%d] is %.9g, expected %.9g (error %.3g, allowed %.3g)'):format(
        what or 'value', i - 1, got[i], want[i], d, tolerance * scale), 2)
    end
  end
end

--- Fails unless fn raises a message that matches the Lua pattern.
function M.refuses(fn, pattern)
  local ok, message = pcall(function() scope.step(fn) end)
  if ok then error('expected a refusal, but it was accepted: ' .. pattern, 2) end
  message = tostring(message)
  if not message:find(pattern) then
    error(('refused with "%s", expected "%s"'):format(message, pattern), 2)
  end
end

--- As refuses, for what only the CPU looks at before it computes: the values of ids. Elsewhere kernels guard.
function M.refuses_ids(fn, pattern)
  if M.cpu then M.refuses(fn, pattern) end
end

--- Fails unless fn() returns the same list of numbers, bit for bit, with one and with two threads.
-- fn() for 1 and for 2 threads: two lists of numbers of one length.
local function for_threads(fn)
  local before = C.dm_threads()
  C.dm_threads_set(1)
  local one = scope.step(fn)
  C.dm_threads_set(2)
  local two = scope.step(fn)
  C.dm_threads_set(before)
  assert(#one == #two and #one > 0, 'nothing to compare')
  return one, two
end

function M.same_bits(fn)
  local one, two = for_threads(fn)
  for i = 1, #one do
    if one[i] ~= two[i] then
      error(('value[%d] is %.17g with one thread, %.17g with two'):format(i - 1, one[i], two[i]), 2)
    end
  end
end

-- -- op cases --------------------------------------------------------------------------------------------

local Case = {}
Case.__index = Case

function M.op_case(o) return setmetatable(o, Case) end

local function label(size) return 'size ' .. table.concat(size, ' x ') end

-- check(self, name of the type) in f32, then in bf16 where the device takes it.
local function each_type(self, check)
  check(self, '')
  if self.no_bf16 or C.dm_device_takes(scope.device(), C.DM_BF16) == 0 then return end
  scope.precision 'bf16'
  local ok, why = pcall(check, self, 'bf16 ')
  scope.precision 'f32'
  if not ok then error(why, 0) end
end

local function tolerance(kind, in_f32, roundings)
  return kind == 'bf16 ' and roundings * BF16 or in_f32
end

-- What errors are measured against at least: inputs are below 1, and f32 keeps that much of it. In bf16 a tensor's own
-- largest value, how small it may be, says what rounding the plain one costs; of few values none may be large.
local function least(kind, list) return kind == 'bf16 ' and #list >= 16 and 0 or 1 end

local function value(self, kind)
  for k, size in ipairs(self.sizes) do
    M.reseed(k)
    local a = self.make(unpack(size))
    local want = self.plain(a)
    local got = scope.step(function() return self.run(tensors(self, a)):totable() end)
    M.close(got, want, tolerance(kind, M.twin and 1e-12 or 1e-5, 2), kind .. label(size) .. ': y',
      least(kind, want))
  end
end

function Case:value() each_type(self, value) end

-- Gradients by the engine, for d loss / dy = proj; `start`: values already in the gradients (adding), or nil.
local function engine_gradients(self, a, proj, start)
  return scope.step(function()
    local t = tensors(self, a, true)
    local y = tape.recording(self.run, t)
    local seed = Tensor.from(proj, y:shape(), y:dtype())
    for _, k in ipairs(self.grads) do
      if start then t[k].grad = Tensor.from(start[k], a[k].shape, t[k].store and 'f32' or nil) end
    end
    tape.backward(y, seed)
    local out = {}
    for _, k in ipairs(self.grads) do
      assert(t[k].grad, k .. ' got no gradient')
      out[k] = t[k].grad:totable()
    end
    return out
  end)
end

local function dot(a, b)
  local s = 0
  for i = 1, #a do s = s + a[i] * b[i] end
  return s
end

local function gradient(self, kind)
  local eps = 1e-5
  for k, size in ipairs(self.grad_sizes or self.sizes) do
    M.reseed(k)
    local a = self.make(unpack(size))
    local y = self.plain(a)
    local proj = M.rand(#y)
    local got = engine_gradients(self, a, proj)
    local again = engine_gradients(self, a, proj)
    local start = {}
    for _, name in ipairs(self.grads) do start[name] = M.rand(#a[name]) end
    local added = engine_gradients(self, a, proj, start)
    for _, name in ipairs(self.grads) do
      local x, want, seen = a[name], {}, {}
      local stride = math.max(1, math.floor(#x / 60))
      for i = 1, #x, stride do
        local v = x[i]
        x[i] = v + eps
        local up = dot(self.plain(a), proj)
        x[i] = v - eps
        local down = dot(self.plain(a), proj)
        x[i] = v
        want[#want + 1], seen[#seen + 1] = (up - down) / (2 * eps), got[name][i]
      end
      M.close(seen, want, tolerance(kind, M.twin and 1e-8 or 1e-4, 3), kind .. label(size) .. ': d' .. name,
        least(kind, want))
      local sum = {}
      for i = 1, #x do sum[i] = got[name][i] + start[name][i] end
      M.close(added[name], sum, tolerance(kind, M.twin and 1e-12 or 1e-5, 3),
        kind .. label(size) .. ': added d' .. name, least(kind, sum))
      for i = 1, #x do
        assert(got[name][i] == again[name][i], label(size) .. ': two runs differ in d' .. name)
      end
    end
  end
end

function Case:gradient() each_type(self, gradient) end

return M
