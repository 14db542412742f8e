-- coverage_spec.lua -- nothing is forgotten: every op has its backward pass, its backend row, its Lua, its spec.
local host = require 'datamux.host'

local header = host.source 'datamux.h'

local function text(path)
  local f = assert(io.open(path))
  local s = f:read '*a'
  f:close()
  return s
end

-- Ops of the header: name -> true for each dm_NAME after the line that opens them.
local ops = {}
for name in header:match '/%* %-%- linear and matmul.*$':gmatch 'dm_status dm_([%w_]+)%(' do ops[name] = true end

-- Ops without a gradient, and why.
local no_gradient = {
  count_correct = 'counts', adamw = 'an update', sgd = 'an update', norm2 = 'a figure of gradients',
  zero = 'a fill', cast = 'a conversion of storage',
}

describe('the interface', function()
  it('has a backward pass for every op that has a gradient', function()
    local n = 0
    for name in pairs(ops) do
      local base = name:match '^(.*)_fwd$'
      if base then
        assert.is_true(ops[base .. '_bwd'], base .. ' has no backward pass')
        n = n + 1
      elseif not name:find '_bwd$' then
        assert.is_truthy(no_gradient[name], name .. ' has no backward pass and no reason')
      end
    end
    assert.is_true(n > 15)
  end)

  it('has a row in the backend for every op', function()
    local backend, cpu = text 'src/backend.h', text 'kernels/cpu/cpu.h'
    for name in pairs(ops) do
      assert.is_truthy(backend:find('(*' .. name .. ')', 1, true), name .. ' is not in struct dm_backend')
      assert.is_truthy(backend:find('X(' .. name .. ')', 1, true), name .. ' is not in DM_OPS')
      assert.is_truthy(cpu:find('cpu_' .. name .. '(', 1, true), name .. ' is not in the CPU backend')
    end
  end)

  it('is used from Lua and named in a spec, op by op', function()
    local lua, specs = '', ''
    for _, f in ipairs { 'linear', 'norm', 'attn', 'embed', 'mux', 'conv', 'point', 'loss' } do
      lua = lua .. text('lua/datamux/ops/' .. f .. '.lua')
    end
    lua = lua .. text 'lua/datamux/optim.lua' .. text 'lua/datamux/tensor.lua'
    for _, f in ipairs { 'linear', 'norm', 'attn', 'embed', 'embed_mux', 'mux', 'conv', 'point', 'loss', 'optim' } do
      specs = specs .. text('tests/ops/' .. f .. '_spec.lua')
    end
    for name in pairs(ops) do
      assert.is_truthy(lua:find('C.dm_' .. name .. '(', 1, true), name .. ' is not called from Lua')
      local base = name:gsub('_fwd$', ''):gsub('_bwd$', '')
      assert.is_truthy(specs:find('dm.' .. base .. '[^%w_]') or specs:find('dm_' .. base, 1, true),
        base .. ' is in no spec')
    end
  end)

  it('documents every op in the README', function()
    local readme = text 'README.md'
    for name in pairs(ops) do
      local base = name:gsub('_fwd$', ''):gsub('_bwd$', '')
      assert.is_truthy(readme:find('`' .. base .. '`', 1, true), base .. ' is not in the README table of ops')
    end
  end)
end)
