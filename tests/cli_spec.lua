-- cli_spec.lua -- the command as a process: streams, exit codes, messages, overrides, runs.
local host = require 'datamux.host'
local sys = require 'datamux.sys'
local cjson = require 'cjson'

local exe = host.exe()
local counter = 0

local function scratch()
  counter = counter + 1
  local dir = ('%s/datamux-spec-%d-%d'):format(os.getenv 'TMPDIR' or '/tmp', sys.pid(), counter)
  sys.mkdir(dir)
  return dir
end

-- Runs a command line with the interpreter under test; returns exit code, stdout, stderr.
local function run(args, o)
  o = o or {}
  local dir = scratch()
  local input = ' < /dev/null'
  if o.input then
    sys.write(dir .. '/in', o.input)
    input = ' < ' .. dir .. '/in'
  end
  local line = ('XDG_CONFIG_HOME=/nowhere %s %s %s > %s/out 2> %s/err%s; echo $? > %s/code'):format(o.env or '', exe,
    args, dir, dir, input, dir)
  os.execute(line)
  local code, out, err = tonumber(sys.read(dir .. '/code')), sys.read(dir .. '/out'), sys.read(dir .. '/err')
  sys.remove(dir)
  return code, out, err
end

local function contains(text, part)
  assert.is_truthy(text:find(part, 1, true), ('expected "%s" in: %s'):format(part, text))
end

local function refused(code, part, args, o)
  local got, out, err = run(args, o)
  contains(err, part)
  assert.are.equal(code, got, err)
  assert.are.equal('', out)
  assert.is_nil(err:find('stack traceback', 1, true))
end

describe('datamux', function()
  it('prints help and version on stdout', function()
    local code, out, err = run '--help'
    assert.are.same({ 0, '' }, { code, err })
    contains(out, 'RECIPE.lua')
    for _, line in ipairs { '--version', '-V' } do
      code, out = run(line)
      assert.are.equal(0, code)
      contains(out, 'datamux 0.1.0')
    end
    code, out = run '--devices'
    assert.are.equal(0, code)
    contains(out, 'cpu: linked in')
  end)

  it('runs code and scripts, with their arguments', function()
    local code, out = run '-e "print(6 * 7)"'
    assert.are.same({ 0, '42\n' }, { code, out })
    code, out = run '-e "6 * 7, 1"'
    assert.are.same({ 0, '42\t1\n' }, { code, out })
    local dir = scratch()
    sys.write(dir .. '/s.lua', 'print(arg[1], ...)')
    code, out = run(dir .. '/s.lua a b')
    assert.are.same({ 0, 'a\ta\tb\n' }, { code, out })
    code, out = run('', { input = 'print "piped"' })
    assert.are.same({ 0, 'piped\n' }, { code, out })
    sys.remove(dir)
  end)

  it('has the library as the global dm, but for plain scripts, which find nothing loaded', function()
    local dir, code = scratch(), 'print(dm.zeros(3):shape()[1], dm == require "datamux")'
    sys.write(dir .. '/x.lua', code)
    for _, args in ipairs { ("-e '%s'"):format(code), '-', '', dir .. '/x.lua' } do
      assert.are.same({ 0, '3\ttrue\n', '' }, { run(args, { input = code }) })
    end
    sys.write(dir .. '/x', 'print(dm, package.loaded.datamux)')           -- as busted is run
    assert.are.same({ 0, 'nil\tnil\n', '' }, { run(dir .. '/x') })
    for _, o in ipairs { { "-e 'dm.zeros(2, nil + 1)'" }, { '', 'dm.nothing()' }, { '-', 'dm.nothing()' } } do
      local failed, out, err = run(o[1], { input = o[2] })
      assert.are.same({ 1, '' }, { failed, out })
      assert.is_truthy(err:find '^[^\n]+\n' and not err:find 'traceback', err)
    end
    sys.remove(dir)
  end)

  it('fails with 1 when code fails', function()
    local code, _, err = run '-e "error(\'mine\')"'
    assert.are.equal(1, code)
    contains(err, 'mine')
    code, _, err = run '-e "1 +"'
    assert.are.equal(1, code)
    contains(err, "unexpected symbol near '1'")
  end)

  it('refuses unknown keys with the nearest known one', function()
    refused(2, 'did you mean: train.lr?', 'recipes/quickstart.lua trian.lr=1')
    refused(2, "key 'lr' could be warmup.lr, train.lr", 'recipes/quickstart.lua lr=1')
    refused(2, "unknown key 'zzz'", 'recipes/quickstart.lua zzz=1')
  end)

  it('refuses values of the wrong type or range', function()
    refused(2, "'train.epochs' is 'ten', expected a number", 'recipes/quickstart.lua epochs=ten')
    refused(2, "'mux.n' is 2.5, expected a whole number", 'recipes/quickstart.lua mux.n=2.5')
    refused(2, "'mux.n' is 0", 'recipes/quickstart.lua mux.n=0')
    refused(2, '--sweep model.heads=2e-5,5e-5', 'recipes/quickstart.lua heads=2e-5,5e-5')
    refused(2, 'model.heads is 3, expected a divisor', 'recipes/quickstart.lua heads=3')
    refused(2, 'expected one of cls, first, pool, mean, token', 'recipes/quickstart.lua read=all')
    refused(2, 'one update takes 25000 texts', 'recipes/quickstart.lua train.rows=5000')
  end)

  it('refuses a recipe that is not there, not Lua, or not a recipe', function()
    refused(2, 'did you mean: recipes/quickstart.lua?', 'recipes/quikstart.lua')
    refused(2, 'did you mean: run?', 'rnu')
    local dir = scratch()
    sys.write(dir .. '/bad.lua', 'return {')
    refused(2, 'bad.lua:1: unexpected symbol', dir .. '/bad.lua')
    sys.write(dir .. '/number.lua', 'return 3')
    refused(2, 'returned number', dir .. '/number.lua')
    sys.write(dir .. '/typo.lua', 'return {\n  task = "synthetic",\n  train = { epocs = 3 },\n}')
    refused(2, 'typo.lua:3', dir .. '/typo.lua')
    sys.remove(dir)
  end)

  it('refuses missing data with where it looked: exit code 8 where a download might help', function()
    refused(8, 'looked in: /nowhere/SST-2/train.tsv', 'recipes/sst2_n20.lua',
      { env = 'DATAMUX_DATA=/nowhere DATAMUX_CACHE=/nowhere DATAMUX_OFFLINE=1' })
  end)

  it('says that the small profile was taken, and what the other would take', function()
    local dir = scratch()
    sys.write(dir .. '/two.lua', [[return require('datamux').recipe { task = 'synthetic', mux = { n = 2 }, profiles = {
      small = { model = { layers = 1, width = 16, heads = 2 }, train = { steps = 1, rows = 2 } },
      paper = { model = { layers = 12, width = 768, heads = 12 }, train = { epochs = 10, rows = 8 } } } }]])
    local code, _, err = run(dir .. '/two.lua eval.groupings=1 -o ' .. dir)
    assert.are.equal(0, code, err)
    contains(err, 'small (1 x 16): no GPU is used. profile=paper (12 x 768) would take about')
    code, _, err = run(dir .. '/two.lua profile=small eval.groupings=1 -o ' .. dir)
    assert.are.equal(0, code, err)
    assert.is_nil(err:find('would take', 1, true))
    sys.remove(dir)
  end)

  it('refuses a device that is not there', function()
    refused(4, 'cuda cannot be used', 'recipes/quickstart.lua -d cuda', { env = 'DATAMUX_BACKENDS=/nowhere' })
  end)

  it('opens no device and no backend for a dry run, and says nothing of CUDA where there is no driver', function()
    local dir = scratch()
    sys.write(dir .. '/two.lua', [[
      local dm = require 'datamux'
      return dm.recipe { task = 'synthetic', mux = { n = 2 },
        profiles = { small = { model = { width = 16 } }, paper = { model = { width = 768 } } } }
    ]])
    sys.write(dir .. '/look.lua', ([[
      local cli = require 'datamux.cli'
      assert(cli.main { '-n', '%s/two.lua' } == 0)
      for line in io.lines '/proc/self/maps' do
        assert(not line:find 'libdatamux_cuda' and not line:find 'libcuda%%.', line)
      end
    ]]):format(dir))
    local backends = dir .. '/backends'
    sys.mkdir(backends)
    local function width(env) return select(2, run(dir .. '/look.lua', { env = env })):match 'model%.width%s+(%d+)' end
    assert.are.equal('16', width('DATAMUX_DEVICE=auto DATAMUX_BACKENDS=' .. backends))
    sys.write(backends .. '/libdatamux_cuda.so', 'not opened')
    assert.are.equal('768', width('DATAMUX_DEVICE=auto DATAMUX_BACKENDS=' .. backends))
    assert.are.equal('16', width('DATAMUX_DEVICE=cpu DATAMUX_BACKENDS=' .. backends))
    sys.remove(dir)
    if pcall(require('ffi').load, 'libcuda.so.1') then return end
    local _, devices = run('--devices', { env = 'DATAMUX_BACKENDS=' })
    contains(devices, 'no NVIDIA driver is installed: libcuda.so.1')
    local _, said = run([[-e "local s = require 'datamux.scope'; print(s.about(), s.refusal())"]],
      { env = 'DATAMUX_DEVICE=auto DATAMUX_BACKENDS=' })
    assert.is_truthy(said:find '^cpu .*nil')
  end)

  it('prints every value with its origin on a dry run', function()
    local code, out = run 'recipes/quickstart.lua -n mux.n=3 --seed 7'
    assert.are.equal(0, code)
    assert.is_truthy(out:find 'mux%.n%s+3%s+command line')
    assert.is_truthy(out:find 'seed%s+7%s+command line')
    assert.is_truthy(out:find 'model%.width%s+128%s+recipe')
    assert.is_truthy(out:find 'model%.inner%s+512%s+derived')
    assert.is_truthy(out:find 'train%.decay%s+0%.01%s+default')
  end)
end)

describe('a run', function()
  local small = 'recipes/quickstart.lua warmup.steps=12 warmup.every=6 train.steps=12 train.every=6 eval.groupings=2 '

  it('reports on stdout, progresses on stderr, and leaves a complete folder', function()
    local dir = scratch()
    local code, out, err = run(small .. '-o ' .. dir)
    assert.are.equal(0, code, err)
    contains(out, 'scored 800/800')
    contains(err, 'step 1/12')
    assert.is_nil(err:find '[\r\27]')
    local run_dir = dir .. '/quickstart/latest'
    for _, f in ipairs { '.datamux-run', 'recipe.lua', 'config.json', 'env.json', 'metrics.jsonl', 'log.txt',
                         'report.txt', 'report.md', 'report.json', 'checkpoints/last/model.safetensors',
                         'checkpoints/best/state.json' } do
      assert.are.equal('file', sys.kind(run_dir .. '/' .. f), f)
    end
    assert.are.equal('finished', cjson.decode(sys.read(run_dir .. '/status.json')).state)
    local kinds = {}
    for line in sys.read(run_dir .. '/metrics.jsonl'):gmatch '[^\n]+' do kinds[cjson.decode(line).kind] = true end
    assert.is_true(kinds.train and kinds.eval and kinds.event)
    sys.remove(dir)
  end)

  it('leaves out the final scores with --no-eval, and is a model all the same', function()
    local dir = scratch()
    local code, out, err = run(small .. '--no-eval -q -o ' .. dir)
    assert.are.equal(0, code, err)
    contains(out, 'not scored (--no-eval)')
    assert.is_nil(out:find('scored 800', 1, true))
    local r = cjson.decode(sys.read(dir .. '/quickstart/latest/report.json'))
    assert.are.same({ true, nil }, { r.no_eval, r.value })
    assert.are.same({}, require('datamux.finished').all(dir, {}))         -- nothing to put into a table
    code, out, err = run('eval ' .. dir .. '/quickstart/latest --mates 1')
    assert.are.equal(0, code, err)
    contains(out, 'scored 800/800')
    sys.remove(dir)
  end)

  it('continues after kill -9 to the same bits', function()
    local dir = scratch()
    local whole = small:gsub('=12', '=60'):gsub('=6 ', '=20 ') .. '-q save.every=1 -o '
    assert.are.equal(0, (run(whole .. dir .. '/a')))
    os.execute(('%s %s %s/b > /dev/null 2>&1 & pid=$!; for i in $(seq 200); do sleep 0.05; '
      .. 'ls %s/b/quickstart/latest/checkpoints/last/state.json > /dev/null 2>&1 && break; done; '
      .. 'kill -9 $pid; wait $pid 2> /dev/null')
      :format(exe, whole, dir, dir))
    local code, _, err = run(whole .. dir .. '/b --resume')
    assert.are.equal(0, code, err)
    local function last(k)
      return sys.sha256_file(('%s/%s/quickstart/latest/checkpoints/last/model.safetensors'):format(dir, k))
    end
    assert.is_truthy(last 'a')
    assert.are.equal(last 'a', last 'b')
    sys.remove(dir)
  end)

  it('passes over a broken checkpoint, and refuses when none is left', function()
    local dir = scratch()
    assert.are.equal(0, (run(small .. '-q -o ' .. dir)))
    local run_dir = dir .. '/quickstart/latest'
    sys.write(run_dir .. '/status.json', '{"state":"stopped"}')
    local names = sys.list(run_dir .. '/checkpoints')
    local broken = names[#names]
    sys.write(('%s/checkpoints/%s/model.safetensors'):format(run_dir, broken), 'x')
    local code, _, err = run(small .. '-o ' .. dir .. ' --resume')
    assert.are.equal(0, code, err)
    contains(err, 'is broken')
    for _, name in ipairs(sys.list(run_dir .. '/checkpoints')) do
      if name:find '^step' then sys.write(('%s/checkpoints/%s/model.safetensors'):format(run_dir, name), 'x') end
    end
    sys.write(run_dir .. '/status.json', '{"state":"stopped"}')
    refused(7, 'no usable checkpoint', small .. '-q -o ' .. dir .. ' --resume')
    sys.remove(dir)
  end)

  it('stops at the next step on Ctrl-C, saves, and says how to continue', function()
    local dir = scratch()
    local line = small:gsub('train.steps=12', 'train.steps=100000') .. '-o ' .. dir
    os.execute(('%s %s > %s/out 2> %s/err & pid=$!; '
      .. 'for i in $(seq 200); do sleep 0.05; grep -q "train: " %s/err && break; done; '
      .. 'kill -INT $pid; wait $pid; echo $? > %s/code'):format(exe, line, dir, dir, dir, dir))
    assert.are.equal(75, tonumber(sys.read(dir .. '/code')))
    contains(sys.read(dir .. '/err'), '--resume')
    assert.are.equal('stopped', cjson.decode(sys.read(dir .. '/quickstart/latest/status.json')).state)
    assert.are.equal('file', sys.kind(dir .. '/quickstart/latest/checkpoints/last/model.safetensors'))
    sys.remove(dir)
  end)

  it('says so when the disk takes no more, and leaves nothing half-written', function()
    local dir = scratch()
    local line = ("trap '' XFSZ; ulimit -f 200; %s %s -q -o %s > %s/out 2> %s/err; echo $? > %s/code"):format(exe,
      small, dir, dir, dir, dir)
    os.execute(('bash -c "%s"'):format(line:gsub('%$', '\\$')))
    assert.are.equal(4, tonumber(sys.read(dir .. '/code')), sys.read(dir .. '/err'))
    contains(sys.read(dir .. '/err'), 'File too large')
    for _, name in ipairs(sys.list(dir .. '/quickstart/latest/checkpoints')) do
      assert.is_nil(name:find '^step', name)
    end
    assert.are.equal('failed', cjson.decode(sys.read(dir .. '/quickstart/latest/status.json')).state)
    sys.remove(dir)
  end)

  it('refuses to continue with other values', function()
    local dir = scratch()
    assert.are.equal(0, (run(small .. '-q -o ' .. dir)))
    sys.write(dir .. '/quickstart/latest/status.json', '{"state":"stopped"}')
    refused(2, "'mux.n' is 4", small .. 'mux.n=4 -q -o ' .. dir .. ' --resume')
    refused(2, 'no unfinished run', small .. '-q -o ' .. dir .. '/other --resume')
    sys.remove(dir)
  end)
end)
