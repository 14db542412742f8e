-- mistakes_spec.lua -- mistakes that people make, more than sixty: each is refused before any work, with exit code 2 to
-- 8, its number, a fix, and no stack trace. Where the fix can be typed, it is, and then the command ends with 0.
local small_run = require 'tests.small_run'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local dir, model
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
  ['nolabel.lua'] = "return { task = { type = 'classify', train = 'nolabel.tsv', dev = 'ok.tsv' } }",
  ['few.lua'] = "return { task = { type = 'classify', train = 'few.tsv', dev = 'ok.tsv' }, mux = { n = 10 }, "
    .. "model = { layers = 1, width = 32, heads = 2 }, warmup = { steps = 2, rows = 8 }, train = { rows = 8 } }",
  ['heads.lua'] = "return { task = 'synthetic', model = { width = 64, heads = 3 } }",
  ['ortho.lua'] = "return { task = 'synthetic', mux = { kind = 'ortho' } }",
  ['empty.lua'] = "return { task = { type = 'classify', train = 'empty.tsv', dev = 'ok.tsv' } }",
  ['header.lua'] = "return { task = { type = 'classify', train = 'header.tsv', dev = 'ok.tsv' } }",
  ['json.lua'] = "return { task = { type = 'classify', train = 'broken.jsonl', dev = 'broken.jsonl' } }",
  ['gz.lua'] = "return { task = { type = 'classify', train = 'cut.tsv', dev = 'ok.tsv' } }",
  ['number_label.lua'] = "return { task = { type = 'regress', train = 'ok.tsv', dev = 'ok.tsv' } }",
  ['format.lua'] = "return { task = { type = 'classify', train = 'ok.xyz', dev = 'ok.tsv' } }",
  ['half_pair.lua'] = "return { task = { type = 'classify', train = 'half_pair.tsv', dev = 'half_pair.tsv', "
    .. "text = 'a', pair = 'b' } }",
  ['half_pair.tsv'] = 'a\tb\tlabel\na\tb\tpos\nc\t\tneg\n',
  ['config.lua'] = "return { train = { lrate = 1 } }",
  ['notable.lua'] = 'return 1',
  ['ok.tsv'] = 'sentence\tlabel\ngood film\tpos\nbad film\tneg\n',
  ['ok.xyz'] = 'sentence\tlabel\ngood film\tpos\nbad film\tneg\n',
  ['columns.tsv'] = 'sentence\tlabel\ngood film\tpos\nbad film\n',
  ['onelabel.tsv'] = 'sentence\tlabel\ngood film\tpos\nbad film\tpos\n',
  ['newlabel.tsv'] = 'sentence\tlabel\ngood film\tmaybe\n',
  ['latin.tsv'] = 'sentence\tlabel\ngood \233t\233\tpos\nbad film\tneg\n',
  ['nolabel.tsv'] = 'sentence\tlabel\ngood film\t pos\nfine film\tpos\nbad film\t \n',
  ['few.tsv'] = 'sentence\tlabel\n',
  ['empty.tsv'] = '',
  ['header.tsv'] = 'sentence\tlabel\n',
  ['broken.jsonl'] = '{"sentence": "a", "label": "x"}\n{"sentence": \n',
  ['cut.tsv'] = '\31\139\8\0\0\0\0\0\0\3\75',
  ['writes.lua'] = "os.remove '$D/absent'\nreturn { task = 'synthetic' }",
  ['reviews.csv'] = 'id,review_text,stars\n1,a fine film,5\n',
  ['reviews.jsonl'] = '{"id":1,"review_text":"a fine film"}\n',
  ['twice.txt'] = '[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n',
}

setup(function()
  dir = command.scratch()
  for name, text in pairs(files) do sys.write(dir .. '/' .. name, (text:gsub('%$D', dir))) end
  sys.mkdir(dir .. '/there')
  sys.mkdir(dir .. '/vocab')
  sys.write(dir .. '/vocab/vocab.txt', files['twice.txt'])
  local at
  at, model = small_run()
  sys.rename(at, dir .. '/model')
  model = model:gsub('^.*/runs/', dir .. '/model/runs/')
end)

teardown(function() sys.remove(dir) end)

for k = 1, 59 do
  files['few.tsv'] = ('%sfilm number %d\t%s\n'):format(files['few.tsv'], k, k % 2 == 0 and 'pos' or 'neg')
end

-- An edit of a file of those above: what stands there, and what the message says instead.
local function edit(name, from, to) return { name = name, from = from, to = to } end

local T = ' mux.n=1 model.kind=plain train.rows=1 train.epochs=1'      -- files of two lines are enough for this

-- { number, arguments, part of the message, environment, fixed = arguments when the fix was followed, edit = of a file,
-- env = the environment then }. Words of `fixed` that are new are those of the message.
local mistakes = {
  -- words of the command line
  { 'E200', '--recipe', "unknown option '--recipe'" },
  { 'E200', Q .. '-N 20 -n', 'in datamux: mux.n=20', fixed = Q .. 'mux.n=20 -n' },
  { 'E200', Q .. '--learning_rate 1e-4 -n', 'train.lr=1e-4', fixed = Q .. 'train.lr=1e-4 -n' },
  { 'E200', '-N 20 --task sst2 --muxing gaussian_hadamard', 'in datamux: mux.n=20 task=sst2 mux.kind=hadamard',
    fixed = Q .. 'mux.n=20 task=sst2 mux.kind=hadamard -n' },
  { 'E200', Q .. '-s retrieval_pretraining -d mlp --learn_muxing --do_train', 'warmup.steps=500000',
    fixed = Q .. 'warmup.steps=500000 demux.kind=mlp mux.learn=true -n' },
  { 'E200', 'check ' .. Q .. '--num-instances=4', 'mux.n=4', fixed = Q .. 'mux.n=4 -n' },
  { 'E200', Q .. '--progress=fancy -n', 'one of auto, bar', fixed = Q .. '--progress=auto -n' },
  { 'E200', Q .. '-j two -n', 'two' },
  { 'E200', Q .. '-j 0 -n', 'whole number', fixed = Q .. '-j 1 -n' },
  { 'E200', Q .. 'N -n', "unexpected argument 'N'" },
  { 'E200', Q .. '--device', '--device' },
  { 'E200', '-q', 'no recipe or command given', fixed = '-q recipes/quickstart.lua -n' },
  { 'E200', 'run', 'no recipe given', fixed = 'run recipes/quickstart.lua -n' },
  { 'E200', Q .. '--stop-after soon', 'expected a time', fixed = Q .. '--stop-after 2h -n' },
  { 'E209', 'trian ' .. Q .. '-n', 'did you mean: run?', fixed = 'run ' .. Q .. '-n' },
  { 'E209', 'chekc ' .. Q, 'did you mean: check?', fixed = 'check ' .. Q },
  { 'E209', 'serve $M', 'predict is a filter', fixed = 'predict $M - --in jsonl --flush 20' },
  { 'E209', 'help nothing', "no help on 'nothing'", fixed = 'help' },
  { 'E200', 'explain E999', "no error 'E999'", fixed = 'explain' },
  { 'E200', 'completion tcsh', 'one of bash, zsh, fish', fixed = 'completion bash' },
  { 'E200', 'runs lss', 'did you mean: ls?', fixed = 'runs ls' },
  { 'E200', 'help keys trian', 'did you mean: train?', fixed = 'help keys train' },
  { 'E200', 'help keys lr', 'did you mean: train.lr?', fixed = 'help keys train.lr' },
  { 'E200', 'help keys train.lrr', 'did you mean: train.lr?', fixed = 'help keys train.lr' },
  { 'E202', 'runs ls', "DATAMUX_THREADS is 'abc', expected a whole number >= 1", 'DATAMUX_THREADS=abc',
    fixed = 'runs ls', env = 'DATAMUX_THREADS=4' },
  { 'E202', 'runs ls', "DATAMUX_GPU_PRICE is 'abc'", 'DATAMUX_GPU_PRICE=abc', fixed = 'runs ls',
    env = 'DATAMUX_GPU_PRICE=3' },
  -- recipes
  { 'E207', 'recipes/quikstart.lua', 'did you mean: recipes/quickstart.lua?',
    fixed = 'recipes/quickstart.lua -n' },
  { 'E208', '$D/bad.lua', 'bad.lua:1' },
  { 'E208', '$D/number.lua', 'returned number', fixed = '$D/number.lua -n',
    edit = edit('number.lua', 'return 3', 'return dm.recipe { task = "synthetic" }') },
  { 'E208', 'run $D/nothing.lua', 'returned nothing', fixed = 'run $D/nothing.lua -n',
    edit = edit('nothing.lua', '$', '\nreturn dm.recipe { task = "synthetic" }') },
  { 'E208', '$D/raises.lua', 'raises.lua:2' },
  { 'E201', '$D/typo.lua', 'typo.lua:3', fixed = '$D/typo.lua -n', edit = edit('typo.lua', 'epocs', 'epochs') },
  { 'E201', '$D/group.lua', "unknown key 'optimiser'" },
  { 'E202', '$D/type.lua', "'mux.n' is '20'", fixed = '$D/type.lua -n', edit = edit('type.lua', "'20'", '20') },
  { 'E202', '$D/scalar.lua', "'train' is 5, expected a table", fixed = '$D/scalar.lua -n',
    edit = edit('scalar.lua', 'train = 5', 'train = {}') },
  { 'E210', '$D/task.lua', "'task' is missing", fixed = '$D/task.lua task=sst2 -n' },
  { 'E210', '$D/task.lua', "'task' is missing", fixed = '$D/task.lua -n',
    edit = edit('task.lua', '{ mux', "{ task = 'sst2', mux") },
  { 'E202', '$D/unknown.lua', 'did you mean: sst2?', fixed = '$D/unknown.lua -n',
    edit = edit('unknown.lua', 'sst3', 'sst2') },
  { 'E214', '$D/profile.lua', "unknown profile 'large'", fixed = '$D/profile.lua -n',
    edit = edit('profile.lua', 'large', 'small') },
  { 'E201', '$D/inprofile.lua', 'train.lrr', fixed = '$D/inprofile.lua -n', edit = edit('inprofile.lua', 'lrr', 'lr') },
  { 'E222', '$D/writes.lua -n', 'os.remove is not for recipes', fixed = '$D/writes.lua -n --trust' },
  -- key=value
  { 'E201', Q .. 'trian.lr=1 -n', 'fix: train.lr=1', fixed = Q .. 'train.lr=1 -n' },
  { 'E201', Q .. 'train.learning_rate=1 -n', "unknown key 'train.learning_rate'",
    fixed = Q .. 'train.lr=1 -n' },
  { 'E201', Q .. 'zzz=1 -n', 'datamux help keys' },
  { 'E206', Q .. 'lr=1e-3 -n', 'warmup.lr, train.lr', fixed = Q .. 'train.lr=1e-3 -n' },
  { 'E202', Q .. 'train.epochs=ten -n', "'ten', expected a number", fixed = Q .. 'train.epochs=10 -n' },
  { 'E202', Q .. 'mux.n=2.5 -n', 'expected a whole number', fixed = Q .. 'mux.n=20 -n' },
  { 'E202', Q .. 'mux.n=0 -n', "'mux.n' is 0", fixed = Q .. 'mux.n=20 -n' },
  { 'E202', Q .. 'dropout=1.5 -n', 'model.dropout', fixed = Q .. 'model.dropout=0.1 -n' },
  { 'E202', Q .. 'mux.kind=hadamrad -n', 'did you mean: hadamard?', fixed = Q .. 'mux.kind=hadamard -n' },
  { 'E202', Q .. 'mux.kind=binray -n', 'fix: mux.kind=binary', fixed = Q .. 'mux.kind=binary -n' },
  { 'E202', Q .. 'mux.learn=maybe -n', 'true or false', fixed = Q .. 'mux.learn=false -n' },
  { 'E202', Q .. 'seed=none -n', "'seed' cannot be none", fixed = Q .. 'seed=42 -n' },
  { 'E202', Q .. 'seed=@$D/absent -n', 'absent' },
  { 'E213', Q .. 'train.lr=1e-3,2e-3 -n', '--sweep train.lr=1e-3,2e-3',
    fixed = Q .. '--sweep train.lr=1e-3,2e-3 -n' },
  { 'E203', Q .. 'heads=3 -n', 'model.heads is 3', fixed = Q .. 'model.heads=2 -n' },
  { 'E203', Q .. 'data.length=600 -n', 'model.positions', fixed = Q .. 'data.length=514 -n' },
  { 'E203', Q .. 'data.length=1', 'a token and 1 special one', fixed = 'check ' .. Q .. 'data.length=2' },
  { 'E203', Q .. 'data.length=1 mux.n=600 demux.kind=index -n', 'model.positions',
    fixed = Q .. 'data.length=1 mux.n=512 demux.kind=index -n' },
  { 'E203', Q .. 'data.length=600 --dry-run', 'model.positions',
    fixed = Q .. 'data.length=600 model.positions=600 -n' },
  { 'E203', Q .. 'demux.kind=rsa demux.key=own -n', 'demux.key', fixed = Q .. 'demux.kind=rsa demux.key=mux -n' },
  { 'E203', Q .. 'model.kind=plain -n', "'plain'", fixed = Q .. 'model.kind=plain mux.n=1 -n' },
  { 'E203', '$D/ortho.lua -n', "expected 'own'", fixed = '$D/ortho.lua demux.key=own -n' },
  { 'E203', '$D/heads.lua -n', 'model.heads is 3', fixed = '$D/heads.lua model.heads=2 -n' },
  { 'E216', Q .. 'train.rows=5000', 'fix: train.rows=2400' },
  { 'E216', 'check $D/few.lua', 'at most the 59', fixed = 'check $D/few.lua warmup.rows=5 train.rows=5' },
  { 'E216', 'check $D/few.lua train.accumulate=80', 'at most the 59',
    fixed = 'check $D/few.lua warmup.rows=5 train.rows=1 train.accumulate=5' },
  { 'E216', 'check $D/few.lua task.train=ok.tsv', 'at most the 2',
    fixed = 'check $D/few.lua task.train=ok.tsv mux.n=2 warmup.rows=1 train.rows=1' },
  { 'E501', Q .. 'model.width=16384 model.layers=48', 'not even one row fits' },
  { 'E202', Q .. '-n', 'DATAMUX_SET', 'DATAMUX_SET="train.epochs=x"', fixed = Q .. '-n',
    env = 'DATAMUX_SET="train.epochs=10"' },
  { 'E201', Q .. '--config $D/config.lua -n', 'config.lua:1', fixed = Q .. '--config $D/config.lua -n',
    edit = edit('config.lua', 'lrate', 'lr') },
  { 'E208', Q .. '--config $D/notable.lua -n', 'expected a table of keys',
    fixed = Q .. '--config $D/notable.lua -n',
    edit = edit('notable.lua', 'return 1', 'return { train = { lr = 1e-4 } }') },
  { 'E201', Q .. '--sweep train.lrate=1,2', 'did you mean: train', fixed = Q .. '--sweep train.lr=1,2 -n' },
  { 'E202', Q .. '--sweep train.lr=1,x', "'train.lr' is 'x'", fixed = Q .. '--sweep train.lr=0.0005 -n' },
  { 'E200', Q .. '--sweep train.lr=1,2 --resume', '--resume' },
  { 'E205', Q .. 'eval.metric=val_loss', 'val_loss', fixed = 'check ' .. Q .. 'eval.metric=accuracy' },
  -- data
  { 'E303', '$D/missing.lua', 'nowhere.tsv' },
  { 'E303', '$D/missing.lua task.train=$D/there', 'which is a folder' },
  { 'E305', '$D/half_pair.lua', 'half_pair.tsv:3: the second text of the pair has no tokens\n  fix: write that text',
    fixed = 'check $D/half_pair.lua' .. T, edit = edit('half_pair.tsv', 'c\t\t', 'c\td\t') },
  { 'E210', '$D/half.lua', "'task.dev' is missing" },
  { 'E302', '$D/nocolumn.lua', "no column 'review', columns are: sentence, label",
    fixed = 'check $D/nocolumn.lua' .. T, edit = edit('nocolumn.lua', 'review', 'sentence') },
  { 'E304', '$D/columns.lua', 'columns.tsv:3', fixed = 'check $D/columns.lua' .. T,
    edit = edit('columns.tsv', 'bad film', 'bad film\tneg') },
  { 'E301', '$D/onelabel.lua', "every label is 'pos'", fixed = 'check $D/onelabel.lua' .. T,
    edit = edit('onelabel.tsv', 'film\tpos\n$', 'film\tneg\n') },
  { 'E301', '$D/newlabel.lua', 'newlabel.tsv:2', fixed = 'check $D/newlabel.lua' .. T,
    edit = edit('newlabel.tsv', 'maybe', 'pos') },
  { 'E301', '$D/newlabel.lua task.labels=a,b,c,d,e,f,g,h,i,j', 'a, b, c, d, e, f, g, h, ... (10 in all)' },
  { 'E301', 'check $D/few.lua task.text=label task.label=sentence', 'are the columns of texts and labels swapped?',
    fixed = 'check $D/few.lua task.text=sentence task.label=label warmup.rows=5 train.rows=5' },
  { 'E305', '$D/nolabel.lua', "nolabel.tsv:4: column 'label' is empty", fixed = 'check $D/nolabel.lua' .. T,
    edit = edit('nolabel.tsv', '\t \n', '\tneg \n') },
  { 'E305', '$D/latin.lua', 'latin.tsv:2', fixed = 'check $D/latin.lua' .. T,
    edit = edit('latin.tsv', '\233t\233', '\195\169t\195\169') },
  { 'E306', '$D/empty.lua', 'empty.tsv' },
  { 'E306', '$D/header.lua', 'header.tsv' },
  { 'E304', '$D/json.lua', 'broken.jsonl:2', fixed = 'check $D/json.lua' .. T,
    edit = edit('broken.jsonl', '{"sentence": \n', '{"sentence": "b", "label": "y"}\n') },
  { 'E307', '$D/gz.lua', 'cut.tsv', fixed = 'check $D/gz.lua' .. T, edit = edit('cut.tsv', '^.*$', files['ok.tsv']) },
  { 'E305', '$D/number_label.lua', "'pos', expected a number" },
  { 'E202', '$D/format.lua', 'ok.xyz' },
  { 'E801', 'recipes/sst2_n20.lua', 'looked in: /nowhere/SST-2/train.tsv',
    'DATAMUX_DATA=/nowhere DATAMUX_CACHE=/nowhere DATAMUX_OFFLINE=1' },
  { 'E801', 'recipes/sst2_n20.lua', 'fix: datamux data get SST-2, or --download',
    'DATAMUX_DATA=/nowhere DATAMUX_CACHE=/nowhere' },
  { 'E801', 'data head sst2 --download --offline', 'not tried (DATAMUX_OFFLINE=1)',
    'DATAMUX_DATA=/nowhere DATAMUX_CACHE=/nowhere' },
  { 'E801', 'data get sst2 --offline', 'cannot be downloaded', 'DATAMUX_CACHE=/nowhere' },
  { 'E219', 'data stats mnist', "'mnist' is no task of texts", fixed = 'data head synthetic' },
  { 'E219', 'data head sst3', 'did you mean: sst2?' },
  { 'E219', 'data get ss2', 'did you mean: sst2?' },
  { 'E200', 'data haed synthetic', 'did you mean: head?', fixed = 'data head synthetic' },
  { 'E200', 'data head synthetic trian', 'did you mean: train?', fixed = 'data head synthetic train' },
  { 'E200', 'data rm', 'names or --unused', 'DATAMUX_CACHE=$D/cache', fixed = 'data rm --unused 30d' },
  { 'E200', 'data rm --unused month', 'such as 30d', 'DATAMUX_CACHE=$D/cache', fixed = 'data rm --unused 30d' },
  { 'E219', 'data rm mnst', 'no data set or model', 'DATAMUX_CACHE=$D/cache' },
  { 'E312', 'data unpack $D/ok.tsv', 'tar', 'DATAMUX_CACHE=$D/cache' },
  { 'E303', 'data unpack $D/absent.tar', 'absent.tar' },
  { 'E303', 'data add sst2 $D/absent.tsv', 'absent.tsv' },
  { 'E303', 'data add sst2 $D/ok.tsv', "no file 'ok.tsv'" },
  { 'E303', 'tokenize nowhere', "no tokenizer 'nowhere'" },
  { 'E309', 'tokenize $D/vocab', "'a' is there twice" },
  -- runs, devices, places
  { 'E402', Q .. '-d cuda -n', 'cuda', 'DATAMUX_BACKENDS=/nowhere', fixed = Q .. 'device=cpu -n' },
  { 'E402', Q .. '-d gpu -n', 'gpu', fixed = Q .. 'device=auto -n' },
  { 'E401', Q .. '-o /proc/nowhere warmup.steps=1 train.steps=1 -q', '/proc/nowhere',
    fixed = Q .. '--out $D/runs warmup.steps=1 train.steps=1 -q' },
  { 'E211', Q .. '--resume -o $D/there', 'no unfinished run of quickstart', fixed = Q .. '-o $D/there -n' },
  { 'E211', Q .. '--resume=20260101-000000-aaaa -o $D/there', '20260101-000000-aaaa',
    fixed = Q .. '-o $D/there -n' },
  { 'E217', 'runs show nothing -o $D/there', "no run 'nothing'", fixed = 'runs ls -o $D/there' },
  { 'E217', 'runs export small -o $D/x.csv', 'a file to write is -O', 'DATAMUX_RUNS=$D/model/runs',
    fixed = 'runs export small -O $D/x.csv' },
  { 'E218', 'new $D/there', 'is there already', fixed = 'new $D/there_2' },
  { 'E202', 'new $D/fresh --task sst3', 'did you mean: sst2?', fixed = 'new $D/fresh --task sst2' },
  -- finished models
  { 'E706', 'predict $D/nowhere', 'no model' },
  { 'E706', 'predict $M:lst', 'no model' },
  { 'E302', 'predict $M $D/reviews.csv --text sentence', 'columns are: id, review_text, stars',
    fixed = 'predict $M $D/reviews.csv --text review_text' },
  { 'E302', 'predict $M $D/reviews.jsonl --text review', 'did you mean: review_text?',
    fixed = 'predict $M $D/reviews.jsonl --text review_text' },
  { 'E302', 'predict $M $D/reviews.csv --text review_text --keep ids', "no column 'ids'",
    fixed = 'predict $M $D/reviews.csv --text review_text --keep id' },
  { 'E200', 'predict $M $D/ok.tsv --in tvs', 'tsv', fixed = 'predict $M $D/ok.tsv --in tsv' },
  { 'E200', 'predict $M $D/ok.tsv --shard 4/3', '3/8', fixed = 'predict $M $D/ok.tsv --shard 3/8' },
  { 'E200', 'predict $M $D/reviews.csv --text review_text --resume', '-O FILE',
    fixed = 'predict $M $D/reviews.csv --text review_text --resume -O $D/out.csv' },
  { 'E218', 'predict $M $D/reviews.csv --text review_text -O $D/reviews.csv', 'is an input too',
    fixed = 'predict $M $D/reviews.csv --text review_text -O $D/answers.csv' },
  { 'E218', 'predict $M $D/ok.tsv -O $D/reviews.csv --resume', 'did not write',
    fixed = 'predict $M $D/ok.tsv -O $D/answers.tsv' },
  { 'E215', 'predict $M $D/ok.tsv -O $D/answers.jsonl.gz', 'not compressed',
    fixed = 'predict $M $D/ok.tsv -O $D/answers.jsonl' },
  { 'E215', 'predict $M $D/ok.tsv -k 2 --scores all', 'leave out -k', fixed = 'predict $M $D/ok.tsv --scores all' },
  { 'E215', 'predict $M $D/ok.tsv --pair label', 'leave out --pair', fixed = 'predict $M $D/ok.tsv' },
  { 'E215', 'predict $M --text review_text', 'but no format', fixed = 'predict $M --text review_text --in jsonl' },
  { 'E303', 'predict $M $D/absent.csv', 'absent.csv' },
  { 'E701', 'predict $M:step-7', 'step-000010', fixed = 'predict $M:step-10' },
  { 'E200', 'bench $M --texts none', 'whole number' },
  { 'E200', 'eval $M --fail-under accuracy', 'accuracy' },
  { 'E303', 'eval $M test', "there is no 'test'", fixed = 'eval $M dev' },
  { 'E303', 'eval $M trian', 'did you mean: train?' },
  { 'E303', 'eval $M glue/sst2:tset', 'expected train, dev or test' },
  { 'E200', 'report accuracy --task sst3', 'did you mean: sst2?' },
  { 'E215', 'report accuracy mux.n=5 -o $D/x', "'mux.n=5': report accuracy trains nothing" },
  { 'E217', 'report accuracy --runs $D/absent', 'no folder' },
  { 'E217', 'report accuracy $D/there', 'no finished run' },
  { 'E200', 'eval $M --ensemble 1.5', "--ensemble is '1.5', expected a whole number >= 1", fixed = 'eval --help' },
  { 'E200', 'predict $M $D/ok.tsv --threshold 7', "--threshold is '7', expected a probability from 0 to 1",
    fixed = 'predict --help' },
  { 'E200', 'predict $M $D/ok.tsv -k 0', "-k is '0', expected a whole number >= 1", fixed = 'predict --help' },
  { 'E200', 'predict $M $D/ok.tsv --treshold 0.5', 'did you mean: --threshold?',
    fixed = 'predict $M $D/ok.tsv --threshold 0.5' },
  { 'E200', 'predict $M $D/ok.tsv -o $D/out.tsv', 'did you mean: -O?', fixed = 'predict $M $D/ok.tsv -O $D/out.tsv' },
  { 'E205', 'eval $M --fail-under acc=0', 'did you mean: accuracy?', fixed = 'eval $M --fail-under accuracy=0' },
  { 'E302', 'predict $M $D/reviews.csv --text 5', "no column '5', columns are: id, review_text, stars",
    fixed = 'predict $M $D/reviews.csv --text review_text' },
  { 'E303', 'predict $M $D/there', 'is a folder, expected a file' },
  { 'E401', 'predict $M $D/ok.tsv -O $D/nodir/out.tsv', 'mkdir -p ' },
  { 'E706', 'predict smal $D/ok.tsv', 'did you mean: small?', 'DATAMUX_RUNS=$D/model/runs',
    fixed = 'predict small $D/ok.tsv' },
  { 'E706', 'model convert $M $D/converted', 'is a model of datamux', fixed = 'model export $M --to $D/converted' },
  { 'E200', 'model convert $M', 'the new folder is missing' },
  { 'E200', 'model quantize $M -n', "unknown option '-n'", fixed = 'model quantize --help' },
}

-- Runs what is left when the message was followed; returns why that does not do, or nil.
local function follow(m, err, expand)
  local change = m.edit
  if change then
    local path = dir .. '/' .. change.name
    local text, n = sys.read(path):gsub(change.from, (change.to:gsub('%%', '%%%%')), 1)
    if n ~= 1 then return change.from .. ' is not in ' .. change.name end
    sys.write(path, text)
  end
  for word in m.fixed:gmatch '%S+' do
    local value = word:match '=(.*)$' or word
    local ours = (' check -n ' .. Q .. T .. ' '):find(' ' .. word .. ' ', 1, true) or word:find '%$D' or word:find '%$M'
    if not ((' ' .. m[2] .. ' '):find(' ' .. word .. ' ', 1, true) or ours or err:find(value, 1, true)) then
      return ("the message does not say '%s'"):format(word)
    end
  end
  local code, out, said = command.run(expand(m.fixed), { env = expand(m.env or m[4] or ''), input = '' })
  if change then sys.write(dir .. '/' .. change.name, (files[change.name]:gsub('%$D', dir))) end
  if code ~= 0 then return ('%s\nends with %s: %s%s'):format(m.fixed, tostring(code), out, said) end
end

describe('a mistake', function()
  local followed = 0

  local function expand(text) return (text:gsub('%$D', dir):gsub('%$M', model)) end

  it('is one of at least sixty', function() assert.is_true(#mistakes >= 60, #mistakes .. ' mistakes') end)

  for _, m in ipairs(mistakes) do
    local id, args, part, env = unpack(m)
    it(('%s: %s%s'):format(id, env and env .. ' ' or '', args), function()
      local code, out, err = command.run(expand(args), { env = env and expand(env) })
      local shown = ('exit %s\nstdout: %s\nstderr: %s'):format(tostring(code), out, err)
      assert.is_truthy(err:find(('^error%%[%s%%]: '):format(id)) or err:find(('\nerror%%[%s%%]: '):format(id)), shown)
      assert.are.equal(tonumber(id:sub(2, 2)), code, shown)
      assert.is_true(code >= 2 and code <= 8, shown)
      assert.is_truthy(err:find(part, 1, true), ('expected "%s": %s'):format(part, shown))
      assert.is_truthy(err:find '\n%s*fix: %S', shown)
      assert.is_nil(err:find('traceback', 1, true), shown)
      assert.are.equal('', out, shown)
      assert.is_true(select(2, err:gsub('\n', '')) <= 10, shown)
      if not m.fixed then return end
      local why = follow(m, err, expand)
      assert.is_nil(why, (why or '') .. '\n' .. shown)
      followed = followed + 1
    end)
  end

  it('has a fix that works, at least fifty of them', function()
    assert.is_true(followed >= 50, followed .. ' were followed')
  end)
end)
