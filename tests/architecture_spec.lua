-- architecture_spec.lua -- the arrows of the house point down: who may include or require whom.
local lfs = require 'lfs'

local function files(dir, ending, out)
  out = out or {}
  for name in lfs.dir(dir) do
    local path = dir .. '/' .. name
    if name:sub(1, 1) ~= '.' then
      if lfs.attributes(path, 'mode') == 'directory' then
        files(path, ending, out)
      elseif path:find(ending) then
        out[#out + 1] = path
      end
    end
  end
  return out
end

local function lines(path)
  local out = {}
  for line in io.lines(path) do out[#out + 1] = line end
  return out
end

-- Floor of a Lua module: it may require modules of its own floor or below. What stands nowhere here is the programme,
-- on the top floor; import/use.lua is of it, for it makes a configuration.
local floors = {
  { 'ffi', 'fault', 'profile', 'plural', 'errors' }, { 'scope' }, { 'tensor' }, { 'tape', 'ops/' }, { 'nn/' },
  { 'json', 'sys', 'sums', 'schedule', 'optim', 'safetensors', 'pickle', 'checkpoint', 'metrics', 'models/', 'data/',
    'text/', 'import', 'import/names', 'import/tokenizer' },
}

local function floor(path)
  local name = (path:match 'datamux/(.*)%.lua$' or path):gsub('/init$', '')
  for level, list in ipairs(floors) do
    for _, prefix in ipairs(list) do
      local within = prefix:sub(-1) == '/' and (name .. '/'):sub(1, #prefix) == prefix
      if name == prefix or within then return level end
    end
  end
  return #floors + 1
end

describe('the house', function()
  it('requires downwards only', function()
    for _, path in ipairs(files('lua/datamux', '%.lua$')) do
      for number, line in ipairs(lines(path)) do
        for module in line:gmatch 'require[%s(]*[\'"]datamux%.([%w_.]+)' do
          local other = floor((module:gsub('%.', '/')))
          if module ~= 'host' and module ~= 'header' and other then
            assert.is_true(other <= floor(path), ('%s:%d requires %s, which is above it'):format(path, number, module))
          end
        end
      end
    end
  end)

  it('keeps the engine out of the modules', function()
    for _, path in ipairs(files('lua/datamux/nn', '%.lua$')) do
      for number, line in ipairs(lines(path)) do
        local door = line:match 'C%.dm_[%w_]+' or line:match 'require[%s(]*[\'"]datamux%.ffi[\'"]'
        assert.is_nil(door, ('%s:%d calls the engine other than through ops and tensors'):format(path, number))
      end
    end
  end)

  it('keeps Lua out of the engine and kernels out of each other', function()
    for _, path in ipairs(files('src', '%.[ch]$')) do
      for number, line in ipairs(lines(path)) do
        local where = ('%s:%d'):format(path, number)
        if not path:find 'main%.c$' then
          assert.is_nil(line:match '#include <lua', where .. ' includes a Lua header')
        end
        assert.is_nil(line:match '#include ".*kernels/', where .. ' includes from kernels')
      end
    end
    for _, path in ipairs(files('kernels/cpu', '%.[ch]$')) do
      for number, line in ipairs(lines(path)) do
        local included = line:match '#include "(.-)"'
        local allowed = included == nil or included:find '^[%w_]+%.h$' or included == '../../src/backend.h'
          or included == '../../src/philox.h'
        assert.is_true(allowed and true or false, ('%s:%d includes %s'):format(path, number, tostring(included)))
      end
    end
    for _, path in ipairs(files('kernels/cuda', '%.cuh?$')) do
      for number, line in ipairs(lines(path)) do
        local included, where = line:match '#include "(.-)"', ('%s:%d'):format(path, number)
        local allowed = included == nil or included:find '^[%w_]+%.cuh$' or included == '../../src/backend.h'
          or included == '../../src/philox.h' or included == 'walls.h'
        assert.is_truthy(allowed, where .. ' includes ' .. tostring(included))
        local launches = path:find 'common%.cuh$' and line:find 'kernel<<<grid'
        assert.is_truthy(launches or not line:find '<<<', where .. ' launches other than through launch()')
        local shared = path:find '%.cu$' and line:find '__shared__'
        assert.is_nil(shared, where .. ' names shared memory other than by DM_SHARED')
      end
    end
  end)
end)
