-- mistakes_spec.lua -- sixty mistakes that people make: each is refused before any work, with exit code 2 to 8, its
-- number, a fix, and no stack trace.
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local dir
local Q = 'recipes/quickstart.lua '

-- Files that the mistakes below name as $D/...
local files = {
  ['bad.lua'] = 'return {',
  ['number.lua'] = 'return 3',
  ['nothing.lua'] = 'local x = 1',
  ['raises.lua'] = "local t = nil\nreturn require('datamux').recipe { task = t.name }",
  ['typo.lua'] = "return {\n  task = 'synthetic',\n  train = { epocs = 3 },\n}",
  ['group.lua'] = "return { task = 'synthetic', optimiser = { lr = 1 } }",
  ['type.lua'] = "return { task = 'synthetic', mux = { n = '20' } }",
  ['scalar.lua'] = "return { task = 'synthetic', train = 5 }",
  ['task.lua'] = "return { mux = { n = 2 } }",
  ['unknown.lua'] = "return { task = 'sst3' }",
  ['profile.lua'] = "return { task = 'synthetic', profiles = { large = {} } }",
  ['inprofile.lua'] = "return { task = 'synthetic', profiles = { small = { train = { lrr = 1 } } } }",
  ['missing.lua'] = "return { task = { type = 'classify', train = 'nowhere.tsv', dev = 'nowhere.tsv' } }",
  ['half.lua'] = "return { task = { type = 'classify', train = 'ok.tsv' } }",
  ['nocolumn.lua'] = "return { task = { type = 'classify', train = 'ok.tsv', dev = 'ok.tsv', text = 'review' } }",
  ['columns.lua'] = "return { task = { type = 'classify', train = 'columns.tsv', dev = 'ok.tsv' } }",
  ['onelabel.lua'] = "return { task = { type = 'classify', train = 'onelabel.tsv', dev = 'ok.tsv' } }",
  ['newlabel.lua'] = "return { task = { type = 'classify', train = 'ok.tsv', dev = 'newlabel.tsv' } }",
  ['latin.lua'] = "return { task = { type = 'classify', train = 'latin.tsv', dev = 'ok.tsv' } }",
  ['empty.lua'] = "return { task = { type = 'classify', train = 'empty.tsv', dev = 'ok.tsv' } }",
  ['header.lua'] = "return { task = { type = 'classify', train = 'header.tsv', dev = 'ok.tsv' } }",
  ['json.lua'] = "return { task = { type = 'classify', train = 'broken.jsonl', dev = 'broken.jsonl' } }",
  ['gz.lua'] = "return { task = { type = 'classify', train = 'cut.tsv', dev = 'ok.tsv' } }",
  ['number_label.lua'] = "return { task = { type = 'regress', train = 'ok.tsv', dev = 'ok.tsv' } }",
  ['format.lua'] = "return { task = { type = 'classify', train = 'ok.xyz', dev = 'ok.tsv' } }",
  ['config.lua'] = "return { train = { lrate = 1 } }",
  ['notable.lua'] = 'return 1',
  ['ok.tsv'] = 'sentence\tlabel\ngood film\tpos\nbad film\tneg\n',
  ['ok.xyz'] = 'sentence\tlabel\ngood film\tpos\nbad film\tneg\n',
  ['columns.tsv'] = 'sentence\tlabel\ngood film\tpos\nbad film\n',
  ['onelabel.tsv'] = 'sentence\tlabel\ngood film\tpos\nbad film\tpos\n',
  ['newlabel.tsv'] = 'sentence\tlabel\ngood film\tmaybe\n',
  ['latin.tsv'] = 'sentence\tlabel\ngood \233t\233\tpos\nbad film\tneg\n',
  ['empty.tsv'] = '',
  ['header.tsv'] = 'sentence\tlabel\n',
  ['broken.jsonl'] = '{"sentence": "a", "label": "x"}\n{"sentence": \n',
  ['cut.tsv'] = '\31\139\8\0\0\0\0\0\0\3\75',
  ['twice.txt'] = '[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n',
}

setup(function()
  dir = command.scratch()
  for name, text in pairs(files) do sys.write(dir .. '/' .. name, text) end
  sys.mkdir(dir .. '/there')
  sys.mkdir(dir .. '/vocab')
  sys.write(dir .. '/vocab/vocab.txt', files['twice.txt'])
end)

teardown(function() sys.remove(dir) end)

-- { number, arguments, part of the message, environment }
local mistakes = {
  -- words of the command line
  { 'E200', '--recipe', "unknown option '--recipe'" },
  { 'E200', Q .. '-N 20 -n', 'mux.n=VALUE' },
  { 'E200', Q .. '--learning_rate 1e-4 -n', 'train.lr=VALUE' },
  { 'E200', Q .. '--progress=fancy -n', "one of 'auto', 'bar'" },
  { 'E200', Q .. '-j two -n', 'two' },
  { 'E200', Q .. '-j 0 -n', 'whole number' },
  { 'E200', Q .. 'N -n', "unexpected argument 'N'" },
  { 'E200', Q .. '--device', '--device' },
  { 'E200', '-q', 'no recipe or command given' },
  { 'E200', 'run', 'no recipe given' },
  { 'E200', Q .. '--stop-after soon', 'expected a time' },
  { 'E209', 'trian', 'did you mean: run?' },
  { 'E209', 'chekc', 'did you mean: check?' },
  { 'E209', 'help nothing', "no help on 'nothing'" },
  { 'E200', 'explain E999', "no error 'E999'" },
  { 'E200', 'completion tcsh', "one of 'bash', 'zsh', 'fish'" },
  { 'E200', 'help keys trian', 'did you mean: train?' },
  -- recipes
  { 'E207', 'recipes/quikstart.lua', 'did you mean: recipes/quickstart.lua?' },
  { 'E208', '$D/bad.lua', 'bad.lua:1' },
  { 'E208', '$D/number.lua', 'returned number' },
  { 'E208', 'run $D/nothing.lua', 'returned nothing' },
  { 'E208', '$D/raises.lua', 'raises.lua:2' },
  { 'E201', '$D/typo.lua', 'typo.lua:3' },
  { 'E201', '$D/group.lua', "unknown key 'optimiser'" },
  { 'E202', '$D/type.lua', "'mux.n' is '20'" },
  { 'E202', '$D/scalar.lua', "'train' is 5, expected a table" },
  { 'E210', '$D/task.lua', "'task' is missing" },
  { 'E202', '$D/unknown.lua', 'did you mean: sst2?' },
  { 'E214', '$D/profile.lua', "unknown profile 'large'" },
  { 'E201', '$D/inprofile.lua', 'train.lrr' },
  -- key=value
  { 'E201', Q .. 'trian.lr=1 -n', 'fix: train.lr=1' },
  { 'E201', Q .. 'train.learning_rate=1 -n', "unknown key 'train.learning_rate'" },
  { 'E201', Q .. 'zzz=1 -n', 'datamux help keys' },
  { 'E206', Q .. 'lr=1e-3 -n', 'warmup.lr, train.lr' },
  { 'E202', Q .. 'train.epochs=ten -n', "'ten', expected a number" },
  { 'E202', Q .. 'mux.n=2.5 -n', 'expected a whole number' },
  { 'E202', Q .. 'mux.n=0 -n', "'mux.n' is 0" },
  { 'E202', Q .. 'dropout=1.5 -n', 'model.dropout' },
  { 'E202', Q .. 'mux.kind=hadamrad -n', 'did you mean: hadamard?' },
  { 'E202', Q .. 'mux.learn=maybe -n', 'true or false' },
  { 'E202', Q .. 'seed=none -n', "'seed' cannot be none" },
  { 'E202', Q .. 'seed=@$D/absent -n', 'absent' },
  { 'E213', Q .. 'train.lr=1e-3,2e-3 -n', '--sweep train.lr=1e-3,2e-3' },
  { 'E203', Q .. 'heads=3 -n', 'model.heads is 3' },
  { 'E203', Q .. 'data.length=600 -n', 'model.positions' },
  { 'E203', Q .. 'demux.kind=rsa demux.key=own -n', 'demux.key' },
  { 'E203', Q .. 'model.kind=plain -n', "'plain'" },
  { 'E216', Q .. 'train.rows=5000', 'expected' },
  { 'E202', Q .. '-n', 'DATAMUX_SET', 'DATAMUX_SET="train.epochs=x"' },
  { 'E201', Q .. '--config $D/config.lua -n', 'config.lua:1' },
  { 'E208', Q .. '--config $D/notable.lua -n', 'expected a table of keys' },
  { 'E201', Q .. '--sweep train.lrate=1,2', 'did you mean: train' },
  { 'E202', Q .. '--sweep train.lr=1,x', "'train.lr' is 'x'" },
  { 'E200', Q .. '--sweep train.lr=1,2 --resume', '--resume' },
  { 'E205', Q .. 'eval.metric=val_loss', 'val_loss' },
  -- data
  { 'E303', '$D/missing.lua', 'nowhere.tsv' },
  { 'E210', '$D/half.lua', "'task.dev' is missing" },
  { 'E302', '$D/nocolumn.lua', "no column 'review', columns are: sentence, label" },
  { 'E304', '$D/columns.lua', 'columns.tsv:3' },
  { 'E301', '$D/onelabel.lua', "every label is 'pos'" },
  { 'E301', '$D/newlabel.lua', 'newlabel.tsv:2' },
  { 'E305', '$D/latin.lua', 'latin.tsv:2' },
  { 'E306', '$D/empty.lua', 'empty.tsv' },
  { 'E306', '$D/header.lua', 'header.tsv' },
  { 'E304', '$D/json.lua', 'broken.jsonl:2' },
  { 'E307', '$D/gz.lua', 'cut.tsv' },
  { 'E305', '$D/number_label.lua', "'pos', expected a number" },
  { 'E202', '$D/format.lua', 'ok.xyz' },
  { 'E801', 'recipes/sst2_n20.lua', 'looked in: /nowhere/SST-2/train.tsv',
    'DATAMUX_DATA=/nowhere DATAMUX_CACHE=/nowhere DATAMUX_OFFLINE=1' },
  { 'E801', 'recipes/sst2_n20.lua', 'fix: datamux data get SST-2, or --download',
    'DATAMUX_DATA=/nowhere DATAMUX_CACHE=/nowhere' },
  { 'E801', 'data head sst2 --download --offline', 'not tried (DATAMUX_OFFLINE=1)',
    'DATAMUX_DATA=/nowhere DATAMUX_CACHE=/nowhere' },
  { 'E801', 'data get sst2 --offline', 'cannot be downloaded', 'DATAMUX_CACHE=/nowhere' },
  { 'E219', 'data get ss2', 'did you mean: sst2?' },
  { 'E200', 'data haed sst2', 'did you mean: head?' },
  { 'E200', 'data head sst2 trian', 'did you mean: train?' },
  { 'E303', 'data add sst2 $D/absent.tsv', 'absent.tsv' },
  { 'E303', 'data add sst2 $D/ok.tsv', "no file 'ok.tsv'" },
  { 'E303', 'tokenize nowhere', "no tokenizer 'nowhere'" },
  { 'E309', 'tokenize $D/vocab', "'a' is there twice" },
  -- runs, devices, places
  { 'E402', Q .. '-d cuda -n', 'cuda', 'DATAMUX_BACKENDS=/nowhere' },
  { 'E402', Q .. '-d gpu -n', 'gpu' },
  { 'E401', Q .. '-o /proc/nowhere warmup.steps=1 train.steps=1', '/proc/nowhere' },
  { 'E211', Q .. '--resume -o $D/there', 'no unfinished run of quickstart' },
  { 'E211', Q .. '--resume=20260101-000000-aaaa -o $D/there', '20260101-000000-aaaa' },
  { 'E217', 'runs show nothing -o $D/there', "no run 'nothing'" },
  { 'E218', 'new $D/there', 'is there already' },
  { 'E202', 'new $D/fresh --task sst3', 'did you mean: sst2?' },
}

describe('a mistake', function()
  it('is one of at least sixty', function() assert.is_true(#mistakes >= 60, #mistakes .. ' mistakes') end)

  for _, m in ipairs(mistakes) do
    local id, args, part, env = unpack(m)
    it(('%s: %s%s'):format(id, env and env .. ' ' or '', args), function()
      local code, out, err = command.run(args:gsub('%$D', dir), { env = env })
      local shown = ('exit %s\nstdout: %s\nstderr: %s'):format(tostring(code), out, err)
      assert.is_truthy(err:find(('^error%%[%s%%]: '):format(id)) or err:find(('\nerror%%[%s%%]: '):format(id)), shown)
      assert.are.equal(tonumber(id:sub(2, 2)), code, shown)
      assert.is_true(code >= 2 and code <= 8, shown)
      assert.is_truthy(err:find(part, 1, true), ('expected "%s": %s'):format(part, shown))
      assert.is_truthy(err:find '\n%s*fix: %S', shown)
      assert.is_nil(err:find('traceback', 1, true), shown)
      assert.are.equal('', out, shown)
      assert.is_true(select(2, err:gsub('\n', '')) <= 10, shown)
    end)
  end
end)
