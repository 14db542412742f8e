-- order.lua -- the order in which rows that share a target are summed by a backward pass.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local Tensor = require 'datamux.tensor'
local C = core.C

local M = {}
local i32 = ffi.typeof 'int32_t[?]'

--- i32 [R]: row numbers sorted by their id, stable; ids i32 of R entries in [-1, range). A loader gives this list
--- with the batch on devices whose memory the host does not see.
function M.of(ids, range)
  local n = ids:numel()
  local order = i32(math.max(n, 1))
  core.check(C.dm_order(order, ids:pointer() or ids:host(), n, range))
  return Tensor.new({ n }, 'i32'):put(order)
end

return M
