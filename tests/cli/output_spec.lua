-- output_spec.lua -- what was asked for and could not be written is no success.
local command = require 'tests.cli.command'

describe('standard output on a full disk', function()
  it('is an error, with the exit code of the environment', function()
    for _, args in ipairs { '--help', [[-e 'io.write("x")']], 'explain E203' } do
      local code, out = command.shell(('$DM %s > /dev/full'):format(args))
      assert.are.equal(4, code, args)
      assert.is_truthy(out:find('error[E401]: standard output: ', 1, true), out)
    end
  end)
end)
