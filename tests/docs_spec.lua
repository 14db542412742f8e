-- docs_spec.lua -- every command that README.md and docs/ show is run, and prints what they show.
--
-- A block ```console holds commands: a line that begins with "$ ", lines after it that begin with "> " go on with it
-- (here-documents, a last \). What follows up to the next command is its output, as on a terminal (stdout and stderr).
--
--   where      each file has a folder of its own, HOME and the working directory in one: `datamux` on the PATH,
--              recipes/, build/ and the Makefile as in a clone. Blocks of a file share it and run in order.
--   files      a block whose fence says a language and a name (```lua mine.lua) is written there under that name.
--   output     must be there word for word; these may differ: numbers (and whether what they count is one: 1 thread, 2
--              threads), dates, times, durations, sizes in bytes, ids of runs, how wide columns and rules are.
--              "..." stands for anything inside a line, or alone for any lines.
--              Where a block shows no output, none is compared.
--   status     a command ends with 0, unless its output shows an error, or `echo $?` comes next.
--   shortened  ```console set: KEY=VALUE ...    with these values in DATAMUX_SET, so that a training takes seconds
--   not run    ```console skip: REASON          needs a network, a GPU, root, an installation or hours
--              ```console data [KEY=VALUE ...]  runs where DATAMUX_DATA names real data
--
-- There are no other blocks of shell commands, and most of these run.
local host = require 'datamux.host'
local lfs = require 'lfs'
local sys = require 'datamux.sys'

local FEWEST = 60                                       -- commands that run without real data
local LIMIT = 120                                       -- seconds for a block

-- -- reading ----------------------------------------------------------------------------------------------------------

local function documents(dir, out)
  for name in lfs.dir(dir) do
    local path = dir .. '/' .. name
    if name:find '%.md$' then
      out[#out + 1] = path
    elseif not name:find '^%.' and name ~= 'reference' and lfs.attributes(path, 'mode') == 'directory' then
      documents(path, out)
    end
  end
  table.sort(out)
  return out
end

-- Fenced blocks of a document: { line (of the fence), info, lines }.
local function blocks(text)
  local list, open, number = {}, nil, 0
  for line in (text .. '\n'):gmatch '([^\n]*)\n' do
    number = number + 1
    local info = line:match '^```(.*)$'
    if info and open then
      list[#list + 1], open = open, nil
    elseif info then
      open = { line = number, info = info, lines = {} }
    elseif open then
      open.lines[#open.lines + 1] = line
    end
  end
  assert(not open, 'a fence is not closed')
  return list
end

-- Commands of a console block: { line, text, shown (lines) }.
local function commands(block)
  local list = {}
  for i, line in ipairs(block.lines) do
    local last = list[#list]
    if line:find '^%$ ' then
      list[#list + 1] = { line = block.line + i, text = line:sub(3), shown = {} }
    elseif not last then
      error(('line %d: a console block begins with a command: $ ...'):format(block.line + i))
    elseif line:find '^> ?' and #last.shown == 0 then
      last.text = last.text .. '\n' .. line:gsub('^> ?', '')
    else
      last.shown[#last.shown + 1] = line
    end
  end
  return list
end

-- -- comparing --------------------------------------------------------------------------------------------------------

-- A line without what may differ.
local function plain(line, home)
  if home then line = line:gsub(home:gsub('%p', '%%%0'), '~') end
  line = line:gsub('%d%d%d%d%d%d%d%d%-%d%d%d%d%d%d%-%w%w%w%w', 'ID'):gsub('%d%d%d%d%-%d%d%-%d%d[T ]?[%d:]*Z?', 'DATE')
  line = line:gsub('%d+ min %d+ s', '0 s'):gsub('%d+:%d%d:%d%d', '0'):gsub('%d+:%d%d%f[^%d]', '0')
  line = line:gsub('[+-]?%d[%d,]*%.?%d*[eE][+-]?%d+', '0'):gsub('%f[%d.][+-]?%d[%d,]*%.?%d*', '0')
  line = line:gsub('0 days%f[%W]', '0 s'):gsub('0 [mh]i?n?%f[%W]', '0 s'):gsub('0 [kMGT]i?B%f[%W]', '0 B')
  line = line:gsub('0 (%l%l+)s%f[%W]', '0 %1')
  line = line:gsub('[+-]0', '0'):gsub('%-%-+:?', '--'):gsub('[━─]+', '━')
  return (line:gsub('%s+', ' '):gsub(' $', ''))
end

-- A shown line as a pattern: "..." is anything.
local function pattern(line)
  return '^' .. plain((line:gsub('%.%.%.', '\1'))):gsub('%p', '%%%0'):gsub('\1', '.*') .. '$'
end

-- Whether the lines got, from g on, are those shown from s on; else what is missing: the shown line that is reached.
local function same(shown, got, s, g)
  while s <= #shown do
    if shown[s]:find '^%s*%.%.%.$' then
      if s == #shown then return true end
      for k = g, #got do
        if same(shown, got, s + 1, k) then return true end
      end
      return false, shown[s + 1]
    end
    if not got[g] or not got[g]:find(pattern(shown[s])) then return false, shown[s] end
    s, g = s + 1, g + 1
  end
  if got[g] then return false, 'nothing more after ' .. (shown[#shown] or 'it') end
  return true
end

local function trimmed(lines)
  while #lines > 0 and lines[#lines]:find '^%s*$' do lines[#lines] = nil end
  return lines
end

-- -- running ----------------------------------------------------------------------------------------------------------

local function absolute(path) return path:sub(1, 1) == '/' and path or lfs.currentdir() .. '/' .. path end

-- A folder such as a clone is, for the blocks of one document.
local function clone(number)
  local dir = ('%s/datamux-docs-%d-%d'):format(os.getenv 'TMPDIR' or '/tmp', sys.pid(), number)
  local here = lfs.currentdir()
  sys.mkdir(dir .. '/build')
  sys.link(absolute(host.exe()), dir .. '/build/datamux')
  for _, name in ipairs { 'recipes', 'Makefile', 'bench' } do sys.link(here .. '/' .. name, dir .. '/' .. name) end
  return dir
end

-- How a console block is meant: { skip = reason, data = whether it needs real data, set = values of DATAMUX_SET }.
local function kind(info)
  local word, rest = info:match '^console (%w+):? ?(.*)$'
  if info == 'console' then return {} end
  if word == 'skip' and rest ~= '' then return { skip = rest } end
  if word == 'set' and rest ~= '' then return { set = rest } end
  if word == 'data' then return { data = true, set = rest } end
  error(('```%s is neither console, console set: ..., console data nor console skip: REASON'):format(info))
end

-- Runs the commands of a block as one shell; returns output and status of each that was reached.
local function run(list, dir, how)
  local script = { 'cd "$HOME"', 'exec 2>&1' }
  for _, c in ipairs(list) do
    script[#script + 1] = c.text .. "\nstatus=$?; printf '\\036%d\\n' $status; (exit $status)"
  end
  sys.write(dir .. '/.script', table.concat(script, '\n') .. '\n')
  local unset = {}
  for _, name in ipairs { 'CACHE', 'DATA', 'RUNS', 'SET', 'OFFLINE', 'DOWNLOAD', 'PROGRESS', 'PROFILE', 'GPU_PRICE',
                          'DEBUG' } do
    if not (how.data and name == 'DATA') then unset[#unset + 1] = '-u DATAMUX_' .. name end
  end
  os.execute(('env %s -u XDG_CACHE_HOME -u XDG_CONFIG_HOME -u XDG_STATE_HOME HOME=%s PATH="%s/build:$PATH" '
    .. 'DATAMUX_DEVICE=cpu DATAMUX_SET="%s" LC_ALL=C.UTF-8 TERM=dumb timeout -k 5 %d stdbuf -oL bash %s/.script '
    .. '> %s/.out 2>&1 < /dev/null'):format(table.concat(unset, ' '), dir, dir, how.set or '', LIMIT, dir, dir))
  local out = {}
  for text, status in sys.read(dir .. '/.out'):gmatch '([^\30]*)\30(%d+)\n' do
    local lines = {}
    for line in text:gmatch '([^\n]*)\n?' do lines[#lines + 1] = plain(line, dir) end
    out[#out + 1] = { lines = trimmed(lines), text = text, status = tonumber(status) }
  end
  return out
end

-- What is wrong with one command, or nil.
local function fault(c, next_one, r)
  if not r then return 'did not end' end
  local shown = trimmed(c.shown)
  local fails = next_one and next_one.text:find 'echo %$%?'
  for _, line in ipairs(shown) do fails = fails or line:find '^error' end
  if r.status ~= 0 and not fails then return ('ends with %d:\n%s'):format(r.status, r.text) end
  if #shown == 0 then return nil end
  local ok, missing = same(shown, r.lines, 1, 1)
  if not ok then return ('does not print\n%s\nbut\n%s'):format(missing, r.text) end
end

-- -- the documents ----------------------------------------------------------------------------------------------------

describe('what is shown', function()
  local function fits(shown, got)
    local lines = {}
    for i, line in ipairs(got) do lines[i] = plain(line, '/home/me') end
    return (same(shown, lines, 1, 1))
  end

  it('may have other numbers, dates, ids and widths', function()
    assert.is_true(fits({ 'runs/a/20261125-015732-gs1b  1.5 s' }, { 'runs/a/20270101-000000-aaaa 2 min 03 s' }))
    assert.is_true(fits({ 'a       0.97  12,000', '--- | --:' }, { 'a  1e-05  7', '------ | ---:' }))
    assert.is_true(fits({ '2026-11-25T01:57:32Z a  eta 0:20' }, { '2027-01-01T00:00:00Z a  eta 1:02:03' }))
    assert.is_true(fits({ 'cpu (1 thread, 8 rows)' }, { 'cpu (16 threads, 1 row)' }))
    assert.is_true(fits({ '~/x, 72.1 GB free' }, { '/home/me/x, 3 kB free' }))
    assert.is_true(fits({ 'first', '...', 'N = 8... b', '...' }, { 'first', '1', '2', 'N = 9, c b' }))
  end)

  it('has the words, all of them and no others', function()
    assert.is_false(fits({ 'loss 0.5' }, { 'lost 0.5' }))
    assert.is_false(fits({ '2 threads' }, { '2 rows' }))
    assert.is_false(fits({ 'loss 0.5' }, { 'loss nan' }))
    assert.is_false(fits({ 'a', 'b' }, { 'a' }))
    assert.is_false(fits({ 'a' }, { 'a', 'b' }))
    assert.is_false(fits({ 'a', '...', 'c' }, { 'a', 'b' }))
    assert.is_false(fits({ 'a ... c' }, { 'a b' }))
    assert.is_false(fits({ 'n1 x' }, { 'n1.x' }))
  end)
end)

describe('the documents', function()
  local ran, left, data = 0, {}, os.getenv 'DATAMUX_DATA'

  local function leave(reason, n) left[reason] = (left[reason] or 0) + n end

  for number, path in ipairs(documents('docs', { 'README.md' })) do
    it(path .. ' shows what its commands do', function()
      local dir, faults = clone(number), {}
      for _, block in ipairs(blocks(sys.read(path))) do
        local file = block.info:match '^%w+ ([%w_./-]+%.%w+)$'
        if file then
          if file:find '/' then sys.mkdir(dir .. '/' .. file:match '^(.*)/') end
          sys.write(dir .. '/' .. file, table.concat(block.lines, '\n') .. '\n')
        elseif block.info:find '^console' then
          local list = commands(block)
          local how = kind(block.info)
          local reason = how.skip or how.data and not data and 'needs DATAMUX_DATA'
          if reason then
            leave(reason, #list)
          else
            local results = run(list, dir, how)
            for i, c in ipairs(list) do
              local what = fault(c, list[i + 1], results[i])
              if what then faults[#faults + 1] = ('%s:%d: $ %s\n%s'):format(path, c.line, c.text, what) end
            end
            ran = ran + #list
          end
        else
          assert(not block.info:find '^%a*sh$', ('%s:%d: ```%s: commands stand in ```console, each after "$ "'):format(
            path, block.line, block.info))
        end
      end
      sys.remove(dir)
      assert(#faults == 0, '\n' .. table.concat(faults, '\n\n'))
    end)
  end

  it('are run, most of them', function()
    local not_run, why = 0, {}
    for reason, n in pairs(left) do
      not_run, why[#why + 1] = not_run + n, ('%s (%d)'):format(reason, n)
    end
    table.sort(why)
    print(('docs: %d commands ran, %d did not: %s'):format(ran, not_run, table.concat(why, ', ')))
    assert.is_true(ran >= FEWEST, ('only %d commands of the documents ran'):format(ran))
    assert.is_true(not_run < ran / 2, ('%d of %d commands of the documents did not run'):format(not_run, ran + not_run))
  end)
end)
