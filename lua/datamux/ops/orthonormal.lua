-- orthonormal.lua -- orthonormal rows, on the host: what keys are made of.
local core = require 'datamux.ffi'
local C, check = core.C, core.check

local M = {}

--- Makes the rows of `a`, a C array of n x n doubles (row-major), orthonormal, in place: Gram-Schmidt in the order of
--- the rows (see dm_orthonormal). Raises where a row depends on those before it.
function M.rows(a, n) check(C.dm_orthonormal(a, n)) end

return M
