-- embed_spec.lua -- embedding, gather, scatter.
local h = require 'tests.helper'
local dm = require 'datamux'

local function add_row(y, at, x, from, n)
  for j = 1, n do y[at + j] = y[at + j] + x[from + j] end
end

local embed = h.op_case {
  sizes = { { 1, 1, 1 }, { 3, 5, 7 }, { 40, 30, 65 }, { 600, 3, 5 } },
  make = function(R, V, C)
    return { ids = h.ints(0, V - 1, R, 2), posid = h.ints(0, 2, R, 2), word = h.rand(V, C), pos = h.rand(3, C) }
  end,
  run = function(t) return dm.embed(t.ids, t.word, { pos = t.pos, posid = t.posid }) end,
  plain = function(a)
    local C, y = a.word.shape[2], {}
    for r = 1, #a.ids do
      for j = 1, C do y[#y + 1] = a.word[a.ids[r] * C + j] + a.pos[a.posid[r] * C + j] end
    end
    return y
  end,
  grads = { 'word', 'pos' },
  weights = { 'word', 'pos' },
}

local gather = h.op_case {
  sizes = { { 1, 1, 1 }, { 9, 4, 7 }, { 2000, 3, 5 } },
  make = function(R, M, C) return { x = h.rand(M, C), rows = h.ints(-1, M - 1, R) } end,
  run = function(t) return dm.gather(t.x, t.rows) end,
  plain = function(a)
    local C, y = a.x.shape[2], {}
    for r = 1, #a.rows do
      for j = 1, C do y[#y + 1] = a.rows[r] >= 0 and a.x[a.rows[r] * C + j] or 0 end
    end
    return y
  end,
  grads = { 'x' },
}

local scatter = h.op_case {
  sizes = { { 1, 1, 1 }, { 9, 4, 7 }, { 1500, 2, 5 }, { 1300, 2, 132 } },
  grad_sizes = { { 1, 1, 1 }, { 9, 4, 7 } },
  make = function(R, M, C) return { x = h.rand(R, C), rows = h.ints(-1, M - 1, R), M = M } end,
  run = function(t) return dm.scatter(t.x, t.rows, t.M) end,
  plain = function(a)
    local C, y = a.x.shape[2], {}
    for i = 1, a.M * C do y[i] = 0 end
    for r = 1, #a.rows do
      if a.rows[r] >= 0 then add_row(y, a.rows[r] * C, a.x, (r - 1) * C, C) end
    end
    return y
  end,
  grads = { 'x' },
}

for name, c in pairs { embed = embed, gather = gather, scatter = scatter } do
  describe(name, function()
    it('equals its plain definition', function() c:value() end)
    it('has the gradient of its plain definition', function() c:gradient() end)
  end)
end

describe('the backward pass of embed', function()
  it('sums rows of one id that fill several chunks, with the same bits for any threads', function()
    h.same_bits(function()
      h.reseed(3)
      local word = h.tensor(h.rand(4, 6))
      word.needs = true
      local y = dm.tape.recording(dm.embed, dm.Tensor.zeros({ 5000 }, 'i32'):fill(2), word)
      dm.tape.backward(y, h.tensor(h.rand(5000, 6)))
      return word.grad:totable()
    end)
  end)

  it('writes zeros where no row points', function()
    dm.step(function()
      local word = dm.zeros(4, 2)
      word.needs = true
      local y = dm.tape.recording(dm.embed, dm.tensor({ 1, 1 }, { 2 }, 'i32'), word)
      dm.tape.backward(y)
      assert.are.same({ 0, 0, 2, 2, 0, 0, 0, 0 }, word.grad:totable())
    end)
  end)
end)

describe('the backward pass of embed, gather and scatter', function()
  it('takes no rows at all', function()
    dm.step(function()
      local none, x, row = dm.Tensor.new({ 0 }, 'i32'), dm.zeros(2, 3), dm.Tensor.new { 0, 3 }
      x.needs, row.needs = true, true
      for _, y in ipairs { dm.tape.recording(dm.embed, none, x), dm.tape.recording(dm.gather, x, none) } do
        dm.tape.backward(y)
        assert.are.same({ 0, 0, 0, 0, 0, 0 }, x.grad:totable())
      end
      local y = dm.tape.recording(dm.scatter, row, none, 2)
      assert.are.same({ 0, 0, 0, 0, 0, 0 }, y:totable())
      dm.tape.backward(y)
      assert.are.same({ 0, 3 }, row.grad:shape())
    end)
  end)
end)

describe('embed, gather and scatter', function()
  it('refuse what does not fit', function()
    local function ids(...) return dm.tensor({ ... }, nil, 'i32') end
    h.refuses_ids(function() dm.embed(ids(0, 7), dm.zeros(5, 2)) end, 'embed: ids%[1%] is 7, expected 0 .. 4')
    h.refuses_ids(function() dm.embed(ids(0, -1), dm.zeros(5, 2)) end, 'embed: ids%[1%] is %-1')
    h.refuses(function() dm.embed(ids(0), dm.zeros(5, 2), { pos = dm.zeros(3, 2) }) end, 'embed: posid is NULL')
    h.refuses(function() dm.embed(ids(0), dm.zeros(5, 2), { pos = dm.zeros(3, 4), posid = ids(0) }) end,
      'embed: pos is %[3, 4%]')
    h.refuses(function() dm.embed(ids(0), dm.zeros(5, 2), { pos = { 1, 2 }, posid = ids(0) }) end,
      'embed: pos is a table, expected a tensor')
    h.refuses_ids(function()
      local word = dm.zeros(5, 2)
      word.needs = true
      dm.tape.backward(dm.tape.recording(dm.embed, ids(0, 1), word, { order = ids(0, 2) }))
    end, 'embed backward: order%[1%] is 2, expected 0 .. 1')
    h.refuses(function() dm.scatter(dm.zeros(2, 2), ids(0, 1), 4, ids(0)) end,
      'scatter: order is %[1%], expected 2 entries')
    h.refuses_ids(function() dm.gather(dm.zeros(3, 2), ids(3)) end, 'gather: rows%[0%] is 3, expected %-1 .. 2')
    h.refuses(function() dm.scatter(dm.zeros(3, 2), ids(0, 1), 4) end, 'scatter: rows is %[2%], expected 3 entries')
  end)
end)
