-- mux/init.lua -- the multiplexers by name, and how one becomes the key tensor of a module.
--
-- A strategy binds instance i: phi_i(x) = k_i * x with keys [N, C], or phi_i(x) = K_i x with matrices [N, C, C]. It is
-- a table:
--   reduce     what keeps the variance of the mixture at that of one instance: 'sqrt', 'mean' or 'sum'
--   published  the reduction of the published program, taken where the mixture is embedded again (default: reduce)
--   keys(o)    -> shape, fill.  o: { n, width, norm, overlap }.  fill(v, normals) writes the flat host array v, zero
--              at first; normals(count, k) gives `count` standard normals of stream k (default 0), a host array that is
--              the same on every device. A recipe's own fill gets both with their bounds checked
--   refuse(o)  -> what does not fit, in words, and what to say instead; or nil (optional)
--   options    names of the options `norm`, `overlap` it reads, as { norm = true } (optional)
--   fixed      true: the keys carry nothing to train (optional)
-- Sources: docs/method.md.
local errors = require 'datamux.errors'
local Registry = require 'datamux.nn.registry'

local M = {}

local registry = Registry.new('mux.kind', 'datamux.nn.mux.',
  { 'hadamard', 'binary', 'ortho', 'lowrank', 'sign', 'hrr', 'identity' }, { reduce = 'string', keys = 'function' })

--- Names of all multiplexers, a list that grows with register.
M.names = registry.names

local factor = {
  mean = function(n) return 1 / n end,
  sqrt = function(n) return 1 / math.sqrt(n) end,
  sum = function() return 1 end,
}

--- Adds a multiplexer; see the head of this file. Raises for a name of the library, a spec that lacks a field, or a
--- reduction that is none.
function M.register(name, spec)
  registry:register(name, spec)
  for _, field in ipairs { 'reduce', 'published' } do
    if spec[field] ~= nil and not factor[spec[field]] then
      registry:fault(name, field, ("is '%s', expected sqrt, mean or sum"):format(tostring(spec[field])))
    end
  end
end

--- Appends the names to `list`, now and whenever one is registered.
function M.follow(list) registry:follow(list) end

--- Whose a strategy of this name is: 'library', 'recipe', or nil where there is none.
function M.whose(name) return registry:whose(name) end

--- The strategy of a name; raises with the list where there is none.
function M.get(name) return registry:get(name) end

-- Shape and fill of a strategy's keys. Raises E208 where they are none.
local function keys_of(name, o)
  local shape, fill = registry:call(name, 'keys', o)
  if type(shape) ~= 'table' or type(fill) ~= 'function' then
    registry:fault(name, 'keys', ('returns %s and %s, expected a shape and a function that fills it'):format(
      type(shape), type(fill)))
  end
  local fits = #shape == 2 or #shape == 3
  for i, size in ipairs(shape) do fits = fits and size == (i == 1 and o.n or o.width) end
  if not fits then
    for i, size in ipairs(shape) do shape[i] = tostring(size) end
    registry:fault(name, 'keys', ('returns the shape [%s], expected [N, C] or [N, C, C] with N = %d, C = %d'):format(
      table.concat(shape, ', '), o.n, o.width))
  end
  return shape, fill
end

--- True when the keys of the strategy are matrices. o: { n, width, norm, overlap }.
function M.matrices(name, o) return #keys_of(name, o) == 3 end

--- What the sum over n instances is multiplied by under a reduction, 'mean', 'sqrt' or 'sum'.
function M.scale(reduce, n) return factor[reduce](n) end

--- The reduction that 'auto' stands for; twice: whether the mixture is embedded again.
function M.reduction(name, reduce, twice)
  if reduce and reduce ~= 'auto' then return reduce end
  local spec = M.get(name)
  return twice and spec.published or spec.reduce
end

--- What does not fit between a strategy and its options, in words, and what to say instead; or nil. o: { n, width,
--- norm ('sqrt' where none was asked for), overlap, learn }. Raises E208 for a recipe's own that returns no keys.
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
  local why, instead
  if spec.refuse then why, instead = registry:call(name, 'refuse', o) end
  if why then return why, instead end
  keys_of(name, o)
end

-- The host array v of n numbers as a recipe's own fill sees it: a place outside of it is an error, not one of memory.
local function guarded(v, n)
  local function place(k)
    if type(k) == 'number' and k >= 0 and k < n and k == math.floor(k) then return k end
    error(('place %s of an array of %d, expected 0 to %d'):format(tostring(k), n, n - 1), 3)
  end
  return setmetatable({}, { __index = function(_, k) return v[place(k)] end,
    __newindex = function(_, k, x)
      if type(x) ~= 'number' then error(('place %s is %s, expected a number'):format(tostring(k), tostring(x)), 2) end
      v[place(k)] = x
    end })
end

-- Fills the host array v of n numbers; what a recipe's own fill raises is a fault of its keys.
local function fill_own(kind, fill, v, n, normals)
  local ok, why = pcall(fill, guarded(v, n), function(count, k) return guarded(normals(count, k), count) end)
  if ok then return end
  if errors.is(why) then error(why, 0) end
  registry:fault(kind, 'keys', 'returns a fill that raises: ' .. tostring(why))
end

--- Declares self[name], the key tensor of strategy `kind`, on a module: trained where o.learn, else frozen and saved.
--- o: { n, width, norm, overlap, learn }. Raises E208 for a recipe's own that returns no keys.
function M.declare(self, name, kind, o)
  local Tensor = require 'datamux.tensor'
  local shape, fill = keys_of(kind, o)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  local function make(t, seed, site)
    local v = t:room()
    local function normals(count, k)
      return Tensor.lasting({ count }, 'f32'):normal(0, 1, seed, site + 65536 * (k or 0)):host()
    end
    if M.whose(kind) == 'library' then fill(v, normals) else fill_own(kind, fill, v, n, normals) end
    t:put(v)
  end
  if o.learn then return self:param(name, shape, make, false) end
  return self:buffer(name, shape, make)
end

return M
