-- edge_spec.lua -- ops at their edges: tables without rows, values that are no numbers, far values, empty products, an
-- allocation that fails, shapes that no int counts.
local ffi = require 'ffi'
local h = require 'tests.helper'
local dm = require 'datamux'
local core = require 'datamux.ffi'
local loss = require 'datamux.ops.loss'
local conv = require 'datamux.ops.conv'
local C, check = core.C, core.check

local NAN = 0 / 0

local function real(values, ...) return h.tensor(h.array(values, { ... })) end
local function ints(...) return h.tensor(h.array({ ... }, { select('#', ...) }, 'i32')) end

local function same(want, t)
  for i, v in ipairs(t:totable()) do
    local w = want[i]
    assert.is_true(w ~= w and v ~= v or w == v, ('[%d] is %g, expected %g'):format(i, v, w))
  end
end

describe('a table without rows', function()
  it('is refused where an entry asks for one', function()
    if not h.cpu then return end                             -- there the kernels guard
    dm.step(function()
      local none = dm.zeros(0, 4)
      h.refuses(function() dm.embed(ints(0), none) end, 'embed: ids%[0%] is 0, expected 0 .. %-1')
      h.refuses(function() dm.demux(none, dm.zeros(1, 4), ints(0), ints(0)) end, 'iu%[0%] is 0')
      h.refuses(function() loss.linear_xent(dm.zeros(2, 4), none, nil, ints(-100, -100)) end,
        'w is %[0, 4%], expected at least one row')
    end)
  end)
end)

describe('what is no number', function()
  it('stays none behind relu, GELU and the largest of a window', function()
    dm.step(function()
      same({ NAN, 1, 0 }, dm.act(real({ NAN, 1, -1 }, 3), 'relu'))
      same({ NAN }, dm.act(real({ NAN }, 1), 'gelu'))
      same({ NAN, NAN }, conv.maxpool2d(real({ 1, NAN, 2, 3, NAN, 1, 2, 3 }, 2, 1, 2, 2), 2))
    end)
  end)

  it('is no right answer', function()
    dm.step(function()
      local logits = real({ NAN, NAN, NAN, NAN, 0, 1 }, 3, 2)
      assert.are.same({ 1, 3 }, loss.count_correct(logits, ints(0, 1, 1)):totable())
    end)
  end)

  it('reaches Lua as a number, whatever its bits', function()
    if h.twin or not h.cpu then return end
    dm.step(function()
      local t = dm.zeros(4)
      local bits = ffi.cast('uint32_t *', t:pointer())
      bits[0], bits[1], bits[2], bits[3] = 0xffffffff, 0xffd40000, 0x7f800001, 0xfff80000
      for _, v in ipairs(t:totable()) do
        assert.are.equal('number', type(v))
        assert.is_true(v ~= v)
      end
    end)
  end)
end)

describe('GELU', function()
  it('is 0 far below 0, and its gradient too', function()
    dm.step(function()
      for _, x in ipairs { -20, -1e4, -1e30 } do
        assert.is_true(math.abs(dm.act(real({ x }, 1), 'gelu'):item()) < 1e-20)
      end
    end)
  end)
end)

describe('a product over nothing', function()
  it('is its bias in every tile', function()
    dm.step(function()
      local y = dm.linear(dm.zeros(1600, 0), dm.zeros(8, 0), dm.zeros(8):fill(1))
      for _, v in ipairs(y:totable()) do assert.are.equal(1, v) end
    end)
  end)

  it('of no instances is 0, by vectors and by matrices', function()
    dm.step(function()
      same({ 0, 0, 0, 0 }, dm.mux(dm.zeros(1, 0, 2, 2), dm.zeros(0, 2)))
      same({ 0, 0, 0, 0 }, dm.mux(dm.zeros(1, 0, 2, 2), dm.zeros(0, 2, 2)))
    end)
  end)
end)

describe('a gradient that is refused memory', function()
  it('is left as it was', function()
    if not h.cpu then return end
    dm.step(function()
      local dword, dpos, dy = dm.zeros(2, 2), dm.zeros(2, 2), dm.zeros(2, 2):fill(1)
      local list = ints(0, 1)
      for n = 1, 3 do
        C.dm_arena_fail_every(n)
        local failed = C.dm_embed_bwd(dword.c, dpos.c, dy.c, list.c, list.c, list.c, 3) ~= 0
        C.dm_arena_fail_every(0)
        if failed then same({ 0, 0, 0, 0 }, dword) else dword:fill(0) end
      end
    end)
  end)
end)

describe('a gradient that nobody wants', function()
  it('is not made', function()
    dm.step(function()
      local y, i = dm.zeros(1, 1, 2, 2), h.tensor(h.array({ 0, 0, 0, 0 }, { 1, 1, 2, 2 }, 'i32'))
      check(C.dm_scale_bwd(nil, y.c, 2, 0))
      check(C.dm_act_bwd(nil, y.c, y.c, 1, 0))
      check(C.dm_dropout_bwd(nil, y.c, 0.5, 1, 0))
      check(C.dm_maxpool2d_bwd(nil, y.c, i.c, 0))
    end)
  end)
end)

describe('a shape', function()
  it('has no more rows than an int counts, also of a view', function()
    dm.step(function()
      h.refuses(function() dm.Tensor.new { 65536, 65536, 1 } end, 'rows, expected at most 2^31 %- 1')
      h.refuses(function() dm.zeros(6):view { 2 ^ 30, 2 ^ 30, 16 } end, 'rows, expected at most')
    end)
  end)

  it('of a padded image is counted without overflow', function()
    dm.step(function()
      local y, x, w = dm.zeros(1, 1, 3, 3), dm.zeros(1, 1, 5, 5), dm.zeros(1, 1, 1, 1)
      h.refuses(function() check(C.dm_conv2d_fwd(y.c, x.c, w.c, nil, 2 ^ 31 - 1, 1)) end, 'pad is 2147483647')
    end)
  end)
end)

describe('a tensor that is freed', function()
  it('is freed once, and not by its views', function()
    local t = dm.Tensor.lasting { 4 }
    local v = t:view { 2, 2 }
    v:free()
    t:fill(1)
    t:free()
    t:free()
    local a, b = dm.Tensor.lasting { 4 }, dm.Tensor.lasting { 4 }
    a:free()
    b:fill(2)
    assert.are.equal(2, b:totable()[4])
  end)
end)
