-- loss_spec.lua -- xent, linear_xent, mse, count_correct.
local h = require 'tests.helper'
local dm = require 'datamux'
local core = require 'datamux.ffi'
local plain = require 'tests.plain'

local IGNORE = -100

local function labels(R, K)
  local y = h.ints(0, K - 1, R)
  for r = 3, R, 4 do y[r] = IGNORE end
  return y
end

local xent = h.op_case {
  sizes = { { 1, 1 }, { 5, 7 }, { 149, 65 } },
  make = function(R, K) return { logits = h.rand(R, K), label = labels(R, K) } end,
  run = function(t) return dm.xent(t.logits, t.label) end,
  plain = function(a) return plain.xent(a.logits, a.label, a.logits.shape[2], IGNORE) end,
  grads = { 'logits' },
}

local function projection(bias, keep)
  return h.op_case {
    sizes = { { 1, 1, 1 }, { 5, 3, 7 }, { 70, 6, 9000 } },
    grad_sizes = { { 1, 1, 1 }, { 5, 3, 7 }, { 37, 2, 11 }, { 4, 2, 600 } },
    make = function(R, C, V)
      return { x = h.rand(R, C), w = h.rand(V, C), b = bias and h.rand(V) or nil, label = labels(R, V) }
    end,
    run = function(t) return (dm.linear_xent(t.x, t.w, t.b, t.label, { keep = keep })) end,
    plain = function(a)
      local V = a.w.shape[1]
      local logits = plain.matmul(a.x, a.w, false, true)
      if a.b then
        for i = 1, #logits do logits[i] = logits[i] + a.b[(i - 1) % V + 1] end
      end
      return plain.xent(logits, a.label, V, IGNORE)
    end,
    grads = bias and { 'x', 'w', 'b' } or { 'x', 'w' },
    weights = { 'w', 'b' },
  }
end

local mse = h.op_case {
  sizes = { { 1, 1 }, { 5, 7 }, { 149, 65 } },
  make = function(R, C) return { x = h.rand(R, C), target = h.rand(R, C) } end,
  run = function(t) return dm.mse(t.x, t.target) end,
  plain = function(a)
    local s = 0
    for i = 1, #a.x do s = s + (a.x[i] - a.target[i]) ^ 2 / #a.x end
    return { s }
  end,
  grads = { 'x' },
}

for name, c in pairs { xent = xent, ['linear_xent'] = projection(true), mse = mse,
                       ['linear_xent without bias'] = projection(false),
                       ['linear_xent with logits not kept'] = projection(true, false) } do
  describe(name, function()
    it('equals its plain definition', function() c:value() end)
    it('has the gradient of its plain definition', function() c:gradient() end)
  end)
end

describe('linear_xent', function()
  it('has the gradient of linear followed by xent when rows fill several chunks', function()
    dm.step(function()
      local R, Ch, V = 18, 4, 1.1e6                        -- chunks on the CPU: 16 rows or 64 MiB
      if not h.cpu then R, V = 1030, 5 end                 -- on CUDA: at most 1024 rows
      local t = { x = h.tensor(h.rand(R, Ch)), w = h.tensor(h.rand(V, Ch)), b = h.tensor(h.rand(V)),
                  label = h.tensor(labels(R, V)) }
      local function gradients(fn)
        for _, k in ipairs { 'x', 'w', 'b' } do t[k].needs, t[k].grad = true, nil end
        local loss = dm.tape.recording(fn)
        dm.tape.backward(loss)
        return { t.x.grad:totable(), t.w.grad:totable(), t.b.grad:totable(), { loss:item() } }
      end
      local one = gradients(function() return (dm.linear_xent(t.x, t.w, t.b, t.label, { keep = false })) end)
      local two = gradients(function() return dm.xent(dm.linear(t.x, t.w, t.b), t.label) end)
      for k = 1, 4 do h.close(one[k], two[k], h.twin and 1e-10 or 1e-6) end
    end)
  end)

  it('counts the hits, the first of equal logits', function()
    dm.step(function()
      local x, w = dm.tensor { { 1, 0 }, { 0, 1 }, { 1, 1 } }, dm.tensor { { 1, 0 }, { 0, 1 } }
      local _, hits = dm.linear_xent(x, w, nil, dm.tensor({ 0, 0, 0 }, { 3 }, 'i32'))
      assert.are.same({ 2, 3 }, hits:totable())
    end)
  end)

  it('finds the first of equal logits wherever it is, and no right answer where one is no number', function()
    dm.step(function()
      local x, w, V = dm.tensor { { 1 }, { 1 }, { 0 / 0 } }, {}, 5000
      for j = 1, V do w[j] = j % 1999 == 0 and 1 or -1 end
      local _, hits = dm.linear_xent(x, dm.tensor(w, { V, 1 }), nil, dm.tensor({ 1998, 3997, 0 }, { 3 }, 'i32'))
      assert.are.same({ 1, 3 }, hits:totable())
    end)
  end)

  it('leaves out logits of minus infinity', function()
    dm.step(function()
      local V, b = 5000, {}
      for j = 1, V do b[j] = (j == 3001 or j == 4900) and 0 or -math.huge end
      local loss = dm.linear_xent(dm.zeros(1, 2), dm.zeros(V, 2), dm.tensor(b), dm.tensor({ 3000 }, { 1 }, 'i32'))
      assert.is_near(math.log(2), loss:item(), 1e-6)
    end)
  end)

  it('finds no right answer among logits of minus infinity, but where the largest is the least number', function()
    dm.step(function()
      local x, w = dm.zeros(1, 2), dm.zeros(9, 2)
      local function hits_of(b, label)
        local loss, hits = dm.linear_xent(x, w, dm.tensor(b), dm.tensor({ label }, { 1 }, 'i32'))
        return hits:totable()[1], loss:item()
      end
      local least, b = -3.4028234663852886e38, {}
      for j = 1, 9 do b[j] = -math.huge end
      local right, loss = hits_of(b, 0)
      assert.are.equal(0, right)
      assert.is_true(loss ~= loss)
      b[8] = least
      assert.are.equal(1, (hits_of(b, 7)))
    end)
  end)

  it('takes room for logits with rows longer than its own', function()
    dm.step(function()
      local R, Ch, V = 5, 3, 11
      local x, w, b = h.tensor(h.rand(R, Ch)), h.tensor(h.rand(V, Ch)), h.tensor(h.rand(V))
      local label, dloss = h.tensor(labels(R, V)), dm.tensor { 1 }
      local function all(logits)
        local loss, lse, hits = dm.tensor { 0 }, dm.zeros(R), dm.Tensor.zeros({ 2 }, 'i32')
        local dx, dw, db = dm.zeros(R, Ch), dm.zeros(V, Ch), dm.zeros(V)
        local kept = logits and logits.c
        core.check(core.C.dm_linear_xent_fwd(loss.c, hits.c, lse.c, kept, x.c, w.c, b.c, label.c, IGNORE))
        core.check(core.C.dm_linear_xent_bwd(dx.c, dw.c, db.c, kept, dloss.c, lse.c, x.c, w.c, b.c, label.c, IGNORE, 0))
        return { loss:totable(), dx:totable(), dw:totable(), db:totable() }
      end
      local want = all()
      for _, columns in ipairs { 11, 14, 16 } do
        local got = all(dm.Tensor.new({ R, columns }, 'f32'))
        for k = 1, 4 do h.close(got[k], want[k], h.twin and 1e-12 or 1e-6) end
      end
      h.refuses(function() all(dm.zeros(R, V - 1)) end, 'logits are %[5, 10%], expected at least 11 columns')
      h.refuses(function() all(dm.zeros(R + 1, V)) end, 'logits is %[6, 11%]')
      h.refuses(function() all(dm.Tensor.zeros({ R, V }, 'i32')) end, 'logits is i32')
    end)
  end)

  it('agrees for one and two threads', function()
    h.same_bits(function()
      h.reseed(7)
      local t = { x = h.tensor(h.rand(50, 8)), w = h.tensor(h.rand(3000, 8)), b = h.tensor(h.rand(3000)),
                  label = h.tensor(labels(50, 3000)) }
      t.b.needs = true
      local loss = dm.tape.recording(function() return (dm.linear_xent(t.x, t.w, t.b, t.label)) end)
      dm.tape.backward(loss)
      local out = t.b.grad:totable()
      out[#out + 1] = loss:item()
      return out
    end)
  end)
end)

describe('losses', function()
  it('are 0 with gradient 0 when every row is ignored', function()
    dm.step(function()
      local label = dm.Tensor.zeros({ 3 }, 'i32'):fill(IGNORE)
      for _, fn in ipairs { function(x) return dm.xent(x, label) end,
                            function(x) return (dm.linear_xent(x, dm.randn(5, 4), nil, label)) end } do
        local x = dm.randn(3, 4)
        x.needs = true
        local loss = dm.tape.recording(fn, x)
        dm.tape.backward(loss)
        assert.are.equal(0, loss:item())
        for _, v in ipairs(x.grad:totable()) do assert.are.equal(0, v) end
      end
    end)
  end)

  it('stay finite for logits of ten thousand', function()
    dm.step(function()
      local logits = dm.tensor { { 1e4, -1e4, 0 } }
      assert.is_near(2e4, dm.xent(logits, dm.tensor({ 1 }, nil, 'i32')):item(), 1)
    end)
  end)

  it('refuse what does not fit', function()
    local function ids(...) return dm.tensor({ ... }, nil, 'i32') end
    h.refuses_ids(function() dm.xent(dm.zeros(2, 2), ids(0, 7)) end, 'xent: label%[1%] is 7, expected 0 .. 1 or %-100')
    h.refuses(function() dm.xent(dm.zeros(2, 2), ids(0)) end, 'xent: label is %[1%], expected 2 entries')
    h.refuses(function() dm.xent(dm.zeros(2, 2), ids(0, 1), { ignore = 1 }) end, 'xent: ignore is 1')
    h.refuses(function() dm.linear_xent(dm.zeros(2, 3), dm.zeros(4, 5), nil, ids(0, 0)) end, 'inner sizes differ')
    h.refuses(function() dm.mse(dm.zeros(2, 3), dm.zeros(3, 2)) end, 'mse: target is %[3, 2%]')
  end)

  it('count_correct counts', function()
    dm.step(function()
      local logits = dm.tensor { { 1, 0 }, { 0, 1 }, { 0, 0 }, { 5, 1 } }
      assert.are.same({ 2, 3 }, dm.count_correct(logits, dm.tensor({ 0, 0, 0, IGNORE }, nil, 'i32')):totable())
    end)
  end)
end)
