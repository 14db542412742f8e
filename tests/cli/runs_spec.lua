-- runs_spec.lua -- what ends a run: signals, time, a pipe that closes, kill -9; and what is done with runs afterwards.
local cjson = require 'cjson'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local small = 'recipes/quickstart.lua warmup.steps=6 warmup.every=3 train.steps=6 train.every=3 eval.groupings=1 '
local dir

before_each(function() dir = command.scratch() end)
after_each(function() sys.remove(dir) end)

local function status(where)
  return cjson.decode(sys.read((where or dir) .. '/quickstart/latest/status.json'))
end

-- Starts an endless run, sends signals once it trains; returns the exit code and what it said.
local function stopped_by(signals, more)
  local code, said = command.shell(([[
    $DM %s train.steps=100000 -o %s %s > %s/out 2> %s/err & pid=$!
    for i in $(seq 400); do sleep 0.05; grep -q 'train: ' %s/err && break; done
    %s
    wait $pid; exit $?]]):format(small, dir, more or '', dir, dir, dir, signals))
  return code, said .. sys.read(dir .. '/err')
end

describe('a run that is told to stop', function()
  for _, name in ipairs { 'TERM', 'USR1' } do
    it('by SIG' .. name .. ' saves, says how to continue, and exits with 75', function()
      local code, said = stopped_by('kill -' .. name .. ' $pid')
      assert.are.equal(75, code, said)
      assert.is_truthy(said:find('Z save  step%-%d+ reason=stop [%d.]+ MiB [%d.]+ s\n'), said)
      assert.is_truthy(said:find('stopped at [%d.]+ %%, step %d+ of %a+ %(SIG' .. name .. '%)'), said)
      assert.is_truthy(said:find('\n  datamux recipes/quickstart.lua .* %-%-resume\n'), said)
      local s = status()
      assert.are.same({ 'stopped', 75 }, { s.state, s.code })
      assert.is_truthy(s.resume:find '%-%-resume$')
      assert.are.equal('file', sys.kind(dir .. '/quickstart/latest/checkpoints/last/model.safetensors'))
    end)
  end

  it('by --stop-after does the same, and what it did is continued', function()
    local code, _, err = command.run(small .. 'train.steps=100000 --stop-after 1s -o ' .. dir)
    assert.are.equal(75, code, err)
    assert.is_truthy(err:find('(--stop-after)', 1, true), err)
    assert.is_nil(status().resume:find('stop-after', 1, true))
    local before = status().step
    code, _, err = command.run(small .. 'train.steps=100000 --stop-after 1s --resume -o ' .. dir)
    assert.are.equal(75, code, err)
    assert.is_truthy(err:find 'from step %d+', err)
    assert.is_true(status().step > before)
    assert.are.equal(1, #sys.list(dir .. '/quickstart') - 1)
  end)

  it('before its training stops after one step', function()
    sys.write(dir .. '/script', [[
      local ffi, host = require 'ffi', require 'datamux.host'
      local C = require('datamux.ffi').C
      ffi.cdef 'int raise(int number);'
      ffi.C.raise(2)
      local session = dofile('recipes/quickstart.lua'):session {}
      print(select(2, session:run()), session.at.step, C.dm_interrupted())
      host.stop_after(1)
      repeat until C.dm_interrupted() > 0
      host.stoppable(true)
      print(C.dm_interrupted(), host.stoppable(false))]])
    local code, out, err = command.run(dir .. '/script')
    assert.are.same({ 0, 'stopped\t1\t0\n1\t14\n' }, { code, out }, err)
  end)

  it('by a second Ctrl-C ends at once with 130', function()
    local code, said = command.shell(([[
      trap '' INT
      (trap - INT; exec $DM %s data.length=24 warmup.rows=2000 -q -o %s) 2> %s/err & pid=$!
      for i in $(seq 400); do sleep 0.05; grep -q 'Z warmup: ' %s/quickstart/latest/log.txt 2> /dev/null && break; done
      kill -INT $pid
      for i in $(seq 400); do sleep 0.05; grep -q 'Again Ctrl-C' %s/err && break; done
      kill -INT $pid
      wait $pid; exit $?]]):format(small, dir, dir, dir, dir))
    local err = sys.read(dir .. '/err')
    assert.are.equal(130, code, said .. err)
    assert.is_truthy(err:find('stopping after this step … Again Ctrl-C: quit without waiting.\n', 1, true), err)
  end)

  it('by nothing mentions the unfinished run before it', function()
    assert.are.equal(75, (command.run(small .. 'train.steps=100000 --stop-after 1s -q -o ' .. dir)))
    local code, _, err = command.run(small .. '-o ' .. dir)
    assert.are.equal(0, code, err)
    assert.is_truthy(err:find 'is unfinished %(step %d+%); %-%-resume continues it', err)
  end)
end)

describe('a command that no one reads', function()
  it('ends with 141 and says nothing', function()
    local code, said = command.shell 'set -o pipefail; $DM data head synthetic -k 12000 | head -1 > /dev/null'
    assert.are.same({ 141, '' }, { code, said })
  end)
end)

describe('a run that is killed', function()
  it('continues to the same weights, and its metrics have each step once', function()
    local line = 'recipes/quickstart.lua warmup.steps=20 warmup.every=20 train.steps=20 train.every=20 '
      .. 'eval.groupings=1 save.every=1 -q -o '
    local code, out = command.shell(([[DATAMUX_RUNS=%s bench/kill.sh 3 $DM %s]]):format(dir, line .. dir))
    assert.are.equal(0, code, out)
    assert.is_truthy(out:find('3 of 3', 1, true), out)
    local extra, spent, kills = out:match 'a kill cost (%S+) s on average, (%S+) s of processor time %((%d+) kills%)'
    assert.is_true(tonumber(extra) and tonumber(spent) and tonumber(kills) >= 3, out)
  end)
end)

describe('latest', function()
  local rundir = require 'datamux.rundir'

  local function latest() return (require('lfs').symlinkattributes(dir .. '/x/latest', 'target')) end

  local function run(id, state)
    sys.mkdir(dir .. '/x/' .. id)
    sys.write(dir .. '/x/' .. id .. '/.datamux-run', '')
    sys.write(dir .. '/x/' .. id .. '/status.json', ('{"state":"%s"}'):format(state))
  end

  -- Where it points while a new run is running, and after it ended in `state`.
  local function after(state)
    local new = rundir.create { out = dir, name = 'x', list = {} }
    local id = new.dir:match '[^/]+$'
    local function said() return latest() == id and 'new' or latest() end
    local running = said()
    rundir.close(new, state)
    local ended = said()
    rundir.remove { dir = new.dir }
    return running, ended
  end

  it('is the newest that finished, else the newest that can go on, and a failed run only where no other is', function()
    assert.are.same({ 'new', 'new' }, { after 'failed' })
    assert.is_nil(latest())
    run('20200101-000000-aaaa', 'failed')
    assert.are.same({ 'new', 'new' }, { after 'failed' })
    assert.are.equal('20200101-000000-aaaa', latest())
    run('20200102-000000-aaaa', 'stopped')
    run('20200103-000000-aaaa', 'failed')
    assert.are.same({ 'new', '20200102-000000-aaaa' }, { after 'failed' })
    run('20200104-000000-aaaa', 'finished')
    run('20200105-000000-aaaa', 'running')                                 -- was killed
    assert.are.same({ '20200104-000000-aaaa', '20200104-000000-aaaa' }, { after 'stopped' })
    assert.are.same({ '20200104-000000-aaaa', 'new' }, { after 'finished' })
    rundir.remove { dir = dir .. '/x/20200104-000000-aaaa' }
    assert.are.equal('20200105-000000-aaaa', latest())
  end)
end)

describe('what a run says on stderr', function()
  it('comes after its report where both go to one file', function()
    local code, out = command.shell('$DM ' .. small .. '--progress lines -o ' .. dir .. '/order')
    assert.are.equal(0, code, out)
    assert.is_true(out:find('scored 800/800', 1, true) < out:find('next:  datamux predict', 1, true), out)
    sys.remove(dir .. '/order')
  end)
end)

describe('datamux runs', function()
  it('lists, shows, compares, exports and removes', function()
    for seed = 1, 2 do assert.are.equal(0, (command.run(small .. '-q -o ' .. dir .. ' --seed ' .. seed))) end
    local code, out = command.run('runs ls --json -o ' .. dir)
    assert.are.equal(0, code)
    local list = cjson.decode(out)
    assert.are.same({ 2, 'finished', 12 }, { #list, list[1].state, list[1].step })
    code, out = command.run('runs show quickstart -o ' .. dir)
    assert.are.equal(0, code)
    assert.is_truthy(out:find 'seed +2 +command line')
    assert.is_truthy(out:find 'model%.width +128 +recipe line 9')
    assert.is_nil(out:find 'train%.clip')
    code, out = command.run(('runs compare %s %s -o %s'):format(list[1].id, list[2].id, dir))
    assert.are.equal(0, code)
    assert.is_truthy(out:find 'seed +1 +2 +%+1\n')
    assert.is_nil(out:find('model.width', 1, true))
    assert.is_truthy(out:find 'mcc +[%d.e+-]+ +[%d.e+-]+ +[+-][%d.e+-]+\n')
    assert.is_nil(out:find('parameters', 1, true))
    assert.is_truthy(out:find 'accuracy differs by [+-]0.%d+, %l+ the 95 %% bootstrap interval of the difference, ±')
    code, out = command.run('runs export quickstart -o ' .. dir)
    assert.are.equal(0, code)
    assert.is_truthy(out:find '^[%w_,]+\n')
    assert.is_truthy(out:find ',train,')
    code, out = command.run(('runs export quickstart --to tensorboard -O %s/tb -o %s'):format(dir, dir))
    assert.are.equal(0, code)
    assert.are.equal('file', sys.kind(out:match '[^\n]+'))
    code, out = command.run(('runs rm %s -n -o %s'):format(list[2].id, dir))
    assert.are.same({ 0, list[2].dir .. '  would go\n' }, { code, out })
    assert.are.equal('directory', sys.kind(list[2].dir))
    assert.are.equal(0, (command.run(('runs rm %s -o %s'):format(list[2].id, dir))))
    assert.is_nil(sys.kind(list[2].dir))
    assert.are.equal(list[1].id, require('lfs').symlinkattributes(dir .. '/quickstart/latest', 'target'))
    assert.are.equal(1, #cjson.decode((select(2, command.run('runs ls --json -o ' .. dir)))))
  end)

  it('says whether a difference lies outside the bootstrap intervals', function()
    local function report(id, metric, value, half)
      local at = dir .. '/x/' .. id
      sys.mkdir(at)
      sys.write(at .. '/.datamux-run', '')
      sys.write(at .. '/config.json', '{}')
      sys.write(at .. '/report.json', cjson.encode { metric = metric, value = value, metrics = { [metric] = value },
        interval = half and { low = value - half, high = value + half } })
    end
    report('a', 'f1', 0.5, 0.03)
    report('b', 'f1', 0.6, 0.04)
    report('c', 'f1', 0.54, 0.04)
    report('d', 'f1', 0.6)
    report('e', 'mcc', 0.6, 0.1)
    local function compared(b)
      local code, out = command.run(('runs compare x/a x/%s -o %s'):format(b, dir))
      assert.are.equal(0, code)
      return out
    end
    assert.are.equal('key  x/a  x/b  difference\nf1   0.5  0.6  +0.1\n\nf1 differs by +0.1000, outside the 95 % '
      .. 'bootstrap interval of the difference, ±0.0500: a difference\n', compared 'b')
    assert.is_truthy(compared('c'):find('+0.0400, inside the 95 %', 1, true))
    assert.is_truthy(compared('d'):find('+0.1000; without bootstrap intervals', 1, true))
    assert.is_nil(compared('e'):find('differs', 1, true))
    local r = cjson.decode((select(2, command.run(('runs compare x/a x/b --json -o %s'):format(dir)))))
    assert.are.same({ 'f1', true, { 0.5, 0.6 } }, { r.metric, r.beyond_chance, r.scores.f1 })
  end)

  it('removes nothing that is no run, and nothing that is in use', function()
    sys.mkdir(dir .. '/mine/folder')
    sys.write(dir .. '/mine/folder/file', 'x')
    local code = command.run('runs rm mine/folder -o ' .. dir)
    assert.are.equal(2, code)
    assert.are.equal('x', sys.read(dir .. '/mine/folder/file'))
    assert.are.equal(0, (command.run(small .. '-q -o ' .. dir)))
    local lock = sys.lock(dir .. '/quickstart/latest/lock')
    local refused, _, err = command.run('runs rm quickstart -o ' .. dir)
    sys.unlock(lock)
    assert.are.equal(2, refused)
    assert.is_truthy(err:find('E204', 1, true), err)
  end)
end)

describe('a run with a name and tags', function()
  it('is found by them, keeps them, and takes more when it goes on', function()
    local words = small .. 'train.steps=100000 --stop-after 1s -q --name mine -o ' .. dir
    assert.are.equal(75, (command.run(words .. ' --tag study=lr --tag try=1')))
    assert.are.equal(0, (command.run(small .. '-q --tag try=1 -o ' .. dir)))
    local code, _, err = command.run(words .. ' --tag more=x --resume')
    assert.are.equal(75, code, err)
    local out
    code, out = command.run('runs ls --tag try=1 --json -o ' .. dir)
    local list = cjson.decode(out)
    assert.are.same({ 0, 2, 'mine', 'quickstart' }, { code, #list, list[1].name, list[2].name })
    assert.are.same({ study = 'lr', try = '1', more = 'x' }, list[1].tags)
    assert.is_truthy(cjson.decode(sys.read(list[1].dir .. '/env.json')).command)
    code, out = command.run('runs ls --tag try=1 --tag study=lr -o ' .. dir)
    assert.are.equal(0, code)
    assert.is_truthy(out:find('seconds +tags\nmine .* more=x study=lr try=1\n$'), out)
    assert.is_nil(out:find('quickstart', 1, true))
    _, out = command.run('runs show mine -o ' .. dir)
    assert.is_truthy(out:find('\ntags +more=x study=lr try=1\n'), out)
    _, out = command.run('runs ls --tag try=2 -o ' .. dir)
    assert.are.equal(1, select(2, out:gsub('\n', '')))
  end)

  it('is refused where they cannot be', function()
    for _, o in ipairs { { '--tag study', "--tag is 'study', expected KEY=VALUE" }, { '--name a/b', "'name' is 'a/b'" },
                         { '--name ..', "'name' is '..'" }, { 'name=/tmp/x', "no '/', no '.' at the front" } } do
      local code, _, err = command.run(small .. o[1] .. ' -o ' .. dir)
      assert.are.equal(2, code, err)
      assert.is_truthy(err:find(o[2], 1, true), err)
      assert.are.same({}, sys.list(dir))
    end
  end)
end)

describe('a run that goes on', function()
  local rundir = require 'datamux.rundir'
  local list = { { path = 'capture', value = true, default = true, from = 'default' },
                 { path = 'train.lr', value = 1e-3, from = 'command line', default = 5e-4 },
                 { path = 'labels', value = { 'a', 'b' }, from = 'recipe' } }

  local function difference(values) return { rundir.difference(values, list, { '^log%.' }) } end

  it('has the values that it was started with, of which an older version knew fewer', function()
    local values = { ['train.lr'] = 1e-3, labels = { 'a', 'b' }, ['log.every'] = 3 }
    assert.are.same({}, difference(values))
    values.capture = false
    assert.are.same({ 'capture', 'false', 'true', 'default' }, difference(values))
    values.capture, values.labels = true, { 'a' }
    assert.are.same({ 'labels', 'a', 'a,b', 'recipe' }, difference(values))
    values.labels, values['train.steps'] = { 'a', 'b' }, 7
    assert.are.same({ 'train.steps', '7', 'none' }, difference(values))
    values['train.steps'], values['train.lr'] = nil, nil                   -- an unknown key has its default
    assert.are.same({ 'train.lr', '0.0005', '0.001', 'command line' }, difference(values))
  end)

  it('is refused by a message whose fix works', function()
    assert.are.equal(75, (command.run(small .. 'train.steps=100000 --stop-after 1s -q -o ' .. dir)))
    local path = dir .. '/quickstart/latest/config.json'
    local values = cjson.decode(sys.read(path))
    values.capture, values['train.loss'] = nil, nil
    sys.write(path, cjson.encode(values))
    local line = small .. 'train.steps=100000 --stop-after 1s -q --resume -o ' .. dir
    local code, _, err = command.run(line .. ' capture=false')
    assert.are.equal(2, code)
    assert.is_truthy(err:find("'capture' is false, but run .- was started with true"), err)
    code, _, err = command.run(line .. ' ' .. err:match 'fix: ([^,]+),')
    assert.are.equal(75, code, err)
    code, _, err = command.run(small .. 'train.steps=none train.epochs=500 --stop-after 1s -q --resume -o ' .. dir)
    assert.are.equal(2, code)
    assert.is_truthy(err:find("E212", 1, true), err)
  end)
end)

describe('a run directory', function()
  it('says where and how the run was made', function()
    assert.are.equal(0, (command.run(small .. '-q -o ' .. dir)))
    local run = dir .. '/quickstart/latest'
    local env, s = cjson.decode(sys.read(run .. '/env.json')), status()
    for _, key in ipairs { 'host', 'kernel', 'device', 'threads', 'version', 'luajit', 'folder', 'command' } do
      assert.is_truthy(env[key], key)
    end
    if sys.kind '.git' then assert.is_truthy(env.git.commit:find '^%x+$') end
    assert.are.same({ 'finished', 12, 0 }, { s.state, s.step, s.code })
    assert.are.equal(sys.read 'recipes/quickstart.lua', sys.read(run .. '/recipe.lua'))
    assert.are.equal(1, #sys.list(run .. '/tb'))
  end)
end)
