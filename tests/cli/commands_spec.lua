-- commands_spec.lua -- the commands that look and check: help, man, completion, check, new, data, tokenize, doctor.
local cjson = require 'cjson'
local sys = require 'datamux.sys'
local commands = require 'datamux.commands'
local command = require 'tests.cli.command'

local function has(text, ...)
  for _, part in ipairs { ... } do
    assert.is_truthy(text:find(part, 1, true), ('expected "%s" in: %s'):format(part, text))
  end
end

-- The words that the Tab key offers after `datamux LINE`, between blanks.
local function offered(line)
  return ' ' .. table.concat(require('datamux.commands.complete').words('datamux ' .. line), ' ') .. ' '
end

describe('the one specification', function()
  it('gives every command a name, a summary, a parser, and a way to run', function()
    assert.is_true(#commands.names() >= 9)
    for _, name in ipairs(commands.names()) do
      local c = commands.get(name)
      assert.are.equal(name, c.name)
      assert.is_true(#c.summary > 10 and #c.summary < 90 and not c.summary:find '%.$', name)
      assert.are.same({ 'function', 'function' }, { type(c.configure), type(c.run) })
    end
  end)

  it('is what --help, the man page and the completions say', function()
    local _, help = command.run '--help'
    local _, man = command.run 'help --man'
    for _, name in ipairs(commands.names()) do
      for _, text in ipairs { help, man, offered '' } do has(text, name) end
    end
    local p = commands.parser()
    local n = 0
    for _, c in ipairs(p._commands) do
      local tab = offered(c._name .. ' -')
      for _, e in ipairs(c._options) do
        local long = e._aliases[#e._aliases]
        has(man, (long:gsub('%-', '\\-')))
        has(tab, ' ' .. long .. ' ')
        n = n + 1
      end
    end
    assert.is_true(n > 30)
  end)

  it('offers with the Tab key what may stand there', function()
    for line, want in pairs {
      ['exp'] = ' explain ', ['run --sw'] = ' --sweep ', ['run x.lua train.ep'] = ' train.epochs= train.eps= ',
      ['x.lua mux.kind=ha'] = ' mux.kind=hadamard ', ['x.lua mux.learn='] = ' mux.learn=false mux.learn=true ',
      ['predict x --out j'] = ' jsonl ', ['predict x --in=t'] = ' --in=text --in=tsv ', ['-d '] = ' auto cpu cuda ',
      ['bench x -'] = ' --vs ', ['report pap'] = ' paper ', ['explain E80'] = ' E801 ', ['help ke'] = ' keys ',
      ['help keys train.lo'] = ' train.loss ', ['completion '] = ' bash fish zsh ', ['data get ss'] = ' sst2 ',
      ['runs r'] = ' rm ', ['predict x --ou'] = ' --out --output ', ['recipes/quick'] = ' recipes/quickstart.lua ',
      ['-q run recipes/quick'] = ' recipes/quickstart.lua ', ['predict x --text '] = ' ',
    } do has(offered(line), want) end
  end)

  it('offers the runs that are there', function()
    local dir = command.scratch()
    sys.mkdir(dir .. '/mine/20260101-000000-abcd')
    sys.write(dir .. '/mine/20260101-000000-abcd/.datamux-run', '')
    for _, line in ipairs { 'runs show m', 'plot m', 'predict m' } do
      local _, out = command.run(("completion bash --line 'datamux %s'"):format(line), { env = 'DATAMUX_RUNS=' .. dir })
      assert.are.equal('mine\n', out)
    end
    sys.remove(dir)
  end)

  local function has_shell(name) return os.execute('command -v ' .. name .. ' > /dev/null') == 0 end

  it('has a script that bash takes', function()
    assert.are.equal(0, (command.shell '$DM completion bash | bash -n'))
    local code, out = command.shell([[
      source <($DM completion bash)
      try() { COMP_LINE="datamux $1" COMP_POINT=$((8 + ${#1})); _datamux "$DM"; echo "${COMPREPLY[@]}"; }
      try exp; try 'run x.lua mux.kind=had'; try 'no such thing'
      HOME=$(dirname $DM) DM='~/datamux'; try exp]])
    assert.are.same({ 0, 'explain\nhadamard\n\nexplain\n' }, { code, out })
  end)

  it('has a script that fish takes, and files where nothing is known', function()
    if not has_shell 'fish' then return pending 'fish is not installed' end
    local code, out = command.shell [[
      export PATH=$(dirname $DM):$PATH HOME=$(mktemp -d) DM
      export XDG_CONFIG_HOME=$HOME XDG_DATA_HOME=$HOME
      fish -c 'eval $DM completion fish | source
        for line in exp "run x.lua mux.kind=had" "predict x --in=t" "completion " "predict x READ" "x.lua task.dev=READ"
          complete -C "datamux $line"
        end
        complete -C "A=1 datamux exp"; complete -C "nothere/datamux READ"'
      rm -r $HOME]]
    assert.are.same({ 0, 'explain mux.kind=hadamard --in=text --in=tsv bash fish zsh README.md task.dev=README.md '
      .. 'explain README.md ' }, { code, (out:gsub('\n', ' ')) })
  end)

  -- What follows "see" must stand on the terminal after "line" and the Tab key.
  it('has a script that zsh takes, sourced and from its folder, and files where nothing is known', function()
    for _, name in ipairs { 'zsh', 'expect' } do
      if not has_shell(name) then return pending(name .. ' is not installed') end
    end
    local code, out = command.shell [[
      export PATH=$(dirname $DM):$PATH HOME=$(mktemp -d) TERM=dumb COLUMNS=200
      $DM completion zsh > $HOME/_datamux
      cat > $HOME/t.exp << 'END'
        set timeout 20
        proc see what {
          expect {
            -ex $what { return }
            timeout { puts "not seen: $what"; exit 1 }
            eof { puts "ended before: $what"; exit 1 }
          }
        }
        proc tab {line what} { send "$line\t"; see $what; send "\025" }
        foreach load {{compinit -D; source $HOME/_datamux} {fpath=($HOME $fpath); compinit -u -D}} {
          spawn zsh -f
          send "PS1='> '; autoload -Uz compinit; $load; print rea''dy\r"
          see ready
          tab "datamux exp" "datamux explain "
          tab "datamux recipes/quick" "recipes/quickstart.lua "
          tab "datamux x.lua mux.kind=had" "mux.kind=hadamard "
          tab "datamux predict x --in=" "--in=tsv"
          tab "datamux predict x READ" "README.md "
          tab "datamux x.lua task.dev=READ" "task.dev=README.md "
          send "exit\r"
          expect eof
          wait
        }
END
      expect $HOME/t.exp; status=$?
      rm -r $HOME; exit $status]]
    assert.are.equal(0, code, out)
  end)

  it('has a man page without complaints', function()
    if os.execute 'command -v groff > /dev/null' ~= 0 then return pending 'needs groff' end
    local code, out = command.shell '$DM help --man | groff -man -ww -z -Tascii 2>&1'
    assert.are.same({ 0, '' }, { code, out })
  end)

  it('gives help to each command on stdout', function()
    for _, name in ipairs(commands.names()) do
      local code, out, err = command.run('help ' .. name)
      assert.are.same({ 0, '' }, { code, err })
      has(out, 'datamux ' .. name)
      code, out = command.run(name .. ' --help')
      assert.are.equal(0, code)
      has(out, 'datamux ' .. name)
    end
  end)

  it('lists the keys of recipes', function()
    local code, out = command.run 'help keys mux --json'
    assert.are.equal(0, code)
    local list = cjson.decode(out)
    assert.are.equal('mux.n', list[1].key)
    for _, e in ipairs(list) do assert.is_true(e.meaning ~= nil and e.takes ~= nil and e.key:find '^mux%.' ~= nil) end
  end)
end)

describe('options of several commands', function()
  it('are offered and taken by those that heed them', function()
    for _, line in ipairs { 'predict x -n', 'data add x y -n', 'model quantize x -n', 'new x -n', 'plot x -n',
                            'runs ls -n', 'predict x -o y', 'data ls -d cpu', 'new x --json', 'tokenize x --seed 1' } do
      local code, out, err = command.run(line)
      assert.are.same({ 2, '' }, { code, out }, line)
      has(err, "unknown option '-", '\n  fix: datamux ', ' --help\n')
    end
    local _, help = command.run 'predict --help'
    has(help, '\n  -d, --device DEVICE ', '\n  -O, --output FILE ', '\n  --json ')
    assert.is_nil(help:find('--dry-run', 1, true))
  end)

  it('stand before or after the command', function()
    for _, line in ipairs { '--json explain E203', 'explain --json E203', 'explain E203 --json' } do
      local code, out = command.run(line)
      assert.are.equal(0, code)
      assert.are.equal('E203', cjson.decode(out).number)
    end
    local _, out = command.run '--seed 9 recipes/quickstart.lua -n'
    assert.is_truthy(out:find 'seed +9 +command line')
    _, out = command.run 'train.lr=7 recipes/quickstart.lua -n'
    assert.is_truthy(out:find 'train%.lr +7 +command line')
  end)

  it('colour errors where asked', function()
    local _, _, err = command.run '--color always explain E999'
    has(err, '\27[1;31merror[E200]')
    _, _, err = command.run 'explain E999'
    assert.is_nil(err:find '\27')
  end)

  it('show a stack trace with --debug only', function()
    local _, _, err = command.run 'recipes/quickstart.lua zzz=1 -n --debug'
    has(err, 'stack traceback')
  end)
end)

describe('datamux check', function()
  it('says what is in the data, trains one step, and leaves nothing', function()
    local dir = command.scratch()
    local code, out, err = command.run('check recipes/quickstart.lua --json', { env = 'DATAMUX_RUNS=' .. dir })
    assert.are.equal(0, code, err)
    local r = cjson.decode(out)
    assert.are.same({ 12000, 800, 0 }, { r.train.texts, r.dev.texts, r.dev.shared })
    assert.are.equal(12000, r.train.labels.negative + r.train.labels.positive)
    assert.are.equal('warmup', r.stages[1].name)
    assert.is_true(r.stages[1].loss > 4 and r.peak > 1e6)
    assert.are.same({}, sys.list(dir))
    sys.remove(dir)
  end)

  it('tells of texts that are cut off, repeated, or in both splits', function()
    local dir = command.scratch()
    local rows = { 'sentence\tlabel' }
    for i = 1, 40 do rows[#rows + 1] = ('word%d a b c d e f\t%s'):format(i % 30, i % 2 == 0 and 'x' or 'y') end
    sys.write(dir .. '/t.tsv', table.concat(rows, '\n') .. '\n')
    sys.write(dir .. '/d.tsv', 'sentence\tlabel\nword1 a b c d e f\ty\nnew one\tx\n')
    sys.write(dir .. '/r.lua', [[return { task = { type = 'classify', train = 't.tsv', dev = 'd.tsv' }, mux = { n = 2 },
      model = { layers = 1, width = 16, heads = 2 }, data = { length = 5 }, train = { epochs = 1, rows = 2 } }]])
    local code, out, err = command.run('check ' .. dir .. '/r.lua')
    assert.are.equal(0, code, err)
    has(out, '10 repeated', '1 also in train', 'x 50.0 %, y 50.0 %', '40 cut off at 5', 'raise data.length', 'ready')
    sys.remove(dir)
  end)

  it('misses labels in train that somebody named, and none that only follow from others', function()
    local dir = command.scratch()
    for _, name in ipairs { 'train', 'dev' } do
      sys.write(('%s/%s.conll'):format(dir, name), ('Anna B-PER\nleft O\n\n'):rep(4))
    end
    local function check(labels)
      sys.write(dir .. '/r.lua', ([[return { task = { type = 'tag', train = 'train.conll', dev = 'dev.conll'%s },
        mux = { n = 2 }, model = { layers = 1, width = 16, heads = 2 }, data = { length = 5 },
        warmup = { steps = 0 }, train = { epochs = 1, rows = 2 } }]]):format(labels))
      local code, out, err = command.run('check ' .. dir .. '/r.lua')
      assert.are.equal(0, code, err)
      has(out, 'O 50.0 %, B-PER 50.0 %')
      return out
    end
    assert.is_nil(check(''):find('no train text has', 1, true))
    has(check ", labels = { 'O', 'B-PER', 'I-PER' }", "no train text has the label 'I-PER'")
    sys.remove(dir)
  end)
end)

describe('datamux new', function()
  it('writes a project whose own tests pass', function()
    local dir = command.scratch()
    local code, out = command.run('new ' .. dir .. '/mine')
    assert.are.equal(0, code)
    has(out, 'recipes/mine.lua', 'tests/mine_spec.lua', '.busted', '.luacheckrc')
    code, out = command.shell(('cd %s/mine && busted --lua=$DM -o plainTerminal tests'):format(dir))
    assert.are.equal(0, code, out)
    has(out, '2 successes / 0 failures / 0 errors')
    sys.remove(dir)
  end)
end)

describe('datamux data', function()
  it('shows the built-in sentences and their figures', function()
    local code, out = command.run 'data head synthetic dev -k 3'
    assert.are.equal(0, code)
    assert.are.equal(3, select(2, out:gsub('\n', '')))
    assert.is_truthy(out:find '^%l+\t')
    code, out = command.run 'data stats synthetic --json'
    assert.are.equal(0, code)
    local list = cjson.decode(out)
    assert.are.same({ 2, 12000, 0 }, { #list, list[1].n, list[2].in_train })
  end)

  it('adds files without a checksum where they can be read as that task, over others only when told', function()
    local dir = command.scratch()
    local file, env = dir .. '/train.tsv', { env = ('DATAMUX_DATA= DATAMUX_CACHE=%s/cache'):format(dir) }
    local function add(text, more)
      sys.write(file, text)
      return command.run(('data add mrpc %s %s'):format(file, more or ''), env)
    end
    local code, out, err = add 'sentence\tlabel\nfine\t1\n'
    assert.are.same({ 3, '' }, { code, out })
    has(err, 'E302', "no column '#1 String'", 'read as train.tsv of mrpc')
    local text = 'Quality\t#1 String\t#2 String\n1\ta fine film\ta good film\n'
    assert.are.equal(0, (add(text)))
    assert.are.equal(0, (add(text)))
    code, out, err = add(text .. '0\tb\tc\n')
    assert.are.same({ 2, '' }, { code, out })
    has(err, 'E218', 'is there already, and differs', 'fix: --replace')
    assert.are.equal(0, (add(text .. '0\tb\tc\n', '--replace')))
    assert.are.equal(sys.read(file), sys.read(dir .. '/cache/datasets/MRPC/train.tsv'))
    sys.write(dir .. '/eng.testa', 'Anna B-PER\nleft O\n\n')
    code, out = command.run(('data add conll2003 %s/eng.testa'):format(dir), env)
    assert.are.equal(0, code)
    has(out, 'CoNLL-2003/eng.testa')
    code, out = command.run('data ls', env)
    assert.are.equal(0, code)
    assert.is_truthy(out:find 'conll2003 +CoNLL%-2003 +1 of 3')
    sys.remove(dir)
  end)

  it('adds files whose checksum is right, and refuses others', function()
    local data = os.getenv 'DATAMUX_DATA'
    if not data then return pending 'needs SST-2 under DATAMUX_DATA' end
    local dir = command.scratch()
    local env = { env = ('DATAMUX_DATA= DATAMUX_CACHE=%s/cache'):format(dir) }
    local code, out, err = command.run(('data add sst2 %s/SST-2/dev.tsv'):format(data), env)
    assert.are.equal(0, code, err)
    assert.are.equal('file', sys.kind(out:match '[^\n]+'))
    sys.write(dir .. '/train.tsv', 'sentence\tlabel\na\t1\n')
    code, out, err = command.run(('data add sst2 %s/train.tsv'):format(dir), env)
    assert.are.equal('', out)
    assert.are.equal(3, code)
    has(err, 'E308')
    sys.write(dir .. '/cache/datasets/SST-2/dev.tsv', 'sentence\tlabel\na\t1\n')
    code, out, err = command.run('data verify sst2', env)
    assert.are.equal(3, code)
    has(out, 'differs')
    has(err, 'E308')
    sys.remove(dir)
  end)
end)

describe('datamux tokenize', function()
  it('gives ids and pieces, and compares with ids from elsewhere', function()
    local dir = command.scratch()
    local code, out = command.run('tokenize recipes/quickstart.lua', { input = 'the soup was good\nsoup zzz\n' })
    assert.are.equal(0, code)
    assert.is_truthy(out:find '^2 %d+ %d+ %d+')
    sys.write(dir .. '/ids', (out:gsub(' ', ', ')))
    local line = 'tokenize recipes/quickstart.lua - --against ' .. dir .. '/ids'
    code, out = command.run(line, { input = 'the soup was good\nsoup zzz\n' })
    assert.are.same({ 0, '2 lines, the same ids in each\n' }, { code, out })
    local err
    code, out, err = command.run(line, { input = 'the soup was good\nsoup the\n' })
    assert.are.equal(3, code)
    has(out, 'line 2: soup the')
    has(err, 'E311')
    code, out = command.run('tokenize recipes/quickstart.lua --pieces', { input = 'the soup\n' })
    assert.are.equal(0, code)
    assert.are.equal('<s> the soup\n', out)
    sys.remove(dir)
  end)
end)

describe('datamux doctor', function()
  it('says what is here, and in one line whether all is ready', function()
    local code, out = command.run('doctor', { env = 'DATAMUX_DATA=' })
    assert.are.equal(0, code)
    has(out, 'datamux 0.', 'memory', 'cpu: linked in', 'network')
    code, out = command.run('doctor --device cpu', { env = 'DATAMUX_THREADS=1' })
    assert.are.equal(0, code)
    has(out, '1 thread used', 'cpu (1 thread, ')
    code, out = command.run('doctor --device cpu -j 3', { env = 'DATAMUX_THREADS=1' })
    assert.are.equal(0, code)
    has(out, '3 threads used', 'cpu (3 threads, ')
    code, out = command.run('doctor --json', { env = 'DATAMUX_DATA=/nowhere' })
    assert.are.equal(0, code)
    has(table.concat(cjson.decode(out).problems, '|'), 'DATAMUX_DATA is /nowhere')
  end)

  it('ends with one line: that it is ready, or what to mend first and how', function()
    local function last(args, env)
      local code, out = command.run('doctor ' .. args, { env = env })
      assert.are.equal(0, code)
      return out:match '([^\n]*)\n$', out
    end
    has(last('-d cpu', '-u DATAMUX_DATA'), 'ready: cpu (')
    local line, all = last('-d cuda', 'DATAMUX_BACKENDS=/nowhere DATAMUX_DATA=/nowhere')
    has(line, 'first: ', 'cuda', '; fix: -d cpu')
    has(all, 'also: DATAMUX_DATA is /nowhere, which is no folder; fix: unset DATAMUX_DATA')
    has(last('-d cpu', 'DATAMUX_CACHE=/proc/nothing DATAMUX_DATA=/nowhere'), 'first: /proc/nothing cannot be written')
  end)
end)

describe('a variable of the environment that means nothing', function()
  it('is named with the nearest that does, before commands, scripts and code from a pipe', function()
    for _, args in ipairs { 'recipes/quickstart.lua -n', '', 'explain' } do
      local code, _, err = command.run(args, { env = 'DATAMUX_THREAD=2', input = 'local x = 1' })
      assert.are.equal(0, code)
      has(err, "notice: the environment variable DATAMUX_THREAD means nothing here. Did you mean 'DATAMUX_THREADS'?")
    end
  end)
end)

describe('speed of the command', function()
  -- Time of the processor, which a busy machine does not lengthen as it does the wall clock; the least of five starts.
  it('is at most 60 ms for --help and -n', function()
    for _, line in ipairs { '--help', 'recipes/quickstart.lua -n' } do
      local starts = "TIMEFORMAT='%%U %%S'; for i in 1 2 3 4 5; do time $DM %s > /dev/null; done"
      local _, out = command.shell(starts:format(line))
      local best, n = math.huge, 0
      for user, system in out:gmatch '([%d.]+) ([%d.]+)' do
        best, n = math.min(best, user + system), n + 1
      end
      assert.are.equal(5, n, out)
      assert.is_true(best <= 0.06, ('%s took %.0f ms'):format(line, 1000 * best))
    end
  end)
end)
