-- pickle_spec.lua -- PyTorch checkpoints: tensors of every kind are read, everything else is refused and nothing runs.
local ffi = require 'ffi'
local pickle = require 'datamux.pickle'
local sys = require 'datamux.sys'

local function u16(n) return string.char(n % 256, math.floor(n / 256) % 256) end
local function u32(n) return u16(n % 65536) .. u16(math.floor(n / 65536)) end

-- An archive with stored members; list: { name, bytes } each.
local function zip_of(list)
  local out, directory, at = {}, {}, 0
  for _, m in ipairs(list) do
    local sizes = u32(0) .. u32(#m[2]) .. u32(#m[2]) .. u16(#m[1]) .. u16(0)
    local head = 'PK\3\4' .. u16(20) .. u16(0) .. u16(0) .. u32(0) .. sizes .. m[1]
    directory[#directory + 1] = 'PK\1\2' .. u16(20) .. u16(20) .. u16(0) .. u16(0) .. u32(0) .. sizes .. u16(0)
      .. u16(0) .. u16(0) .. u32(0) .. u32(at) .. m[1]
    out[#out + 1] = head .. m[2]
    at = at + #head + #m[2]
  end
  local d = table.concat(directory)
  return table.concat(out) .. d .. 'PK\5\6' .. u32(0) .. u16(#list) .. u16(#list) .. u32(#d) .. u32(at) .. u16(0)
end

local function text(s) return 'X' .. u32(#s) .. s end
local function ints(list)
  local out = { '(' }
  for i, v in ipairs(list) do out[i + 1] = 'K' .. string.char(v) end
  return table.concat(out) .. 't'
end

-- A tensor's program.
local function tensor(kind, key, n, offset, shape, strides)
  return 'ctorch._utils\n_rebuild_tensor_v2\n((' .. text 'storage' .. 'ctorch\n' .. kind .. '\n' .. text(key)
    .. text 'cpu' .. 'K' .. string.char(n) .. 'tQK' .. string.char(offset) .. ints(shape) .. ints(strides)
    .. '\137ccollections\nOrderedDict\n)RtR'
end

local function program(entries)
  local out = {}
  for name, value in pairs(entries) do out[#out + 1] = text(name) .. value end
  return '\128\2}(' .. table.concat(out) .. 'u.'
end

local path
local function file(pkl, storages)
  local list = { { 'm/data.pkl', pkl }, { 'm/byteorder', 'little' } }
  for key, bytes in pairs(storages or {}) do list[#list + 1] = { 'm/data/' .. key, bytes } end
  sys.write(path, zip_of(list))
  return path
end

local function refused(pattern, pkl, storages)
  local ok, e = pcall(pickle.open, file(pkl, storages))
  assert.is_false(ok)
  assert.are.equal(7, e.code)
  assert.is_truthy(tostring(e):find(pattern), tostring(e))
end

local floats = ffi.string(ffi.new('float[4]', { 1, 2, 3, 4 }), 16)

describe('a PyTorch checkpoint', function()
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it('is read where it lies: type, shape and bytes of each tensor, shared storages once', function()
    local got = pickle.open(file(program {
      whole = tensor('FloatStorage', '0', 4, 0, { 2, 2 }, { 2, 1 }),
      tail = tensor('FloatStorage', '0', 4, 2, { 2 }, { 1 }),
      half = tensor('HalfStorage', '1', 1, 0, { 1 }, { 1 }),
      scalar = tensor('LongStorage', '2', 1, 0, {}, {}),
    }, { ['0'] = floats, ['1'] = '\0\60', ['2'] = '\7\0\0\0\0\0\0\0' })).tensors
    assert.are.same({ 'F32', { 2, 2 }, 16 }, { got.whole.dtype, got.whole.shape, got.whole.bytes })
    assert.are.equal(3, ffi.cast('const float *', got.tail.ptr)[0])
    assert.are.equal(got.whole.ptr + 8, got.tail.ptr)
    assert.are.same({ 'F16', { 1 }, 2 }, { got.half.dtype, got.half.shape, got.half.bytes })
    assert.are.same({ 'I64', {}, 8 }, { got.scalar.dtype, got.scalar.shape, got.scalar.bytes })
  end)

  it('written by PyTorch is read: parameters, versions of modules, aliases', function()
    local got = pickle.open 'tests/golden/pickle.bin'.tensors
    local names = {}
    for name in pairs(got) do names[#names + 1] = name end
    table.sort(names)
    assert.are.same({ 'alias', 'bf16', 'f16', 'f32', 'i64', 'parameter' }, names)
    assert.are.same({ 'F32', { 2, 3 } }, { got.f32.dtype, got.f32.shape })
    assert.are.equal(got.f32.ptr, got.alias.ptr)
    assert.are.equal(5, ffi.cast('const float *', got.f32.ptr)[5])
    assert.are.equal(1.5, ffi.cast('const float *', got.parameter.ptr)[0])
    assert.are.equal(3, tonumber(ffi.cast('const int64_t *', got.i64.ptr)[3]))
  end)

  it('that calls a program is refused by name, and the program is not run', function()
    local mark = path .. '.ran'
    for _, name in ipairs { 'os\nsystem', 'posix\nsystem', 'builtins\neval', 'subprocess\nPopen', 'torch\nload' } do
      local evil = '\128\2c' .. name .. '\n(' .. text('touch ' .. mark) .. 'tR.'
      refused("it asks for '" .. name:gsub('\n', '%%.') .. "'", evil)
      refused("it asks for '" .. name:gsub('\n', '%%.') .. "'", program { a = evil:sub(3, -2) })
    end
    assert.is_nil(sys.kind(mark))
  end)

  it('with an opcode that tensors do not need is refused', function()
    local others = { i = '0x69', o = '0x6f', ['\129'] = '0x81', ['\147'] = '0x93', ['\130'] = '0x82', P = '0x50' }
    for op, code in pairs(others) do
      refused('opcode ' .. code, '\128\2(' .. op .. 'os\nsystem\n.')
    end
    refused('its protocol is 4', '\128\4}.')
  end)

  it('that calls what is no function, or makes a tensor of anything else, is refused', function()
    refused('no function', '\128\2ctorch\nFloatStorage\n)R.')
    refused('no function', '\128\2})R.')
    refused('called with arguments', '\128\2ccollections\nOrderedDict\n(K\1tR.')
    refused('a tensor is not made of', '\128\2ctorch._utils\n_rebuild_tensor_v2\n(K\1tR.')
    refused('no storage of a known type', '\128\2(' .. text 'storage' .. 'NK\1tQ.')
    refused("it asks for 'torch.DoubleStorage'", program { a = tensor('DoubleStorage', '0', 1, 0, { 1 }, { 1 }) })
    refused('what is no dictionary', '\128\2]}b.')
  end)

  it('with strides, or beyond its storage, is refused', function()
    refused('strides %[1, 2%]', program { a = tensor('FloatStorage', '0', 4, 0, { 2, 2 }, { 1, 2 }) },
      { ['0'] = floats })
    refused('takes values 1 to 5', program { a = tensor('FloatStorage', '0', 4, 1, { 4 }, { 1 }) }, { ['0'] = floats })
    refused('16 bytes, expected 20', program { a = tensor('FloatStorage', '0', 5, 0, { 5 }, { 1 }) },
      { ['0'] = floats })
    refused("storage '9' of 'a' is not in it", program { a = tensor('FloatStorage', '9', 4, 0, { 4 }, { 1 }) })
  end)

  it('that is cut off or no checkpoint is refused', function()
    local whole = program { a = tensor('FloatStorage', '0', 4, 0, { 4 }, { 1 }) }
    for n = 0, #whole - 1, 7 do refused('not a usable', whole:sub(1, n), { ['0'] = floats }) end
    refused('holds no dictionary', '\128\2K\1.')
    refused("'a' is no tensor", program { a = 'K\1' })
    refused('memo', '\128\2h\5.')
    sys.write(path, zip_of { { 'm/other', 'x' } })
    assert.is_truthy(tostring(select(2, pcall(pickle.open, path))):find 'no data.pkl')
    local bytes = sys.read(file(whole, { ['0'] = floats }))
    for n = 0, #bytes - 1, 41 do
      sys.write(path, bytes:sub(1, n))
      assert.is_false(pcall(pickle.open, path))
    end
  end)
end)
