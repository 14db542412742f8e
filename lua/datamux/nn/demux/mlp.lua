-- mlp.lua -- LN_i(act(W_i drop(h_l) + b_i)): a layer and a norm of its own for each instance; no prefix.
-- Pairs are sorted into one list per instance, padded to the longest, so that all W_i are one batched product.
-- Source: DataMUX (Murahari et al. 2022), MLP demultiplexing; it overwrites the first token by the CLS id.
local ffi = require 'ffi'
local scope = require 'datamux.scope'
local Module = require 'datamux.nn.module'
local Tensor = require 'datamux.tensor'
local embed = require 'datamux.ops.embed'
local linear = require 'datamux.ops.linear'
local mux = require 'datamux.ops.mux'
local norm = require 'datamux.ops.norm'
local order = require 'datamux.ops.order'
local point = require 'datamux.ops.point'
local reshape = require('datamux.ops.shape').reshape

local i32 = ffi.typeof 'int32_t[?]'
local PerIndex = Module.class 'PerIndex'

-- Declares { weight, bias } of every instance under one name.
local function each(self, key, name, weight, bias)
  local m = Module.init(PerIndex, {})
  m:param('weight', weight.shape, weight.init, weight.decay)
  m:param('bias', bias, { fill = 0 }, false)
  self:child(key, m, name)
end

-- Lists for M slots of each of N instances: rows [N, M] of the states (-1: no pair), the same slots seen as [M, N]
-- (instance, row of [N, M]), for each pair its row in [M, N]; all instances [N].
local function plan(self, pairs, who, where, n)
  local N = self.n
  local count, place = i32(N), i32(math.max(n, 1))
  local M, states = 1, 1
  for r = 0, n - 1 do
    states = math.max(states, where[r] + 1)
    place[r] = count[who[r]]
    count[who[r]] = place[r] + 1
    M = math.max(M, count[who[r]])
  end
  if scope.records() then                    -- few numbers of slots, so that few steps are recorded
    local some = math.max(1, math.ceil(n / (2 * N)))
    M = math.ceil(M / some) * some
  end
  local rows, instance, slot, back, all = i32(N * M), i32(N * M), i32(N * M), i32(math.max(n, 1)), i32(N)
  for i = 0, N - 1 do all[i] = i end
  for k = 0, N * M - 1 do
    rows[k] = -1
    instance[k], slot[k] = k % N, k % N * M + math.floor(k / N)
  end
  for r = 0, n - 1 do
    rows[who[r] * M + place[r]] = where[r]
    back[r] = place[r] * N + who[r]
  end
  local trains = self.training
  pairs.slots = { M = M, rows = order.list(trains, rows, N * M, states),
                  instance = order.list(trains, instance, N * M, N), slot = order.list(trains, slot, N * M, N * M),
                  back = order.list(trains, back, n, N * M), all = order.list(trains, all, N, N) }
end

return {
  overwrite = true, full = true, deep = true, own_norm = true, plan = plan,
  declare = function(self, o)
    local n, c = o.n, o.width
    each(self, 'layer', 'dense', { shape = { n, c, c }, init = o.init }, { n, c })
    each(self, 'scales', 'LayerNorm', { shape = { 1, n * c }, init = { fill = 1 }, decay = false }, { n, c })
    self.eps = o.eps
  end,
  inner = function(self, state, pairs)
    local t, N, C = pairs.slots, self.n, state.h:cols()
    local x = embed.gather(state.h, t.rows)
    local p = self:drop(self.dropout)
    if p > 0 then x = point.dropout(x, p, self.site) end
    x = linear.matmul(reshape(x, { N, t.M, C }), self.layer.weight, { tb = true })
    -- embedded, because the gradients of a sum's parts have the type of activations, a parameter's is f32
    local bias = embed.embed(t.all, self.layer.bias)
    x = mux.demux(bias, reshape(x, { N * t.M, C }), t.instance, t.slot, self.args)
    x = norm.layernorm(x, Tensor.new({ C }):fill(1), Tensor.zeros { C }, { eps = self.eps })
    -- times the scale of each instance: rows [M, N, C] as M rows of N C channels
    x = mux.mux(reshape(x, { t.M, 1, 1, N * C }), self.scales.weight)
    return mux.demux(embed.embed(t.all, self.scales.bias), reshape(x, { t.M * N, C }), pairs.who, t.back)
  end,
}
