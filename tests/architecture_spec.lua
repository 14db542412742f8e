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

-- Floor of a Lua module: it may require modules of its own floor or below.
local floors = {
  { 'ffi' }, { 'scope' }, { 'tensor' }, { 'tape', 'ops/' }, { 'nn/' },
  { 'errors', 'json', 'sys', 'schedule', 'optim', 'safetensors', 'checkpoint', 'metrics', 'models/', 'data/', 'text/' },
  { 'schema', 'recipe', 'locate', 'override', 'assemble', 'estimate', 'evaluate', 'train', 'rundir', 'report', 'log',
    'tensorboard', 'explain', 'launch', 'sweep', 'commands/', 'cli', 'repl', 'repl/', 'plot',
    'init' },
}

local function floor(path)
  local name = path:match 'datamux/(.*)%.lua$' or path
  for level, list in ipairs(floors) do
    for _, prefix in ipairs(list) do
      if name == prefix or (prefix:sub(-1) == '/' and name:sub(1, #prefix) == prefix) then return level end
    end
  end
end

describe('the house', function()
  it('knows the floor of every Lua file', function()
    for _, path in ipairs(files('lua/datamux', '%.lua$')) do assert.is_truthy(floor(path), path .. ' has no floor') end
  end)

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

  it('lets nothing above the ops call the engine for arithmetic', function()
    for _, path in ipairs(files('lua/datamux/nn', '%.lua$')) do
      for number, line in ipairs(lines(path)) do
        assert.is_nil(line:match 'C%.dm_[%w_]+_[fb]wd', ('%s:%d calls an op directly'):format(path, number))
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
  end)
end)
