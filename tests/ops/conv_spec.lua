-- conv_spec.lua -- convolution (padding, groups, bias) and max-pooling.
local h = require 'tests.helper'
local dm = require 'datamux'

local function check(name, case)
  describe(name, function()
    it('has the value of its definition', function() case:value() end)
    it('has its gradient', function() case:gradient() end)
  end)
end

-- conv(x, w) + b, plainly.
local function plain_conv(a)
  local B, Ci, H, W = unpack(a.x.shape)
  local Co, cg, Kh, Kw = unpack(a.w.shape)
  local og, y = Co / a.groups, {}
  for b = 0, B - 1 do
    for o = 0, Co - 1 do
      local first = math.floor(o / og) * cg
      for r = 0, H + 2 * a.pad - Kh do
        for q = 0, W + 2 * a.pad - Kw do
          local s = a.b and a.b[o + 1] or 0
          for c = 0, cg - 1 do
            for i = 0, Kh - 1 do
              for j = 0, Kw - 1 do
                local p, t = r + i - a.pad, q + j - a.pad
                if p >= 0 and p < H and t >= 0 and t < W then
                  s = s + a.x[((b * Ci + first + c) * H + p) * W + t + 1] * a.w[((o * cg + c) * Kh + i) * Kw + j + 1]
                end
              end
            end
          end
          y[#y + 1] = s
        end
      end
    end
  end
  return y
end

local function conv_case(bias)
  return h.op_case {
    -- B, Ci, Co, H, W, Kh, Kw, pad, groups
    sizes = { { 1, 1, 1, 1, 1, 1, 1, 0, 1 }, { 3, 2, 3, 5, 4, 3, 2, 1, 1 }, { 2, 6, 4, 6, 7, 3, 3, 2, 2 },
              { 35, 3, 3, 5, 5, 3, 3, 0, 3 }, { 2, 1, 2, 2, 3, 3, 1, 3, 1 } },
    make = function(B, Ci, Co, H, W, Kh, Kw, pad, groups)
      return { x = h.rand(B, Ci, H, W), w = h.rand(Co, Ci / groups, Kh, Kw), b = bias and h.rand(Co) or nil, pad = pad,
               groups = groups }
    end,
    run = function(t) return dm.conv2d(t.x, t.w, t.b, { pad = t.pad, groups = t.groups }) end,
    plain = plain_conv,
    grads = bias and { 'x', 'w', 'b' } or { 'x', 'w' },
    weights = { 'w', 'b' },
  }
end

check('conv2d with a bias', conv_case(true))
check('conv2d without one', conv_case(false))

describe('conv2d', function()
  it('gives the same bits for one and two threads', function()
    h.reseed(5)
    local x, w, seed = h.rand(21, 2, 6, 6), h.rand(4, 2, 3, 3), h.rand(21 * 4 * 36)
    h.same_bits(function()
      local a, b = h.tensor(x), h.tensor(w)
      a.needs, b.needs = true, true
      local y = dm.tape.recording(function() return dm.conv2d(a, b, nil, { pad = 1 }) end)
      dm.tape.backward(y, dm.tensor(seed, y:shape()))
      local out = y:totable()
      for _, g in ipairs { a.grad, b.grad } do
        for _, v in ipairs(g:totable()) do out[#out + 1] = v end
      end
      return out
    end)
  end)

  it('refuses what does not fit', function()
    local x = dm.zeros(2, 4, 5, 5)
    h.refuses(function() dm.conv2d(x, dm.zeros(3, 3, 2, 2)) end, 'conv2d: w is %[3, 3, 2, 2%], expected')
    h.refuses(function() dm.conv2d(x, dm.zeros(3, 4, 2, 2), nil, { groups = 2 }) end, 'conv2d: groups is 2')
    h.refuses(function() dm.conv2d(x, dm.zeros(3, 4, 6, 2)) end, 'the kernel does not fit')
    h.refuses(function() dm.conv2d(x, dm.zeros(3, 4, 2, 2), nil, { pad = -1 }) end, 'conv2d: pad is %-1')
    h.refuses(function() dm.conv2d(x, dm.zeros(3, 4, 2, 2), dm.zeros(4)) end, 'conv2d: b is %[4%]')
    h.refuses(function() dm.conv2d(dm.zeros(4, 5, 5), dm.zeros(3, 4, 2, 2)) end, 'x has 3 dimensions')
  end)
end)

local pool = h.op_case {
  sizes = { { 1, 1, 1, 1, 1 }, { 2, 3, 5, 7, 2 }, { 1, 2, 9, 6, 3 } },
  make = function(B, C, H, W, k)
    local x = h.rand(B, C, H, W)                 -- no two alike, in bf16 too: between equals there is no gradient
    for i = 1, #x do x[i] = (i * 97 % 211 - 105) / 64 end
    return { x = x, k = k }
  end,
  run = function(t) return dm.maxpool2d(t.x, t.k) end,
  plain = function(a)
    local B, C, H, W = unpack(a.x.shape)
    local y = {}
    for n = 0, B * C - 1 do
      for r = 0, math.floor(H / a.k) - 1 do
        for q = 0, math.floor(W / a.k) - 1 do
          local most = -math.huge
          for i = 0, a.k - 1 do
            for j = 0, a.k - 1 do
              most = math.max(most, a.x[(n * H + r * a.k + i) * W + q * a.k + j + 1])
            end
          end
          y[#y + 1] = most
        end
      end
    end
    return y
  end,
  grads = { 'x' },
}

check('maxpool2d', pool)

describe('maxpool2d', function()
  it('refuses windows that are larger than the image', function()
    h.refuses(function() dm.maxpool2d(dm.zeros(1, 1, 2, 3), 3) end, 'maxpool2d: k is 3')
    h.refuses(function() dm.maxpool2d(dm.zeros(2, 3), 1) end, 'x has 2 dimensions')
  end)
end)
