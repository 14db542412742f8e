-- device_spec.lua -- the registry of devices: names, and the door for a backend in a shared object.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local sys = require 'datamux.sys'
local C = core.C

local dir
before_each(function()
  dir = os.tmpname()
  os.remove(dir)
  sys.mkdir(dir)
end)
after_each(function() sys.remove(dir) end)

-- What `datamux --devices` says with this C file as the CUDA backend.
local function devices_with(source)
  sys.write(dir .. '/backend.c', source)
  local out = dir .. '/out'
  assert.are.equal(0, os.execute(('cc -shared -fPIC -o %s/libdatamux_cuda.so %s/backend.c'):format(dir, dir)))
  os.execute(('DATAMUX_BACKENDS=%s %s --devices > %s 2>&1'):format(dir, require('datamux.host').exe(), out))
  return sys.read(out)
end

local function contains(text, part) assert.is_truthy(text:find(part, 1, true), text) end

describe('a device', function()
  it('is opened once, by its name', function()
    local a, b = ffi.new 'dm_device *[1]', ffi.new 'dm_device *[1]'
    assert.are.equal(C.DM_OK, C.dm_device_open(a, 'cpu'))
    assert.are.equal(C.DM_OK, C.dm_device_open(b, 'cpu'))
    assert.are.equal(a[0], b[0])
    assert.are.equal('cpu', ffi.string(C.dm_device_name(a[0])))
    assert.is_truthy(ffi.string(C.dm_device_about(a[0])):find 'thread')
  end)

  it('is refused by a name that is none', function()
    local out = ffi.new 'dm_device *[1]'
    assert.are.equal(C.DM_EARG, C.dm_device_open(out, 'tpu'))
    contains(ffi.string(C.dm_last_error()), "device: 'tpu', expected auto, cpu, cuda or cuda:N")
    assert.are.equal(C.DM_EARG, C.dm_device_open(out, 'cuda:99'))
    contains(ffi.string(C.dm_last_error()), 'number 99')
    assert.are.equal(C.DM_EARG, C.dm_device_open(out, 'cuda:1x'))
    contains(ffi.string(C.dm_last_error()), "device: 'cuda:1x', expected")
  end)
end)

describe('a backend in a shared object', function()
  it('is passed over, with the reason, when it has no entry', function()
    contains(devices_with 'int other;', 'no dm_backend_entry in it')
  end)

  it('is passed over when it was made for another version', function()
    contains(devices_with [[struct { unsigned abi; const char *name; } b = { 9999, "x" };
      const void *dm_backend_entry(const void *host) { return &b; }]], 'made for version 9999')
  end)

  it('is passed over when an op is missing, which is named', function()
    contains(devices_with(([[struct { unsigned abi; const char *name; void *rows[500]; } b = { %d, "x", { 0 } };
      const void *dm_backend_entry(const void *host) { return &b; }]]):format(C.DM_ABI)), 'is missing')
  end)

  it('says itself why it cannot run', function()
    contains(devices_with [[typedef int (*fail)(int, const char *, ...);
      struct host { unsigned abi; fail say; };
      const void *dm_backend_entry(const struct host *h) { h->say(1, "no driver on this machine"); return 0; }]],
      'no driver on this machine')
  end)
end)
