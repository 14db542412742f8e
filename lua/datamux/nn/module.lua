-- module.lua -- class Module: a tree of named parameters, and the flat blocks they are laid out in.
--
-- A module declares parameters and children while it is constructed; nothing is allocated until
-- Module.build(model), which lays all parameters into one flat lasting block per role (values, gradients),
-- decayed ones first, each aligned to 64 elements. Optimiser, norm and save are then single calls over the block.
-- Under scope.precision 'bf16' the ops read a bf16 copy of the values, which the optimiser writes with them.
-- Tying is sharing the tensor. Paths follow Hugging Face: encoder.layer.3.attention.qkv.weight.
local fault = require 'datamux.fault'
local scope = require 'datamux.scope'
local Tensor = require 'datamux.tensor'

local Module = {}
Module.__index = Module

local ALIGN = 64             -- elements: 256 bytes of f32

--- A class that inherits from Module; instances are made with setmetatable through Class.make(name).
function Module.class(name)
  local class = setmetatable({ class = name }, { __index = Module })
  class.__index, class.__tostring = class, Module.__tostring
  return class
end

--- Turns `self` (a table of fields) into an instance of `class`.
function Module.init(class, self)
  self.names, self.parts, self.sites = {}, {}, self.sites or 0
  return setmetatable(self, class)
end

--- Declares self[name] as a parameter. shape: list; init: standard deviation of a normal, { fill = v }, or a
--- function (tensor, seed, site); decay: whether weight decay applies (default: only tensors of two or more
--- dimensions). Returns the tensor; spec.zero_row = r keeps row r at zero (padding).
function Module:param(name, shape, init, decay)
  if decay == nil then decay = #shape > 1 end
  local t = setmetatable({ needs = true, spec = { shape = shape, init = init, decay = decay } }, Tensor)
  return self:share(name, t)
end

--- Declares self[name] as a frozen tensor that is saved with the model. make(shape, seed, site) -> flat values.
function Module:buffer(name, shape, make)
  local t = setmetatable({ spec = { shape = shape, make = make } }, Tensor)
  return self:share(name, t)
end

--- Declares self[name] as another module's parameter (tying).
function Module:share(name, t)
  self.names[#self.names + 1] = name
  self[name] = t
  return t
end

--- Declares self[key] as a child; `name` is its part of the path (default key).
function Module:child(key, module, name)
  self.parts[#self.parts + 1] = { name = name or key, module = module }
  self[key] = module
  return module
end

--- Calls fn(module, path) for this module and all below, in the order of declaration.
function Module:each(fn, path)
  fn(self, path or '')
  for _, part in ipairs(self.parts) do
    part.module:each(fn, path and path ~= '' and path .. '.' .. part.name or part.name)
  end
end

--- All tensors as a list of { name, tensor }, each once, under the first name it was declared with.
function Module:tensors()
  local out, seen = {}, {}
  self:each(function(m, path)
    for _, name in ipairs(m.names) do
      local t = m[name]
      if not seen[t] then
        seen[t] = true
        out[#out + 1] = { name = path == '' and name or path .. '.' .. name, tensor = t }
      end
    end
  end)
  return out
end

local function count(shape)
  local n = 1
  for i = 1, #shape do n = n * shape[i] end
  return n
end

local function adopt(t, view)
  t.c, t.owner = view.c, view.owner
end

-- Initial values of parameter t, into its f32 storage `master`.
local function initialise(t, master, seed, site)
  local init = t.spec.init
  if type(init) == 'function' then
    init(master, seed, site)
  elseif type(init) == 'table' then
    master:fill(init.fill)
  else
    master:normal(0, init, seed, site)
  end
  local row = t.spec.zero_row
  if row then
    master:view({ t:cols() }, row * t:cols()):fill(0)
    t.zero_grad = t.store:view({ t:cols() }, row * t:cols())
  end
end

--- Lays out, allocates and initialises the parameters and buffers of `model`; numbers its dropout sites.
--- Fills model.block = { p, g, copy, decayed, list, buffers }: flat values and gradients in f32, the bf16 copy (nil in
--- f32), how many elements decay, and the parameters with name, tensor, master (its f32 values; tensor itself in f32),
--- offset and n. seed: of the initial values; without one all are zero and there are no gradients: a finished model,
--- whose values are read from a file. Returns model.
function Module.build(model, seed)
  local list, buffers, site = {}, {}, 0
  model:each(function(m)
    m.site = site
    site = site + m.sites
  end)
  for _, e in ipairs(model:tensors()) do
    if e.tensor.spec.make then buffers[#buffers + 1] = e else list[#list + 1] = e end
  end
  local n, decayed = 0, 0
  for pass = 1, 2 do
    for _, e in ipairs(list) do
      if e.tensor.spec.decay == (pass == 1) then
        e.offset, e.n = n, count(e.tensor.spec.shape)
        n = n + math.ceil(e.n / ALIGN) * ALIGN
      end
    end
    if pass == 1 then decayed = n end
  end
  local size = { math.max(n, 1) }
  local p, g = Tensor.lasting(size, 'f32'):fill(0), nil
  if seed then g = Tensor.lasting(size, 'f32'):fill(0) end
  local copy = scope.compute == 'bf16' and Tensor.lasting(size, 'bf16') or nil
  for i, e in ipairs(list) do
    local t, master = e.tensor, p:view(e.tensor.spec.shape, e.offset)
    adopt(t, copy and copy:view(t.spec.shape, e.offset) or master)
    e.master = copy and master or t
    t.name = e.name
    if seed then
      t.store = g:view(t.spec.shape, e.offset)
      initialise(t, e.master, seed, 1000 + i)
    end
  end
  for i, e in ipairs(buffers) do
    local t, master = e.tensor, Tensor.lasting(e.tensor.spec.shape, 'f32'):fill(0)
    adopt(t, copy and Tensor.lasting(t.spec.shape, 'bf16') or master)
    e.master = copy and master or t
    if seed then t.spec.make(e.master, seed, 500 + i) end
    t.name = e.name
  end
  model.block = { p = p, g = g, copy = copy, decayed = decayed, list = list, buffers = buffers, n = n }
  model:refresh()
  return model
end

--- After the f32 values were written by other than the optimiser (a checkpoint): the bf16 copy follows them.
function Module:refresh()
  local block = self.block
  if not block.copy then return end
  block.copy:assign(block.p)
  for _, e in ipairs(block.buffers) do e.tensor:assign(e.master) end
end

--- Number of trained values.
function Module:count()
  local n = 0
  for _, e in ipairs(self.block.list) do n = n + e.n end
  return n
end

--- Parameters and frozen tensors by path: what a checkpoint holds.
function Module:named()
  local out = {}
  for _, e in ipairs(self.block.list) do out[e.name] = e.master end
  for _, e in ipairs(self.block.buffers) do out[e.name] = e.master end
  return out
end

--- Before the optimiser: gradients nobody wrote in this update are set to zero, all are marked unwritten.
function Module:settle()
  for _, e in ipairs(self.block.list) do
    local t = e.tensor
    if not t.grad then
      t.store:zero()
    elseif t.zero_grad then
      t.zero_grad:zero()
    end
    t.grad = nil
  end
end

--- Switches dropout on (true) or off for this module and all below.
function Module:train(on)
  self:each(function(m) m.training = on end)
  return self
end

--- The drop probability now: p while training, else 0.
function Module:drop(p) return self.training and p or 0 end

--- Its tensors and those of all below, as a list.
function Module:own()
  if not self.tensors_below then
    self.tensors_below = {}
    for _, e in ipairs(self:tensors()) do table.insert(self.tensors_below, e.tensor) end
  end
  return self.tensors_below
end

--- Runs the child under `name` of the path that error messages show.
function Module:run(name, child, ...)
  local path = fault.path
  path[#path + 1] = name
  local y = child:forward(...)
  path[#path] = nil
  return y
end

--- "Linear(256 -> 768)" and the tree below, with parameter counts.
function Module:__tostring()
  local out = {}
  self:each(function(m, path)
    local shapes = {}
    for _, name in ipairs(m.names) do
      local shape = m[name].spec.shape
      shapes[#shapes + 1] = ('%s[%s]'):format(name, table.concat(shape, ', '))
    end
    local _, depth = path:gsub('%.', '')
    out[#out + 1] = ('%s%s  %s'):format(('  '):rep(path == '' and 0 or depth + 1),
      path == '' and m.class or path, table.concat(shapes, '  '))
  end)
  return table.concat(out, '\n')
end

return Module
