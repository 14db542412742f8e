-- demux_spec.lua -- the demultiplexers against their definitions by naive loops ([p ; h] as one vector), gradients,
-- refusals, a recipe's own.
local ffi = require 'ffi'
local h = require 'tests.helper'
local plain = require 'tests.plain'
local dm = require 'datamux'

local Demux = dm.nn.Demux
local EPS = 2 ^ -17                    -- exact in f32

-- A demultiplexer that is not built, with host arrays for its parameters: path -> where the tensor is.
local function module(kind, n, c, rank, key)
  return Demux.new { kind = kind, n = n, width = c, rank = rank, init = 0.02, eps = EPS, key = key }
end

local function tensors(m)
  local list = {}
  m:each(function(part, path)
    for _, name in ipairs(part.names) do
      list[#list + 1] = { at = part, name = name, path = (path == '' and name or path .. '.' .. name):gsub('%.', '_'),
                          shape = part[name].spec.shape }
    end
  end)
  return list
end

local function dot(w, row, x)                                          -- row (from 0) of w [.., #x] times x
  local s = 0
  for k = 1, #x do s = s + w[row * #x + k] * x[k] end
  return s
end

local function slice(a, row, c)
  local x = {}
  for k = 1, c do x[k] = a[row * c + k] end
  return x
end

local function norm(x, w, b, at)
  local mean, var = 0, 0
  for k = 1, #x do mean = mean + x[k] / #x end
  for k = 1, #x do var = var + (x[k] - mean) ^ 2 / #x end
  local y = {}
  for k = 1, #x do y[k] = (x[k] - mean) / math.sqrt(var + EPS) * w[(at or 0) + k] + b[(at or 0) + k] end
  return y
end

-- One pair by the definition: a holds the arrays under their paths, h the states, p the key (or prefix state).
local definition = {}

local function joined(a, p, x)                                         -- W1 [p ; h] + b with one matrix [D, 2C]
  local c, y = #x, {}
  local inner = #a.dense_bias
  local w, both = {}, {}
  for k = 1, c do both[k], both[c + k] = p[k], x[k] end
  for d = 0, inner - 1 do
    for k = 1, c do
      w[d * 2 * c + k], w[d * 2 * c + c + k] = a.key_weight[d * c + k], a.dense_weight[d * c + k]
    end
  end
  for d = 0, inner - 1 do y[d + 1] = plain.act(dot(w, d, both) + a.dense_bias[d + 1], 'gelu') end
  return y
end

function definition.index(a, i, x) return joined(a, slice(a.prefix, i, #x), x) end
function definition.rsa(a, i, x) return joined(a, slice(a.keys, i, #x), x) end

function definition.unbind(a, i, x)
  local bound, y = {}, {}
  for k = 1, #x do bound[k] = a.keys[i * #x + k] * x[k] end
  for d = 0, #a.dense_bias - 1 do
    y[d + 1] = plain.act(dot(a.unbind, d, bound) + dot(a.dense_weight, d, x) + a.dense_bias[d + 1], 'gelu')
  end
  return y
end

function definition.mlp(a, i, x)
  local y = {}
  for d = 0, #x - 1 do
    y[d + 1] = plain.act(dot(a.dense_weight, i * #x + d, x) + a.dense_bias[i * #x + d + 1], 'gelu')
  end
  return y
end

local function pairs_of(m, who, where)
  local n = #who
  local list = { n = n, who = dm.tensor(who, nil, 'i32'), where = dm.tensor(where, nil, 'i32') }
  m:plan(list, ffi.new('int32_t[?]', n, who), ffi.new('int32_t[?]', n, where), n)
  return list
end

local function demux_case(kind, rank)
  local names = {}
  for _, e in ipairs(tensors(module(kind, 2, 8, rank))) do names[#names + 1] = e.path end
  names[#names + 1] = 'h'
  if kind == 'index' then names[#names + 1] = 'prefix' end
  return h.op_case {
    sizes = { { 1, 8, 1, 1 }, { 3, 9, 4, 11 }, { 5, 12, 7, 20 } },
    grad_sizes = { { 3, 8, 4, 7 } },
    make = function(N, C, H, R)
      local a = { N = N, C = C, h = h.rand(H, C), who = h.ints(0, N - 1, R), where = h.ints(0, H - 1, R) }
      if kind == 'index' then a.prefix = h.rand(N, C) end
      for _, e in ipairs(tensors(module(kind, N, C, rank))) do a[e.path] = h.rand(unpack(e.shape)) end
      return a
    end,
    run = function(t)
      local m = module(kind, t.N, t.C, rank)
      for _, e in ipairs(tensors(m)) do e.at[e.name] = t[e.path] end
      local rows = {}
      for i = 1, t.N do rows[i] = i - 1 end
      local prefix = t.prefix and { x = t.prefix, rows = dm.tensor(rows, nil, 'i32') }
      return m:pairs(m:begin(t.h, prefix), pairs_of(m, t.who:totable(), t.where:totable()))
    end,
    plain = function(a)
      local y, C = {}, a.C
      for r = 1, #a.who do
        local x = definition[kind](a, a.who[r], slice(a.h, a.where[r], C))
        if rank > 0 then
          local wide = {}
          for d = 0, C - 1 do wide[d + 1] = dot(a.up_weight, d, x) + a.up_bias[d + 1] end
          x = wide
        end
        for _, v in ipairs(norm(x, a.LayerNorm_weight, a.LayerNorm_bias, kind == 'mlp' and a.who[r] * C)) do
          y[#y + 1] = v
        end
      end
      return y
    end,
    grads = names,
    no_bf16 = 'a composition of ops: every one rounds',
  }
end

for _, e in ipairs { { 'index', 0 }, { 'index', 3 }, { 'rsa', 0 }, { 'rsa', 3 }, { 'unbind', 0 }, { 'unbind', 3 },
                     { 'mlp', 0 } } do
  describe(('the %s demultiplexer%s'):format(e[1], e[2] > 0 and ' of lower rank' or ''), function()
    local case = demux_case(e[1], e[2])
    it('is its definition with [p ; h] as one vector, computed in split form', function() case:value() end)
    it('has the gradients of its definition', function() case:gradient() end)
  end)
end

describe('a demultiplexer', function()
  it('says what does not fit, with the list that does', function()
    local function refused(pattern, kind, o)
      local why = Demux.refuse(kind, { key = o.key or 'mux', rank = o.rank or 0, width = 8 })
      assert.is_truthy(why and why:find(pattern), tostring(why))
    end
    refused("demux.key is 'own' with demux.kind 'rsa', expected it with unbind only", 'rsa', { key = 'own' })
    refused("demux.rank is 4 with demux.kind 'mlp', which has no form of lower rank, expected 0", 'mlp', { rank = 4 })
    refused('demux.rank is 9, expected at most model.width = 8', 'rsa', { rank = 9 })
    h.refuses(function() Demux.get 'undo' end, "demux.kind is 'undo', expected one of index, rsa, unbind, mlp")
  end)

  it('has its prefix: N index tokens and the CLS, the CLS, or none', function()
    assert.are.same({ 6, 6, 1, 0, 0, 1 }, {
      Demux.positions('index', 5, 'pool'), Demux.positions('index', 5, 'cls'), Demux.positions('rsa', 5, 'cls'),
      Demux.positions('rsa', 5, 'first'), Demux.positions('mlp', 5, 'pool'), Demux.positions('mlp', 5, 'cls') })
  end)

  it('may be a recipe\'s own', function()
    dm.register.demux('gate', {
      declare = function(self, o)
        self:dense(o)
        self:param('keys', { o.n, o.width }, 1, false)
      end,
      inner = function(self, state, list)
        return dm.demux(self.keys, state.of_state, list.who, list.where, { act = 'tanh' })
      end,
    })
    local m = dm.nn.Module.build(Demux.new { kind = 'gate', n = 2, width = 4, rank = 0, init = 0.5, eps = EPS }, 1)
    dm.step(function()
      local y = m:pairs(m:begin(dm.randn(3, 4)), pairs_of(m, { 0, 1, 1 }, { 2, 0, 1 }))
      assert.are.same({ 3, 4 }, y:shape())
    end)
    for what, inner in pairs {
      ['returns nil, expected a tensor'] = function() end,
      ['returns %[3, 8%], expected %[3, 4%]'] = function() return dm.randn(3, 8) end,
      ['returns %[1, 4%], expected %[3, 4%]'] = function() return dm.randn(1, 4) end } do
      dm.register.demux('gate', { declare = m.spec.declare, inner = inner })
      local wrong = Demux.new { kind = 'gate', n = 2, width = 4, rank = 0, init = 0.5, eps = EPS }
      dm.nn.Module.build(wrong, 1)
      dm.step(function()
        h.refuses(function()
          wrong:pairs(wrong:begin(dm.randn(3, 4)), pairs_of(wrong, { 0, 1, 1 }, { 2, 0, 1 }))
        end, "inner of demux.kind 'gate' " .. what)
      end)
    end
    table.remove(Demux.names)
    h.refuses(function() dm.register.demux('mlp', {}) end, "register: 'mlp' is a demux.kind of the library")
    h.refuses(function() dm.register.demux('half', { declare = function() end }) end,
      "register: inner of demux.kind 'half' is nil, expected a function")
  end)
end)

describe('the mlp demultiplexer', function()
  it('draws dropout of its input while training only', function()
    local m = Demux.new { kind = 'mlp', n = 2, width = 64, rank = 0, init = 0.3, eps = EPS, dropout = 0.5 }
    dm.nn.Module.build(m, 1)
    dm.step(function()
      local x, list = dm.randn(4, 64), pairs_of(m, { 0, 1, 0, 1 }, { 0, 1, 2, 3 })
      local function run(training)
        m:train(training)
        return m:pairs(m:begin(x), list):totable()
      end
      assert.are.same(run(false), run(false))
      assert.are_not.same(run(false), run(true))
    end)
  end)
end)
