-- command.lua -- how soon the command answers: help, completion, resolved values, the prompt, the first line of a run.
-- Run by it: build/datamux bench/command.lua [REPEATS]. Each is run so many times (20) after one that warms up: median,
-- least and most, in ms of wall clock. With DATAMUX_DATA also a run on SST-2 whose texts are cached.
local host = require 'datamux.host'
local sys = require 'datamux.sys'
local C = require('datamux.ffi').C

local repeats = tonumber(arg[1]) or 20
local exe = host.exe()
local dir = os.tmpname()
os.remove(dir)
sys.mkdir(dir)

-- Median, least and most of what fn returns, in ms.
local function measure(fn)
  local list = {}
  fn()
  for i = 1, repeats do list[i] = 1000 * fn() end
  table.sort(list)
  return list[math.ceil(#list / 2)], list[1], list[#list]
end

local function whole(arguments)
  return function()
    local t = C.dm_clock()
    assert(os.execute(('%s %s > /dev/null 2>&1 < /dev/null'):format(exe, arguments)) == 0, arguments)
    return C.dm_clock() - t
  end
end

-- Seconds to the line of the first step; the run is then stopped.
local function first_line(arguments)
  return function()
    local t = C.dm_clock()
    local f = io.popen(('exec %s %s -o %s 2>&1 < /dev/null'):format(exe, arguments, dir))
    for line in f:lines() do
      if line:find 'step 1/' then break end
    end
    t = C.dm_clock() - t
    f:close()
    return t
  end
end

-- Seconds to the prompt on a terminal.
local function prompt()
  local f = io.popen(("expect -c 'log_user 0; set t [clock microseconds]; spawn -noecho %s; expect \"dm> \"; "
    .. "puts [expr {[clock microseconds] - $t}]; send \\x04; expect eof'"):format(exe))
  local t = tonumber(f:read '*a')
  f:close()
  return t / 1e6
end

local SHORT = ' warmup.steps=1 train.steps=1 eval.groupings=1 eval.bootstrap=0'

local cases = {
  { 'datamux --help', whole '--help' }, { 'datamux --version', whole '--version' },
  { 'datamux help run', whole 'help run' },
  { 'datamux completion bash', whole 'completion bash' },
  { 'datamux recipes/quickstart.lua -n', whole 'recipes/quickstart.lua -n' },
  { 'datamux explain E203', whole 'explain E203' }, { 'datamux runs ls', whole('runs ls -o ' .. dir) },
  { 'datamux: to the prompt', prompt },
  { 'datamux recipes/quickstart.lua: to the first step', first_line('recipes/quickstart.lua' .. SHORT) },
}
if os.getenv 'DATAMUX_DATA' then
  cases[#cases + 1] = { 'datamux recipes/sst2_n5.lua profile=small, cached: to the first step',
    first_line('recipes/sst2_n5.lua profile=small' .. SHORT) }
end
print('| command | median, ms | least | most |\n| --- | --: | --: | --: |')
for _, c in ipairs(cases) do
  print(('| `%s` | %.0f | %.0f | %.0f |'):format(c[1], measure(c[2])))
  io.stdout:flush()
end
sys.remove(dir)
