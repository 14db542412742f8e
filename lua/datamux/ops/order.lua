-- order.lua -- the order in which rows that share a target are summed by a backward pass.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local scope = require 'datamux.scope'
local Tensor = require 'datamux.tensor'
local C = core.C

local M = {}
local i32 = ffi.typeof 'int32_t[?]'

-- Host's list of n ids -> its order as a tensor.
local function make(ids, n, range)
  local order = i32(math.max(n, 1))
  core.check(C.dm_order(order, ids, n, range))
  return Tensor.new({ n }, 'i32'):put(order)
end

--- i32 [n], or of `shape`, of a host's list of n row numbers in [-1, range), in the running step. Where the device
--- records steps its order comes along, because a recorded step reads nothing on the host.
function M.list(ids, n, range, shape)
  local t = Tensor.new(shape or { n }, 'i32'):put(ids)
  if scope.records() then t.order = make(ids, n, range) end
  return t
end

--- i32 [R]: row numbers sorted by their id, stable; ids i32 of R entries in [-1, range).
function M.of(ids, range)
  if ids.order then return ids.order end
  local n = ids:numel()
  return make(ids:pointer() or ids:host(), n, range)
end

return M
