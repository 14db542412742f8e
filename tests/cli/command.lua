-- command.lua -- running the command under test as a process, for the specs of this folder.
local host = require 'datamux.host'
local sys = require 'datamux.sys'

local M = { exe = host.exe() }

local counter = 0

--- A new folder of this process, to be removed by the spec.
function M.scratch()
  counter = counter + 1
  local dir = ('%s/datamux-cli-%d-%d'):format(os.getenv 'TMPDIR' or '/tmp', sys.pid(), counter)
  sys.mkdir(dir)
  return dir
end

-- A run that does not end is ended after ten minutes, with 124: a spec then fails and does not wait for ever. The own
-- defaults of who runs the specs are left out.
local LIMIT = 'XDG_CONFIG_HOME=/nowhere timeout -k 10 600 '

--- Runs the command with a line of arguments; o: { input, env }. Returns exit code, stdout, stderr.
function M.run(args, o)
  o = o or {}
  local dir = M.scratch()
  sys.write(dir .. '/in', o.input or '')
  local line = (LIMIT .. 'env %s %s %s < %s/in > %s/out 2> %s/err; echo $? > %s/code'):format(o.env or '', M.exe,
    args, dir, dir, dir, dir)
  os.execute(line)
  local code, out, err = tonumber(sys.read(dir .. '/code')), sys.read(dir .. '/out'), sys.read(dir .. '/err')
  sys.remove(dir)
  return code, out, err
end

--- Runs a line of bash with $DM naming the command; returns exit code, stdout and stderr together.
function M.shell(line)
  local dir = M.scratch()
  sys.write(dir .. '/line', ('DM=%s\n%s\n'):format(M.exe, line))
  os.execute((LIMIT .. 'bash %s/line > %s/out 2>&1 < /dev/null; echo $? > %s/code'):format(dir, dir, dir))
  local code, out = tonumber(sys.read(dir .. '/code')), sys.read(dir .. '/out')
  sys.remove(dir)
  return code, out
end

return M
