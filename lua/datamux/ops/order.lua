-- order.lua -- the order in which rows that share a target are summed by a backward pass.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local scope = require 'datamux.scope'
local Tensor = require 'datamux.tensor'
local C = core.C

local M = {}
local i32 = ffi.typeof 'int32_t[?]'
local order, room = i32(1), 1        -- the host's copy, used again: new memory costs half as much as the sorting

--- i32 [n] in the running step: the order of a host's list of n ids in [-1, range).
function M.make(ids, n, range)
  if n > room then order, room = i32(n), n end
  core.check(C.dm_order(order, ids, n, range))
  return Tensor.new({ n }, 'i32'):put(order)
end

--- Raises for an id of a host's list outside [-1, range), where the device does not: it cannot tell while it records.
function M.look(ids, n, range)
  if scope.records() then core.check(C.dm_order(nil, ids, n, range)) end
end

--- i32 [n], or of `shape`, of a host's list of n row numbers in [-1, range), in the running step. trains: whether a
--- backward pass may come. Then, where the device records steps, its order comes along, because a recorded step reads
--- nothing on the host.
function M.list(trains, ids, n, range, shape)
  local t = Tensor.new(shape or { n }, 'i32'):put(ids)
  if trains and scope.records() then t.order = M.make(ids, n, range) end
  return t
end

--- i32 [R]: row numbers sorted by their id, stable; ids i32 of R entries in [-1, range).
function M.of(ids, range)
  if ids.order then return ids.order end
  local n = ids:numel()
  return M.make(ids:pointer() or ids:host(), n, range)
end

return M
