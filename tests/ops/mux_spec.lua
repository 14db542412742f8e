-- mux_spec.lua -- multiplexing (Hadamard and matrices), demux, unbind, meanpool.
local h = require 'tests.helper'
local dm = require 'datamux'
local plain = require 'tests.plain'

-- Lists are checked before the work where the host can read them; kernels elsewhere leave out what is not there.
local listed = h.cpu and it or pending

local function check(name, c)
  describe(name, function()
    it('equals its plain definition', function() c:value() end)
    it('has the gradient of its plain definition', function() c:gradient() end)
  end)
end

local function mux_case(matrix, weighted)
  return h.op_case {
    sizes = { { 1, 1, 1, 1 }, { 2, 3, 4, 5 }, { 2, 5, 9, 33 } },
    grad_sizes = { { 1, 1, 1, 1 }, { 2, 3, 4, 5 } },
    make = function(B, N, S, C)
      return { x = h.rand(B, N, S, C), key = matrix and h.rand(N, C, C) or h.rand(N, C),
               weight = weighted and h.rand(B, N) or nil }
    end,
    run = function(t) return dm.mux(t.x, t.key, { weight = t.weight, scale = 0.5 }) end,
    plain = function(a)
      local B, N, S, C = unpack(a.x.shape)
      local y = {}
      for i = 1, B * S * C do y[i] = 0 end
      for b = 0, B - 1 do
        for i = 0, N - 1 do
          local f = 0.5 * (a.weight and a.weight[b * N + i + 1] or 1)
          for s = 0, S - 1 do
            local from, to = ((b * N + i) * S + s) * C, (b * S + s) * C
            for j = 1, C do
              local v = 0
              if matrix then
                for k = 1, C do v = v + a.key[(i * C + j - 1) * C + k] * a.x[from + k] end
              else
                v = a.key[i * C + j] * a.x[from + j]
              end
              y[to + j] = y[to + j] + f * v
            end
          end
        end
      end
      return y
    end,
    grads = { 'x', 'key' },
    weights = { 'key' },
    f32 = { 'weight' },
  }
end

check('mux with Hadamard keys', mux_case(false, false))
check('mux with Hadamard keys and weights', mux_case(false, true))
check('mux with matrices', mux_case(true, true))

for _, act in ipairs { 'none', 'gelu', 'tanh' } do
  check('demux with act ' .. act, h.op_case {
    sizes = { { 1, 1, 1, 1 }, { 3, 4, 11, 5 }, { 5, 20, 1300, 7 } },
    grad_sizes = { { 1, 1, 1, 1 }, { 3, 4, 11, 5 }, { 2, 3, 700, 2 } },
    make = function(U, V, R, D)
      return { u = h.rand(U, D), v = h.rand(V, D), iu = h.ints(0, U - 1, R), iv = h.ints(0, V - 1, R) }
    end,
    run = function(t) return dm.demux(t.u, t.v, t.iu, t.iv, { act = act }) end,
    plain = function(a)
      local D, y = a.u.shape[2], {}
      for r = 1, #a.iu do
        for j = 1, D do y[#y + 1] = plain.act(a.u[a.iu[r] * D + j] + a.v[a.iv[r] * D + j], act) end
      end
      return y
    end,
    grads = { 'u', 'v' },
  })
end

describe('demux', function()
  it('is the split form of W [p ; h] + b', function()
    dm.step(function()
      local P, H, C, D = 3, 4, 5, 6
      local p, s, w, b = h.rand(P, C), h.rand(H, C), h.rand(D, 2 * C), h.rand(D)
      local wp, wh, both = h.array({}, { D, C }), h.array({}, { D, C }), h.array({}, { P * H, 2 * C })
      for r = 0, D - 1 do
        for j = 1, C do wp[r * C + j], wh[r * C + j] = w[r * 2 * C + j], w[r * 2 * C + C + j] end
      end
      local iu, iv = {}, {}
      for i = 0, P - 1 do
        for l = 0, H - 1 do
          iu[#iu + 1], iv[#iv + 1] = i, l
          for j = 1, C do both[#both + 1] = p[i * C + j] end
          for j = 1, C do both[#both + 1] = s[l * C + j] end
        end
      end
      local whole = dm.linear(h.tensor(both), h.tensor(w), h.tensor(b), { act = 'gelu' })
      local u, v = dm.linear(h.tensor(p), h.tensor(wp)), dm.linear(h.tensor(s), h.tensor(wh), h.tensor(b))
      local split = dm.demux(u, v, dm.tensor(iu, nil, 'i32'), dm.tensor(iv, nil, 'i32'), { act = 'gelu' })
      h.close(split:totable(), whole:totable(), 1e-5)
    end)
  end)

  it('refuses what does not fit', function()
    local function ids(...) return dm.tensor({ ... }, nil, 'i32') end
    h.refuses(function() dm.demux(dm.zeros(2, 3), dm.zeros(2, 4), ids(0), ids(0)) end,
      'demux: u is %[2, 3%], v is %[2, 4%]')
    h.refuses(function() dm.demux(dm.zeros(2, 3), dm.zeros(2, 3), ids(0, 1), ids(0)) end,
      'demux: iv is %[1%], expected 2')
  end)

  listed('refuses an index outside its table', function()
    local function ids(...) return dm.tensor({ ... }, nil, 'i32') end
    h.refuses(function() dm.demux(dm.zeros(2, 3), dm.zeros(2, 3), ids(0, 2), ids(0, 0)) end, 'demux: iu%[1%] is 2')
  end)
end)

local function unbind_case(act)
  return h.op_case {
    sizes = { { 1, 1, 1, 1, 1 }, { 3, 4, 11, 5, 6 }, { 5, 30, 1300, 17, 9 } },
    grad_sizes = { { 1, 1, 1, 1, 1 }, { 3, 4, 11, 5, 6 } },
    make = function(N, H, R, Ch, D)
      return { key = h.rand(N, Ch), h = h.rand(H, Ch), hb = h.rand(H, D), a = h.rand(D, Ch),
               ik = h.ints(0, N - 1, R), ih = h.ints(0, H - 1, R) }
    end,
    run = function(t) return dm.unbind(t.key, t.h, t.hb, t.a, { ik = t.ik, ih = t.ih, act = act }) end,
    plain = function(q)
      local D, Ch, y = q.a.shape[1], q.a.shape[2], {}
      for r = 1, #q.ik do
        for j = 1, D do
          local v = q.hb[q.ih[r] * D + j]
          for c = 1, Ch do v = v + q.a[(j - 1) * Ch + c] * q.key[q.ik[r] * Ch + c] * q.h[q.ih[r] * Ch + c] end
          y[#y + 1] = plain.act(v, act)
        end
      end
      return y
    end,
    grads = { 'key', 'h', 'hb', 'a' },
    weights = { 'key', 'a' },
  }
end

check('unbind', unbind_case 'none')
check('unbind with gelu', unbind_case 'gelu')

describe('unbind', function()
  it('agrees for one and two threads', function()
    h.same_bits(function()
      h.reseed(6)
      local t = { key = h.tensor(h.rand(4, 12)), hs = h.tensor(h.rand(9, 12)), hb = h.tensor(h.rand(9, 8)),
                  a = h.tensor(h.rand(8, 12)), ik = h.tensor(h.ints(0, 3, 1500)), ih = h.tensor(h.ints(0, 8, 1500)) }
      t.hs.needs, t.hb.needs, t.key.needs = true, true, true
      local y = dm.tape.recording(dm.unbind, t.key, t.hs, t.hb, t.a, { ik = t.ik, ih = t.ih, act = 'gelu' })
      dm.tape.backward(y)
      local out = t.hs.grad:totable()
      plain.append(out, t.hb.grad:totable())
      plain.append(out, t.key.grad:totable())
      return out
    end)
  end)

  it('refuses what does not fit', function()
    local function ids(...) return dm.tensor({ ... }, nil, 'i32') end
    local function go(o)
      return function()
        dm.unbind(o.key or dm.zeros(2, 4), dm.zeros(3, 4), o.hb or dm.zeros(3, 5), o.a or dm.zeros(5, 4),
          { ik = o.ik or ids(0), ih = o.ih or ids(0) })
      end
    end
    h.refuses(go { key = dm.zeros(2, 5) }, 'unbind: key is %[2, 5%]')
    h.refuses(go { a = dm.zeros(5, 6) }, 'unbind: a is %[5, 6%], h is %[3, 4%]')
    h.refuses(go { hb = dm.zeros(2, 5) }, 'unbind: hb is %[2, 5%], expected %[3, 5%]')
    h.refuses_ids(go { ih = ids(3) }, 'unbind: ih%[0%] is 3, expected 0 .. 2')
  end)
end)

local pool = h.op_case {
  sizes = { { 1, 1 }, { 5, 7 }, { 40, 65 } },
  make = function(G, C)
    local span, at = h.array({}, { G, 2 }, 'i32'), 1
    for g = 1, G do
      span[#span + 1] = at
      at = at + g % 4
      span[#span + 1] = at
    end
    return { x = h.rand(at + 2, C), span = span }
  end,
  run = function(t) return dm.meanpool(t.x, t.span) end,
  plain = function(a)
    local C, y = a.x.shape[2], {}
    for g = 1, a.span.shape[1] do
      local from, to = a.span[2 * g - 1], a.span[2 * g]
      for j = 1, C do
        local s = 0
        for r = from, to - 1 do s = s + a.x[r * C + j] end
        y[#y + 1] = to > from and s / (to - from) or 0
      end
    end
    return y
  end,
  grads = { 'x' },
}

check('meanpool', pool)

describe('meanpool', function()
  listed('refuses spans that overlap or leave the rows', function()
    local function span(...) return dm.tensor({ ... }, { select('#', ...) / 2, 2 }, 'i32') end
    h.refuses(function() dm.meanpool(dm.zeros(4, 2), span(0, 2, 1, 3)) end, 'meanpool: span%[1%] is 1 .. 3')
    h.refuses(function() dm.meanpool(dm.zeros(4, 2), span(2, 5)) end, 'meanpool: span%[0%] is 2 .. 5')
    h.refuses(function() dm.meanpool(dm.zeros(4, 2), span(2, 1)) end, 'meanpool: span%[0%] is 2 .. 1')
  end)
end)
