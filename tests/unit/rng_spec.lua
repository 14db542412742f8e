-- rng_spec.lua -- Philox4x32-10 against its known answers, shuffles and row orders.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local C, check = core.C, core.check

-- kat_vectors of Random123 (Salmon et al. 2011).
local answers = {
  { { 0, 0, 0, 0 }, { 0, 0 }, '6627e8d5 e169c58d bc57ac4c 9b00dbd8' },
  { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, { 0xffffffff, 0xffffffff },
    '408f276d 41c83b0e a20bc7c6 6d5451fd' },
  { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 },
    'd16cfe09 94fdcceb 5001e420 24126ea1' },
}

describe('Philox4x32-10', function()
  it('gives the known answers', function()
    local out = ffi.new 'uint32_t[4]'
    for _, a in ipairs(answers) do
      C.dm_philox(out, ffi.new('uint32_t[4]', a[1]), ffi.new('uint32_t[2]', a[2]))
      local text = {}
      for i = 0, 3 do text[i + 1] = ('%08x'):format(out[i]) end
      assert.are.equal(a[3], table.concat(text, ' '))
    end
  end)
end)

describe('shuffle', function()
  it('is a permutation, the same for (seed, site, step)', function()
    local n = 1000
    local a, b, c = ffi.new('int32_t[?]', n), ffi.new('int32_t[?]', n), ffi.new('int32_t[?]', n)
    check(C.dm_shuffle(a, n, 42, 1, 0))
    check(C.dm_shuffle(b, n, 42, 1, 0))
    check(C.dm_shuffle(c, n, 42, 1, 1))
    local seen, moved, other = {}, 0, 0
    for i = 0, n - 1 do
      assert.are.equal(a[i], b[i])
      seen[a[i]] = true
      moved, other = moved + (a[i] ~= i and 1 or 0), other + (a[i] ~= c[i] and 1 or 0)
    end
    for i = 0, n - 1 do assert.is_true(seen[i]) end
    assert.is_true(moved > 950 and other > 950)
  end)

  it('is fair', function()
    local count, perm = {}, ffi.new 'int32_t[3]'
    for step = 1, 6000 do
      check(C.dm_shuffle(perm, 3, 7, 1, step))
      local k = perm[0] * 100 + perm[1] * 10 + perm[2]
      count[k] = (count[k] or 0) + 1
    end
    for _, n in pairs(count) do assert.is_near(1000, n, 150) end
  end)

  it('refuses a seed that is no whole number', function()
    assert.are.equal(C.DM_EARG, C.dm_shuffle(ffi.new 'int32_t[3]', 3, 1.5, 0, 0))
  end)
end)

describe('order', function()
  it('sorts rows by id, stable, -1 first', function()
    local out = ffi.new 'int32_t[6]'
    check(C.dm_order(out, ffi.new('int32_t[6]', { 2, 0, -1, 2, 0, 1 }), 6, 3))
    assert.are.same({ 2, 1, 4, 5, 0, 3 }, { out[0], out[1], out[2], out[3], out[4], out[5] })
  end)

  it('refuses an id outside the range', function()
    assert.are.equal(C.DM_EARG, C.dm_order(ffi.new 'int32_t[1]', ffi.new('int32_t[1]', { 3 }), 1, 3))
    assert.are.equal('order: ids[0] is 3, expected -1 .. 2', ffi.string(C.dm_last_error()))
  end)
end)

describe('orthonormal', function()
  it('makes rows of unit length at right angles, the first along its old direction', function()
    local n = 96
    local a = ffi.new('double[?]', n * n)
    local z = require('datamux').Tensor.new({ n * n }):normal(0, 1, 5, 1):host()
    local square = 0
    for k = 0, n * n - 1 do a[k] = z[k] end
    for j = 0, n - 1 do square = square + z[j] ^ 2 end
    check(C.dm_orthonormal(a, n))
    for r = 0, n - 1 do
      for k = 0, r do
        local s = 0
        for j = 0, n - 1 do s = s + a[r * n + j] * a[k * n + j] end
        assert.is_near(r == k and 1 or 0, s, 1e-11)
      end
    end
    for j = 0, n - 1 do assert.is_near(z[j] / math.sqrt(square), a[j], 1e-12) end
  end)

  it('refuses rows that depend on each other', function()
    assert.are.equal(C.DM_EARG, C.dm_orthonormal(ffi.new('double[4]', { 1, 2, 2, 4 }), 2))
    assert.is_truthy(ffi.string(C.dm_last_error()):find 'orthonormal: row 1 depends on those before it')
  end)
end)
