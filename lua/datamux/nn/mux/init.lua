-- mux/init.lua -- the multiplexers by name, and how one becomes the key tensor of a module.
--
-- A strategy binds instance i: phi_i(x) = k_i * x with keys [N, C], or phi_i(x) = K_i x with matrices [N, C, C]. It is
-- a table:
--   reduce     what keeps the variance of the mixture at that of one instance: 'sqrt', 'mean' or 'sum'
--   published  the reduction of the published program, taken where the mixture is embedded again (default: reduce)
--   keys(o)    -> shape, fill.  o: { n, width, norm, overlap }.  fill(v, normals) writes the flat host array v, zero
--              at first; normals(count, k) gives `count` standard normals of stream k (default 0), a host array that is
--              the same on every device
--   refuse(o)  -> what does not fit, in words, and what to say instead; or nil (optional)
--   options    names of the options `norm`, `overlap` it reads, as { norm = true } (optional)
--   fixed      true: the keys carry nothing to train (optional)
-- Sources: docs/method.md.
local Registry = require 'datamux.nn.registry'

local M = {}

local registry = Registry.new('mux.kind', 'datamux.nn.mux.',
  { 'hadamard', 'binary', 'ortho', 'lowrank', 'sign', 'hrr', 'identity' }, { reduce = 'string', keys = 'function' })

--- Names of all multiplexers, a list that grows with register.
M.names = registry.names

--- Adds a multiplexer; see the head of this file. Raises for a name of the library or a spec that lacks a field.
function M.register(name, spec) registry:register(name, spec) end

--- Appends the names to `list`, now and whenever one is registered.
function M.follow(list) registry:follow(list) end

--- The strategy of a name; raises with the list where there is none.
function M.get(name) return registry:get(name) end

--- True when the keys of the strategy are matrices. o: { n, width, norm, overlap }.
function M.matrices(name, o) return #M.get(name).keys(o) == 3 end

local factor = {
  mean = function(n) return 1 / n end,
  sqrt = function(n) return 1 / math.sqrt(n) end,
  sum = function() return 1 end,
}

--- What the sum over n instances is multiplied by under a reduction, 'mean', 'sqrt' or 'sum'.
function M.scale(reduce, n) return factor[reduce](n) end

--- The reduction that 'auto' stands for; twice: whether the mixture is embedded again.
function M.reduction(name, reduce, twice)
  if reduce and reduce ~= 'auto' then return reduce end
  local spec = M.get(name)
  return twice and spec.published or spec.reduce
end

--- What does not fit between a strategy and its options, in words, and what to say instead; or nil. o: { n, width,
--- norm ('sqrt' where none was asked for), overlap, learn }.
function M.refuse(name, o)
  local spec = M.get(name)
  local uses = spec.options or {}
  if o.norm ~= 'sqrt' and not uses.norm then
    return ("mux.norm is %g with mux.kind '%s', whose keys have a length of their own, expected 'sqrt'"):format(
      o.norm, name), 'mux.norm=sqrt'
  end
  if o.overlap ~= 0 and not uses.overlap then
    return ("mux.overlap is %g with mux.kind '%s', expected 0: only masks overlap"):format(o.overlap, name),
      'mux.overlap=0, or mux.kind=binary'
  end
  if o.learn and spec.fixed then
    return ("mux.learn is true with mux.kind '%s', which has no keys to train, expected false"):format(name),
      'mux.learn=false'
  end
  if spec.refuse then return spec.refuse(o) end
end

--- Declares self[name], the key tensor of strategy `kind`, on a module: trained where o.learn, else frozen and saved.
--- o: { n, width, norm, overlap, learn }.
function M.declare(self, name, kind, o)
  local Tensor = require 'datamux.tensor'
  local ffi, core = require 'ffi', require 'datamux.ffi'
  local shape, fill = M.get(kind).keys(o)
  local n = 1
  for i, size in ipairs(shape) do
    n = n * size
    if size ~= (i == 1 and o.n or o.width) or #shape < 2 or #shape > 3 then
      core.raise(("mux.kind '%s': keys are [%s], expected [N, C] or [N, C, C] with N = %d, C = %d"):format(kind,
        table.concat(shape, ', '), o.n, o.width))
    end
  end
  local function make(t, seed, site)
    local v = ffi.new(core.real .. '[?]', n)
    local function normals(count, k)
      return Tensor.lasting({ count }, 'f32'):normal(0, 1, seed, site + 65536 * (k or 0)):host()
    end
    fill(v, normals)
    t:put(v)
  end
  if o.learn then return self:param(name, shape, make, false) end
  return self:buffer(name, shape, make)
end

return M
