-- pickle.lua -- reading PyTorch checkpoints (a zip archive with a pickle in it) without running anything.
--
-- A pickle is a program for a stack machine that may call any function. This reader knows the opcodes and the few names
-- that a dictionary of tensors is made of, and refuses every other by name. Tensors are not copied: they are the bytes
-- of the mapped file.
-- Format: CPython's Lib/pickletools.py (protocol 2), read from its description.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local zip = require 'datamux.data.zip'
local C = core.C

local M = {}

local storages = { FloatStorage = 'F32', HalfStorage = 'F16', BFloat16Storage = 'BF16', LongStorage = 'I64' }
local widths = { F32 = 4, F16 = 2, BF16 = 2, I64 = 8 }

local MARK, NONE = {}, {}                          -- on the stack, where Lua's nil cannot be

-- Raised inside the machine, caught by decode.
local function refuse(...) error({ refused = (...):format(select(2, ...)) }, 0) end

-- -- what names stand for --------------------------------------------------------------------------------------------

local function is_count(v) return type(v) == 'number' and v >= 0 and v % 1 == 0 end

-- _rebuild_tensor_v2(storage, offset, shape, strides, ...)
local function tensor(args)
  local storage, offset, shape, stride = args[1], args[2], args[3], args[4]
  if type(storage) ~= 'table' or not storage.storage or not is_count(offset) or type(shape) ~= 'table'
    or type(stride) ~= 'table' or #shape ~= #stride then
    refuse 'a tensor is not made of a storage, an offset, a shape and strides'
  end
  local n = 1
  for i = #shape, 1, -1 do
    if not is_count(shape[i]) then refuse('a tensor has a shape of %s', tostring(shape[i])) end
    if shape[i] ~= 1 and stride[i] ~= n then
      refuse('a tensor of shape [%s] has strides [%s], expected contiguous values', table.concat(shape, ', '),
        table.concat(stride, ', '))
    end
    n = n * shape[i]
  end
  if offset + n > storage.n then
    refuse("a tensor takes values %d to %d of storage '%s', which has %d", offset, offset + n, storage.key, storage.n)
  end
  return { tensor = true, storage = storage, offset = offset, shape = shape, n = n }
end

local function dictionary(args)
  if #args > 0 then refuse 'collections.OrderedDict is called with arguments, expected none' end
  return { dict = {} }
end

local function parameter(args)
  if type(args[1]) ~= 'table' or not args[1].tensor then refuse 'a parameter is made of what is no tensor' end
  return args[1]
end

local globals = {
  ['collections.OrderedDict'] = { call = dictionary },
  ['torch._utils._rebuild_tensor_v2'] = { call = tensor },
  ['torch._utils._rebuild_parameter'] = { call = parameter },
}
for name, dtype in pairs(storages) do globals['torch.' .. name] = { dtype = dtype } end

-- -- the machine -----------------------------------------------------------------------------------------------------

local Machine = {}
Machine.__index = Machine

function Machine:bytes(n)
  local from = self.at
  if n < 0 or from + n - 1 > #self.text then refuse('it ends in the middle, at byte %d', #self.text) end
  self.at = from + n
  return self.text:sub(from, from + n - 1)
end

function Machine:whole(n)
  local s, v = self:bytes(n), 0
  for i = n, 1, -1 do v = v * 256 + s:byte(i) end
  return v
end

function Machine:line()
  local stop = self.text:find('\n', self.at, true)
  if not stop then refuse('it ends in the middle, at byte %d', #self.text) end
  local s = self.text:sub(self.at, stop - 1)
  self.at = stop + 1
  return s
end

function Machine:push(v) self.stack[#self.stack + 1] = v end

function Machine:pop()
  local v = table.remove(self.stack)
  if v == nil or v == MARK then refuse('nothing is on its stack at byte %d', self.at) end
  return v
end

-- What lies above the last mark.
function Machine:above()
  local stack, out = self.stack, {}
  local from = #stack
  while from > 0 and stack[from] ~= MARK do from = from - 1 end
  if from == 0 then refuse('there is no mark on its stack at byte %d', self.at) end
  for i = from + 1, #stack do out[#out + 1] = stack[i] end
  for i = #stack, from, -1 do stack[i] = nil end
  return out
end

function Machine:last(n)
  local out = {}
  for i = n, 1, -1 do out[i] = self:pop() end
  return out
end

function Machine:get(i)
  local v = self.memo[i]
  if v == nil then refuse('it takes entry %d of its memo, which was never put', i) end
  self:push(v)
end

function Machine:put(i) self.memo[i] = self.stack[#self.stack] end

function Machine:set(values)
  local d = self.stack[#self.stack]
  if type(d) ~= 'table' or not d.dict or #values % 2 > 0 then refuse('entries are set in what is no dictionary') end
  for i = 1, #values, 2 do
    if type(values[i]) == 'table' then refuse('a key of a dictionary is neither text nor a number') end
    d.dict[values[i]] = values[i + 1]
  end
end

function Machine:extend(values)
  local list = self.stack[#self.stack]
  if type(list) ~= 'table' or list.dict or list.call or list.tensor then
    refuse 'values are added to what is no list'
  end
  for _, v in ipairs(values) do list[#list + 1] = v end
end

-- A storage: ('storage', type, key, device, count).
function Machine:persistent()
  local id = self:pop()
  local kind = type(id) == 'table' and id[1] == 'storage' and id[2]
  if type(kind) ~= 'table' or not kind.dtype or type(id[3]) ~= 'string' or not is_count(id[5]) then
    refuse 'a persistent id is no storage of a known type'
  end
  self:push { storage = true, dtype = kind.dtype, key = id[3], n = id[5] }
end

function Machine:reduce()
  local args, f = self:pop(), self:pop()
  if type(f) ~= 'table' or not f.call or type(args) ~= 'table' then refuse 'it calls what is no function' end
  self:push(f.call(args))
end

function Machine:global()
  local module, name = self:line(), self:line()
  local g = globals[module .. '.' .. name]
  if not g then refuse("it asks for '%s.%s'", module, name) end
  self:push(g)
end

local function signed(v, bytes) return v >= 2 ^ (8 * bytes - 1) and v - 2 ^ (8 * bytes) or v end

-- Opcode -> what it does; STOP is not here.
local opcodes = {
  ['\128'] = function(m)
    local version = m:whole(1)
    if version > 2 then refuse('its protocol is %d, expected 2', version) end
  end,
  ['}'] = function(m) m:push { dict = {} } end,
  [']'] = function(m) m:push {} end,
  [')'] = function(m) m:push {} end,
  ['('] = function(m) m:push(MARK) end,
  ['t'] = function(m) m:push(m:above()) end,
  ['\133'] = function(m) m:push(m:last(1)) end,
  ['\134'] = function(m) m:push(m:last(2)) end,
  ['\135'] = function(m) m:push(m:last(3)) end,
  ['N'] = function(m) m:push(NONE) end,
  ['\136'] = function(m) m:push(true) end,
  ['\137'] = function(m) m:push(false) end,
  ['J'] = function(m) m:push(signed(m:whole(4), 4)) end,
  ['K'] = function(m) m:push(m:whole(1)) end,
  ['M'] = function(m) m:push(m:whole(2)) end,
  ['\138'] = function(m)
    local n = m:whole(1)
    if n > 6 then refuse('it holds a whole number of %d bytes, expected at most 6', n) end
    m:push(n == 0 and 0 or signed(m:whole(n), n))
  end,
  ['G'] = function(m)
    local s = m:bytes(8):reverse()
    m:push(ffi.cast('const double *', ffi.cast('const char *', s))[0])
  end,
  ['X'] = function(m) m:push(m:bytes(m:whole(4))) end,
  ['q'] = function(m) m:put(m:whole(1)) end,
  ['r'] = function(m) m:put(m:whole(4)) end,
  ['h'] = function(m) m:get(m:whole(1)) end,
  ['j'] = function(m) m:get(m:whole(4)) end,
  ['a'] = function(m) m:extend { m:pop() } end,
  ['e'] = function(m) m:extend(m:above()) end,
  ['s'] = function(m) m:set(m:last(2)) end,
  ['u'] = function(m) m:set(m:above()) end,
  ['c'] = Machine.global,
  ['R'] = Machine.reduce,
  ['Q'] = Machine.persistent,
  ['b'] = function(m)                              -- attributes of a dictionary (versions of modules): left out
    m:pop()
    local d = m.stack[#m.stack]
    if type(d) ~= 'table' or not d.dict then refuse 'it sets attributes of what is no dictionary' end
  end,
}

-- The value a pickle stands for; raises { refused = why }.
local function run(text)
  local m = setmetatable({ text = text, at = 1, stack = {}, memo = {} }, Machine)
  while true do
    local at = m.at
    local op = m:bytes(1)
    if op == '.' then return m:pop() end
    local f = opcodes[op]
    if not f then refuse('opcode 0x%02x at byte %d is none of those that tensors need', op:byte(), at - 1) end
    f(m)
  end
end

--- The value a pickle stands for: text, numbers, booleans, lists, { dict = .. } and tensors { storage, offset, shape,
--- n }. nil and the reason for what it refuses; nothing is run.
function M.decode(text)
  local ok, v = pcall(run, text)
  if ok then return v end
  if type(v) == 'table' and v.refused then return nil, v.refused end
  error(v, 0)
end

-- -- files -----------------------------------------------------------------------------------------------------------

local function bad(path, why)
  errors.raise('E702', { what = path .. ': not a usable PyTorch checkpoint: ' .. why,
    fix = 'give a file of tensors alone, such as torch.save(model.state_dict(), ...) writes, or safetensors' })
end

-- Checkpoints of a trainer keep the tensors under 'state_dict' or 'model'.
local function tensors_of(path, root)
  if type(root) ~= 'table' or not root.dict then bad(path, 'it holds no dictionary') end
  for _, name in ipairs { 'state_dict', 'model_state_dict', 'model' } do
    local inner = root.dict[name]
    if type(inner) == 'table' and inner.dict then return inner.dict end
  end
  return root.dict
end

-- Opens the file and finds its pickle: file, archive directory, folder inside the archive, text.
local function unpack_archive(path)
  local file = ffi.new 'dm_file'
  if C.dm_file_map(file, path) ~= 0 then errors.raise('E702', ffi.string(C.dm_last_error())) end
  ffi.gc(file, C.dm_file_unmap)
  local size = tonumber(file.size)
  local p = ffi.cast('const uint8_t *', file.data)
  local entries, why = zip.directory(p, size)
  if not entries then bad(path, why) end
  for name, e in pairs(entries) do
    local folder = name:match '^(.*)data%.pkl$'
    if folder then
      local order = entries[folder .. 'byteorder']
      if order and zip.read(p, order) ~= 'little' then bad(path, 'its values are not little-endian') end
      return file, entries, folder, zip.read(p, e) or bad(path, name .. ' cannot be unpacked')
    end
  end
  bad(path, 'there is no data.pkl in it')
end

--- Opens a PyTorch zip checkpoint: { tensors = name -> { dtype ('F32', 'F16', 'BF16', 'I64'), shape, ptr, bytes,
--- file }, file }, as safetensors.open does; tensors of one storage have one ptr. A pointer lives as long as its entry.
--- Raises (code 7) with the path and what is wrong; nothing of the file is run.
function M.open(path)
  local file, entries, folder, text = unpack_archive(path)
  local root, why = M.decode(text)
  if root == nil then bad(path, why) end
  local out = { tensors = {}, metadata = {}, file = file }
  for name, t in pairs(tensors_of(path, root)) do
    if type(t) ~= 'table' or not t.tensor then bad(path, ("'%s' is no tensor"):format(tostring(name))) end
    local s, width = t.storage, widths[t.storage.dtype]
    local e = entries[folder .. 'data/' .. s.key]
    if not e then bad(path, ("the storage '%s' of '%s' is not in it"):format(s.key, name)) end
    if e.method ~= 0 or e.packed < s.n * width then
      bad(path, ("the storage '%s' of '%s' is packed or has %.0f bytes, expected %.0f"):format(s.key, name, e.packed,
        s.n * width))
    end
    out.tensors[name] = { dtype = s.dtype, shape = t.shape, ptr = ffi.cast('uint8_t *', file.data) + e.at
      + t.offset * width, bytes = t.n * width, file = file }
  end
  return out
end

return M
