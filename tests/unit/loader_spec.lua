-- loader_spec.lua -- batches as a pure function of (seed, epoch, position); every text once.
local ffi = require 'ffi'
local loader = require 'datamux.data.loader'

-- A set of n texts of lengths 1 .. 9; the first id of text i is 1000 + i.
local function make(n, labels)
  local set = { n = n, offset = ffi.new('int32_t[?]', n + 1), labels = labels and ffi.new('int32_t[?]', n) }
  local ids = {}
  for i = 0, n - 1 do
    for k = 1, 1 + i * 7 % 9 do ids[#ids + 1] = k == 1 and 1000 + i or k end
    set.offset[i + 1] = #ids
    if labels then set.labels[i] = i % 2 end
  end
  set.ids = ffi.new('int32_t[?]', #ids, ids)
  return set
end

local function numbers(b)
  local out = {}
  for k = 0, b.B * b.N - 1 do out[k + 1] = b.index[k] end
  return out
end

describe('a loader', function()
  it('gives every text once in an epoch of evaluation, and fills the last group', function()
    for _, bucket in ipairs { true, false } do
      local l = loader.new(make(101, true), { rows = 3, group = 4, length = 9, pad = 0, bucket = bucket, seed = 5,
        drop_last = false })
      local seen, filler, n = {}, 0, 0
      for p = 0, l:steps_per_epoch() - 1 do
        local b = l:batch(0, p)
        n = n + b.n
        for k = 0, b.B * b.N - 1 do
          local i = b.index[k]
          if i >= 0 then
            assert.is_nil(seen[i])
            seen[i] = true
            assert.are.equal(i % 2, b.label[k])
            assert.are.equal(1000 + i, b.ids_host[k * b.S])
            assert.are.equal(1 + i * 7 % 9, b.length[k])
          else
            filler = filler + 1
            assert.are.equal(-100, b.label[k])
          end
        end
      end
      assert.are.same({ 101, 3 }, { n, filler })
    end
  end)

  it('is a pure function of seed, epoch and position', function()
    local o = { rows = 2, group = 5, length = 9, pad = 0, seed = 7 }
    local a, b = loader.new(make(200), o), loader.new(make(200), o)
    local late = numbers(a:batch(3, 11))
    a:batch(0, 0)
    assert.are.same(late, numbers(b:batch(3, 11)))
    assert.are.same(late, numbers(a:batch(3, 11)))
    assert.are_not.same(late, numbers(a:batch(4, 11)))
    o = { rows = 2, group = 5, length = 9, pad = 0, seed = 8 }
    assert.are_not.same(late, numbers(loader.new(make(200), o):batch(3, 11)))
  end)

  it('pads to the longest, to a multiple, or to a fixed length', function()
    local set = make(40)
    local function length(o)
      o.rows, o.group, o.length, o.pad, o.shuffle = 1, 4, o.length or 9, 77, false
      return loader.new(set, o):batch(0, 0)
    end
    assert.are.equal(8, length({ bucket = false }).S)              -- lengths 1, 8, 6, 4
    assert.are.equal(8, length({ bucket = false, multiple = 4 }).S)
    assert.are.equal(9, length({ bucket = false, fixed = true }).S)
    local b = length { bucket = false, length = 5 }
    assert.are.equal(5, b.S)
    assert.are.same({ 1000, 77, 77 }, { b.ids_host[0], b.ids_host[1], b.ids_host[4] })
  end)

  it('puts texts of like length together when it buckets', function()
    local set, waste = make(2000), {}
    for _, bucket in ipairs { true, false } do
      local pads, all = 0, 0
      local l = loader.new(set, { rows = 4, group = 5, length = 9, pad = 0, bucket = bucket, seed = 1 })
      for p = 0, l:steps_per_epoch() - 1 do
        local b = l:batch(0, p)
        for k = 0, b.B * b.N - 1 do pads = pads + b.S - b.length[k] end
        all = all + b.B * b.N * b.S
      end
      waste[#waste + 1] = pads / all
    end
    assert.is_true(waste[1] < 0.05 and waste[2] > 0.3)
  end)

  it('refuses what cannot be', function()
    local function refused(pattern, o)
      local ok, e = pcall(loader.new, make(10), o)
      assert.is_false(ok)
      assert.are.equal(2, e.code)
      assert.is_truthy(tostring(e):find(pattern))
    end
    refused('rows is 0', { rows = 0, group = 2, length = 9, pad = 0 })
    refused('10 texts, expected at least one batch of 20', { rows = 4, group = 5, length = 9, pad = 0 })
  end)
end)
