-- moments_spec.lua -- the device's own time between two moments.
local ffi = require 'ffi'
local h = require 'tests.helper'
local dm = require 'datamux'
local core = require 'datamux.ffi'
local C, check = core.C, core.check

describe('a moment', function()
  local device, out = dm.scope.device(), ffi.new 'double[1]'

  it('lies after what was asked for before it', function()
    local a = dm.zeros(256, 256)
    check(C.dm_device_mark(device, 0))
    check(C.dm_device_mark(device, 1))
    dm.step(function() dm.matmul(a, a) end)
    check(C.dm_device_mark(device, 2))
    check(C.dm_device_between(device, 0, 1, out))
    local nothing = out[0]
    check(C.dm_device_between(device, 1, 2, out))
    assert.is_true(nothing >= 0 and out[0] > nothing, ('%g s for nothing, %g s for a product'):format(nothing, out[0]))
  end)

  it('is refused by a number that is none, or was never noted', function()
    h.refuses(function() check(C.dm_device_mark(device, C.DM_MARKS)) end, 'mark: number is 1024, expected 0 .. 1023')
    h.refuses(function() check(C.dm_device_mark(device, -1)) end, 'mark: number is %-1')
    h.refuses(function() check(C.dm_device_between(device, 0, 77, out)) end, 'between: to is 77, expected a moment')
  end)
end)
