-- ahead_spec.lua -- inputs of a later step that are brought beside the one that runs.
local ffi = require 'ffi'
local h = require 'tests.helper'
local dm = require 'datamux'
local ahead = require 'datamux.ahead'
local core = require 'datamux.ffi'
local scope = dm.scope
local C, check = core.C, core.check

local gpu = scope.records()
local emulated = scope.about():find 'emulated' ~= nil
local late = emulated and (os.getenv 'DATAMUX_EMULATION_LATE' or 'copies')   -- the stream whose work waits

local function numbers(n, from)
  local v = ffi.new('int32_t[?]', n)
  for i = 0, n - 1 do v[i] = from + i end
  return v
end

-- A list of n numbers brought ahead; the host's copy is overwritten at once.
local function brought(n, from)
  return scope.ahead(function()
    local v = numbers(n, from)
    local t = dm.Tensor.new({ n }, 'i32'):put(v)
    ffi.fill(v, 4 * n)
    return t
  end)
end

local function use(t, place, from)
  scope.arrive(place)
  local v = t:totable()
  scope.leave(place)
  for i = 1, #v do
    if v[i] ~= from + i - 1 then error(('value %d is %d, expected %d'):format(i, v[i], from + i - 1)) end
  end
end

describe('what is brought ahead of a step', function()
  it('is refused where the device works at once', function()
    if gpu then return pending 'this device does not work at once' end
    h.refuses(function() check(C.dm_device_ahead(scope.device(), C.DM_AHEAD_BEGIN, 0)) end,
      'ahead: cpu works at once, expected a CUDA device')
  end)

  it('is there once it has arrived, whatever became of the host\'s copy, turn after turn', function()
    if not gpu then return pending 'the CPU works at once' end
    for turn = 1, 6 do
      local n = turn == 4 and 300000 or 1000                       -- the fourth takes more pinned memory
      local t, place = brought(n, turn)
      use(t, place, turn)
    end
  end)

  it('waits in two places', function()
    if not gpu then return pending 'the CPU works at once' end
    local a, here = brought(2000, 1)
    local b, there = brought(3000, 7)
    assert.are_not.equal(here, there)
    use(b, there, 7)
    use(a, here, 1)
  end)

  it('is not there before, under the emulator', function()
    if late ~= 'copies' then return pending 'needs the emulator, where copies run as late as they may' end
    local t, place = brought(1000, 1)
    assert.is_true(t:host()[5] ~= 6, 'the copy ran at once: a missing wait would not be found')
    use(t, place, 1)
  end)

  it('is not written over while a step reads it, under the emulator', function()
    if late ~= 'steps' then return pending 'needs the emulator, where steps run as late as they may' end
    local function gathered(leaves)
      return scope.step(function()
        local x = dm.Tensor.new({ 8, 1 }, 'f32'):put(ffi.new('float[8]', 0, 1, 2, 3, 4, 5, 6, 7))
        local ids, place = brought(4, 0)
        scope.arrive(place)
        local y = dm.gather(x, ids)
        if leaves then scope.leave(place) end
        for _ = 1, 2 do scope.leave(select(2, brought(4, 4))) end         -- both places are taken again
        return y:totable()
      end)
    end
    assert.are.same({ 0, 1, 2, 3 }, gathered(true))
    assert.are.same({ 4, 5, 6, 7 }, gathered(false), 'a place taken too early was not found')
  end)

  it('takes no scratch memory, and ends the place that began', function()
    if not gpu then return pending 'the CPU works at once' end
    local x, ids = dm.zeros(4, 8), dm.tensor({ 0, 1, 2, 3 }, nil, 'i32')
    local ok, why = pcall(scope.ahead, function()
      local norm = dm.Tensor.new({ 1 }, 'f32')
      check(C.dm_norm2(norm.c, x.c))
    end)
    assert.is_false(ok)
    assert.is_truthy(tostring(why):find('norm2: needs scratch memory', 1, true), tostring(why))
    h.refuses(function() check(C.dm_device_ahead(scope.device(), C.DM_AHEAD_END, 0)) end, 'where nothing has begun')
    assert.are.same({ 0, 1, 2, 3 }, ids:totable())
  end)
end)

describe('the inputs of a loop', function()
  -- Inputs { x: n numbers from k }, and how often which were made.
  local function counted(n)
    local times = {}
    return ahead.new(function(k)
      times[k] = (times[k] or 0) + 1
      return { x = dm.Tensor.new({ n }, 'i32'):put(numbers(n, k)) }
    end), times
  end

  local function step(inputs, k, next)
    return scope.step(function()
      local x = dm.Tensor.new({ 8, 1 }, 'f32'):put(ffi.new('float[8]', 0, 1, 2, 3, 4, 5, 6, 7))
      local y = dm.gather(x, inputs:take(k).x)
      inputs:leave(next)
      return y:totable()
    end)
  end

  it('are those of each step, made once', function()
    local inputs, times = counted(2)
    for k = 0, 5 do assert.are.same({ k, k + 1 }, step(inputs, k, k < 5 and k + 1 or nil)) end
    assert.are.same({ [0] = 1, 1, 1, 1, 1, 1 }, times)
    assert.is_nil(inputs.waiting)
  end)

  it('are made ahead of the step that takes them, where the device works behind the host\'s back', function()
    local inputs, times = counted(2)
    step(inputs, 0, 1)
    assert.are.equal(gpu and 1 or nil, times[1])
  end)

  it('are made again where another step comes than was told, or another loop\'s came between', function()
    local a, b = counted(2), counted(3)
    for turn = 1, 3 do
      step(a, 0, 1)
      assert.are.same({ 5, 6 }, step(a, 5, 2), turn)
      assert.are.same({ 4, 5, 6 }, step(b, 4, 3), turn)
      assert.are.same({ 2, 3 }, step(a, 2), turn)
    end
  end)

  it('survive a step that failed', function()
    local inputs = counted(2)
    assert.is_false(pcall(scope.step, function()
      inputs:take(0)
      error 'no'
    end))
    for k = 1, 4 do assert.are.same({ k, k + 1 }, step(inputs, k, k + 1)) end
  end)
end)
