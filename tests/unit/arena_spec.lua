-- arena_spec.lua -- arenas: mark and release, reset, generations, figures, refused allocations.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local dm = require 'datamux'
local scope = require 'datamux.scope'
local h = require 'tests.helper'
local C, check = core.C, core.check

local function new_arena()
  local out = ffi.new 'dm_arena *[1]'
  check(C.dm_arena_new(out, scope.device()))
  return out[0]
end

local function alloc(arena, n)
  local t = ffi.new 'dm_tensor'
  t.dtype, t.ndim, t.shape[0] = C.DM_F32, 1, n
  return C.dm_tensor_alloc(t, arena), t
end

describe('an arena', function()
  it('gives addresses that are aligned to 256 bytes', function()
    local a = new_arena()
    for _, n in ipairs { 1, 7, 100 } do
      local _, t = alloc(a, n)
      assert.are.equal(0, tonumber(ffi.cast('uintptr_t', t.data) % 256))
    end
    C.dm_arena_free(a)
  end)

  it('repeats addresses after a reset and reaches the system no more', function()
    local a = new_arena()
    local function step()
      local first
      for i = 1, 20 do
        local _, t = alloc(a, 50000 * i)
        first = first or t.data
      end
      return tostring(first)
    end
    step()
    check(C.dm_arena_reset(a))                       -- several chunks become one
    local one = step()
    local before = scope.memory().allocs
    check(C.dm_arena_reset(a))
    assert.are.equal(one, step())
    assert.are.equal(before, scope.memory().allocs)
    C.dm_arena_free(a)
  end)

  it('gives back to a mark, over chunks', function()
    local a = new_arena()
    alloc(a, 100)
    local mark = C.dm_arena_mark(a)
    alloc(a, 1000000)
    alloc(a, 1000000)
    assert.is_true(C.dm_arena_used(a) > 8e6)
    check(C.dm_arena_release(a, mark))
    assert.are.equal(mark, C.dm_arena_used(a))
    assert.are.equal(C.DM_EARG, C.dm_arena_release(a, mark + 1))
    assert.are.equal(C.DM_EARG, C.dm_arena_release(a, mark - 1))
    assert.are.equal(mark, C.dm_arena_used(a))
    C.dm_arena_free(a)
  end)

  it('makes its tensors stale when it is reset or freed', function()
    local a = new_arena()
    local _, t = alloc(a, 4)
    check(C.dm_arena_reset(a))
    assert.are.equal(C.DM_ESTALE, C.dm_tensor_fill(t, 1))
    local _, u = alloc(a, 4)
    C.dm_arena_free(a)
    assert.are.equal(C.DM_ESTALE, C.dm_tensor_fill(u, 1))
    local b = new_arena()                            -- may use the same struct again
    alloc(b, 4)
    assert.are.equal(C.DM_ESTALE, C.dm_tensor_fill(u, 1))
    C.dm_arena_free(b)
  end)

  it('gives memory back when it is freed', function()
    local before = scope.memory()
    local a = new_arena()
    alloc(a, 1e6)
    assert.is_true(scope.memory().live >= before.live + 4e6)
    C.dm_arena_free(a)
    assert.are.equal(before.live, scope.memory().live)
    assert.are.equal(before.used, scope.memory().used)
  end)

  it('says so when memory is refused, and lives on', function()
    local a = new_arena()
    C.dm_arena_fail_every(1)
    local status = alloc(a, 10)
    C.dm_arena_fail_every(0)
    assert.are.equal(C.DM_ENOMEM, status)
    assert.are.equal(C.DM_OK, (alloc(a, 10)))
    C.dm_arena_free(a)
  end)

  it('refuses shapes that no device holds', function()
    h.refuses(function() dm.zeros(2147483647, 2147483647) end, 'more than any device has')
  end)
end)

describe('a step', function()
  it('gives back only its own when it is inside another', function()
    dm.step(function()
      local x = dm.zeros(3):fill(7)
      dm.step(function() dm.zeros(1000):fill(9) end)
      assert.are.same({ 7, 7, 7 }, x:totable())
    end)
  end)

  it('passes errors through and leaves nothing behind', function()
    local before = scope.memory().used
    assert.has_error(function() dm.step(function()
      dm.zeros(100)
      error 'mine'
    end) end)
    assert.are.equal(before, scope.memory().used)
    assert.is_false(scope.inside())
  end)

  it('lets a tensor outlive it by keep', function()
    local kept
    dm.step(function() kept = dm.zeros(2):fill(3):keep() end)
    assert.are.same({ 3, 3 }, kept:totable())
    kept:free()
    h.refuses(function() kept:fill(1) end, 'was freed')
  end)
end)
