-- profile_spec.lua -- DATAMUX_PROFILE: a table of where the time went, op by op, when the command ends.
local host = require 'datamux.host'

local function run(environment, code)
  local file = os.tmpname()
  local command = ("%s %s -e \"%s\" 2> %s"):format(environment, host.exe(), code, file)
  local status = os.execute(command)
  local f = assert(io.open(file))
  local text = f:read '*a'
  f:close()
  os.remove(file)
  return text, status
end

local CODE = "local dm = require 'datamux' local a, b = dm.zeros(512, 512), dm.zeros(512, 512) "
  .. 'for _ = 1, 3 do dm.step(function() dm.matmul(a, b) end) end'

describe('the profile', function()
  it('counts calls, time and rate of each op, and the rest as host', function()
    local text, status = run('DATAMUX_PROFILE=1', CODE)
    assert.are.equal(0, status)
    assert.is_truthy(text:find '^op +calls +wall ms +cpu ms +%% +GFLOP/s +floor\n')
    local rate, floor = text:match '\nmatmul_fwd +3 +[%d.]+ +[%d.]+ +[%d.]+ +([%d.]+) +([%d.]+)\n'
    assert.is_true(tonumber(rate) > 0 and tonumber(floor) > 0)
    assert.is_truthy(text:find '\nhost ')
    assert.is_truthy(text:find '\nall ')
  end)

  it('is silent where it is not asked for, or no op ran', function()
    assert.are.equal('', (run('env -u DATAMUX_PROFILE', CODE)))
    assert.are.equal('', (run('DATAMUX_PROFILE=1', "require 'datamux'")))
  end)
end)
