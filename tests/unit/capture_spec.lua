-- capture_spec.lua -- a recorded step repeats what the eager one does, bit for bit, with the knobs of the moment.
local ffi = require 'ffi'
local h = require 'tests.helper'
local core = require 'datamux.ffi'
local dm = require 'datamux'
local capture = require 'datamux.capture'
local C, check = core.C, core.check

local n, rows = 96, 7
local graph = ffi.new 'void *[1]'

-- A model in miniature: parameters p, gradient by layer norm with dropout, clipped AdamW. Returns its step and values.
local function setting()
  h.reseed(3)
  local t = { x = h.tensor(h.rand(rows, n)), r = h.tensor(h.rand(rows, n)), dy = h.tensor(h.rand(rows, n)),
              p = h.tensor(h.rand(n)), b = h.tensor(h.rand(n)), m = dm.zeros(n), v = dm.zeros(n), g = dm.zeros(n),
              norm = dm.zeros(1), y = dm.zeros(rows, n), stat = dm.zeros(rows, 2) }
  local function step()
    check(C.dm_layernorm_fwd(t.y.c, t.stat.c, t.x.c, t.r.c, t.p.c, t.b.c, 0.3, 4, 1e-5))
    check(C.dm_layernorm_bwd(nil, nil, t.g.c, nil, t.dy.c, t.x.c, t.r.c, t.p.c, t.stat.c, 0.3, 4, 0))
    check(C.dm_norm2(t.norm.c, t.g.c))
    check(C.dm_adamw(t.p.c, t.m.c, t.v.c, nil, t.g.c, t.norm.c, n / 2, 0.9, 0.99, 1e-8, 0.1, 0.5))
  end
  return step, t
end

local function knobs(k) dm.scope.knobs { seed = h.seed, step = k, lr = 0.01 * k, update = k } end

describe('capture', function()
  local device = dm.scope.device()

  it('is refused where the device cannot record', function()
    if not h.cpu then return pending 'this device records' end
    h.refuses(function() check(C.dm_device_capture(device, C.DM_CAPTURE_BEGIN, nil)) end, 'capture: cpu cannot record')
    h.refuses(function() check(C.dm_device_replay(device, nil)) end, 'replay: cpu cannot record')
  end)

  it('gives the parameters of eager steps, bit for bit', function()
    if h.cpu then return pending 'the CPU does not record' end
    local step, eager = setting()
    for k = 1, 10 do
      knobs(k)
      step()
    end
    local again, t = setting()
    knobs(1)
    again()                                  -- grows the scratch memory, which recording may not
    for k = 2, 10 do
      knobs(k)
      if k == 2 then
        check(C.dm_device_capture(device, C.DM_CAPTURE_BEGIN, nil))
        again()
        check(C.dm_device_capture(device, C.DM_CAPTURE_END, graph))
      end
      check(C.dm_device_replay(device, graph[0]))
    end
    check(C.dm_device_capture(device, C.DM_CAPTURE_FORGET, graph))
    assert.are.same(eager.p:totable(), t.p:totable())
    assert.are.same(eager.v:totable(), t.v:totable())
  end)

  it('refuses what it cannot record, and can be dropped', function()
    if h.cpu then return pending 'the CPU does not record' end
    local x, one = dm.zeros(2), dm.zeros(1)
    check(C.dm_device_capture(device, C.DM_CAPTURE_BEGIN, nil))
    local ok, why = pcall(one.item, one)
    local ok2, why2 = pcall(knobs, 3)
    check(C.dm_device_capture(device, C.DM_CAPTURE_END, nil))
    assert.is_false(ok or ok2)
    assert.is_truthy(why:find('not allowed inside a captured step', 1, true), why)
    assert.is_truthy(why2:find('knobs: changing them: not allowed inside a captured step', 1, true), why2)
    knobs(1)
    assert.are.same({ 0, 0 }, x:totable())
  end)

  it('comes after a step that ended, and is left for one that failed', function()
    if h.cpu then return pending 'the CPU does not record' end
    local recorder, fails, x = capture.new(true), true, dm.tensor { 1, 2 }
    local function double(q)
      if fails then error('refused', 0) end
      return { y = dm.scale(q.x, 2) }
    end
    local function run(fail)
      fails = fail
      return dm.step(function()
        local ok, out = pcall(recorder.run, recorder, 'double', double, { x = x })
        return ok and out.y:totable() or out
      end)
    end
    assert.are.equal('refused', run(true))
    assert.are.same({ 2, 4 }, run(false))                -- as it is written: the first that ended
    assert.are.equal(0, recorder.recorded)
    assert.are.equal('refused', run(true))               -- while it is recorded
    assert.are.same({ 2, 4 }, run(false))
    assert.are.equal(0, recorder.recorded)
    for _ = 1, 2 do assert.are.same({ 2, 4 }, run(false)) end
    assert.are.same({ 1, 1 }, { recorder.recorded, recorder.replayed })
  end)
end)
