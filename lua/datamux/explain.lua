-- explain.lua -- a page for each error number: what it means, what causes it, how to fix it, an example.
-- The hundreds are the class and the exit code: 1 internal, 2 usage and configuration, 3 data, 4 environment,
-- 5 memory, 6 numbers, 7 models and checkpoints, 8 network.
local M = {}

--- number -> { title, text, fix = what is said where an error brings no fix of its own }.
M.pages = {
  E101 = { 'an error inside datamux, or in the recipe\'s own code', [[
Something raised an error that is no message to users: a fault of datamux, or of functions that a
recipe or script defines itself. Run the same command with --debug: the stack trace names the file
and line. If that line is under datamux/, please report it together with the output of `datamux
doctor`.

  datamux recipes/mine.lua --debug]],
           fix = '--debug shows where; a fault of datamux is worth reporting' },

  E200 = { 'the command line cannot be understood', [[
An option that does not exist, a missing value, or a word that is neither a recipe nor key=value.
Options start with - or --, values of the recipe are key=value without dashes.

  datamux recipes/sst2_n20.lua train.lr=1e-4 --seed 7
  datamux help run]],
           fix = 'datamux --help' },

  E201 = { 'unknown key', [[
The recipe, a --config file, DATAMUX_SET or the command line sets a key that no recipe has. Keys are
paths such as train.lr; a last part that only one key has is enough (dropout for model.dropout), in
any case (N for mux.n). Nothing is run with a key that would have no effect.

  datamux help keys           every key with type, default and meaning
  datamux help keys train     those of one group]] },

  E202 = { 'a value of the wrong type or out of range', [[
The schema gives each key a type and limits. Numbers may be written 5e-5, 64k or 2M; seconds 90s,
10m, 2h; booleans true, false, on, off, yes, no; lists a,b or JSON; none unsets a key that may be
unset; @FILE reads the value from a file. Environment variables such as DATAMUX_THREADS are held to
the same.

  datamux recipes/quickstart.lua train.epochs=ten      refused
  datamux recipes/quickstart.lua train.epochs=10]],
           fix = 'datamux help keys' },

  E203 = { 'sizes that do not fit together', [[
Two values are right on their own but not together: model.heads must divide model.width; demux.rank
is at most model.width; the longest text with its prefix needs a row of the position table each
(with the index demultiplexer the prefix has mux.n + 1 positions).

  datamux recipes/quickstart.lua model.width=128 model.heads=3      refused
  datamux recipes/quickstart.lua model.width=128 model.heads=4]] },

  E204 = { 'the run is in use', [[
Another process holds the lock of this run directory: it is training there now. Stop that process,
or start a new run by leaving out --resume. The lock belongs to the process, so after a crash it is
free by itself.]] },

  E205 = { 'a metric that the task does not have', [[
eval.metric names what `best` means. Each kind of task has its own scores, and a name that will
never exist is refused before training starts.

  datamux recipes/sst2_n20.lua eval.metric=accuracy]],
           fix = 'leave it out: the usual one of the task is taken' },

  E206 = { 'a short key that could be several', [[
The last part of a key is enough where only one key ends in it. lr could be warmup.lr or train.lr:
write the whole path.

  datamux recipes/quickstart.lua lr=1e-3              refused
  datamux recipes/quickstart.lua train.lr=1e-3]] },

  E207 = { 'no such recipe', [[
The file does not exist. Paths are relative to the folder where the command is typed.

  ls recipes/
  datamux new mine            writes a recipe to start from]] },

  E208 = { 'the recipe cannot be read', [[
A recipe is a Lua file that returns dm.recipe { ... }. Either it is not valid Lua (the message gives
the line), or an error came up while it ran, or it returned something else.

  local dm = require 'datamux'
  return dm.recipe { task = 'sst2', mux = { n = 10 } }]] },

  E209 = { 'unknown command', [[
The first word is neither a command nor a file that ends in .lua. Training has no command of its
own: it is what a recipe does.

  datamux --help
  datamux recipes/quickstart.lua]] },

  E210 = { 'no task', [[
A recipe must say what is learned.

  return dm.recipe { task = 'sst2' }
  datamux mine.lua task=synthetic]],
           fix = 'datamux help keys task' },

  E211 = { 'no run to continue', [[
--resume continues the newest unfinished run of the recipe, --resume=RUN the one named. There is
none, or it lies elsewhere: runs are looked for in --out, else $DATAMUX_RUNS, else ./runs, under the
recipe's name.

  datamux runs ls
  datamux recipes/sst2_n20.lua --resume=20261124-021033-k3f9]] },

  E212 = { 'a run cannot be continued with other values', [[
A continued run gives the same bits as one that was never interrupted, so its values must be those
it was started with (log.* and save.* may differ). Give the same values, or start a new run.

  datamux runs show RUN       what it was started with]] },

  E213 = { 'several values where one is expected', [[
The key takes one value. To try several, sweep: each combination becomes a run of its own, and a
table compares them.

  datamux recipes/quickstart.lua train.lr=1e-3,2e-3            refused
  datamux recipes/quickstart.lua --sweep train.lr=1e-3,2e-3 seed=1..3]] },

  E214 = { 'unknown profile', [[
A recipe may hold two sets of sizes: profiles = { small = { ... }, paper = { ... } }. `profile` says
which is taken; auto is small on a CPU and paper on a GPU.

  datamux recipes/sst2_n20.lua profile=paper]] },

  E215 = { 'parts that do not go together', [[
Two choices exclude each other: the plain Transformer reads one text at a time (mux.n = 1); keys of
the demultiplexer's own (demux.key = own) belong to unbinding.

  datamux recipes/sst2_n1.lua model.kind=plain mux.n=1]],
           fix = 'datamux help keys lists what each key takes' },

  E216 = { 'a step that takes more texts than there are', [[
One update reads rows x N (x train.accumulate) texts, and an epoch must hold at least one.

  datamux recipes/quickstart.lua train.rows=5000       refused: 25,000 texts of 12,000
  datamux recipes/quickstart.lua train.rows=16]],
           fix = 'fewer rows (train.rows, warmup.rows), or a smaller mux.n' },

  E217 = { 'no such run', [[
A run is named by its folder, by NAME/latest, or by its id where that is unique.

  datamux runs ls
  datamux runs show sst2_n20/latest]] },

  E218 = { 'something is there already', [[
datamux overwrites nothing of yours. Choose another name, or remove what is there yourself. predict
--resume continues a file that the same command began, and refuses every other.

  datamux new other_name]],
           fix = 'choose another name' },

  E219 = { 'unknown data set', [[
The name is none of the data sets that datamux knows.

  datamux data ls]],
           fix = 'datamux data ls' },

  E220 = { 'a run without what is asked', [[
Pictures come from metrics.jsonl, which a run writes as it goes, and from report.json, which it writes when it is
finished. The run is too young, or its recipe has no such stage (retrieval without a warm-up, slots with N = 1).

  datamux runs show RUN]],
           fix = 'datamux runs show RUN says how far it is' },

  E221 = { 'the file of your own defaults cannot be used', [[
$XDG_CONFIG_HOME/datamux/config.lua, else ~/.config/datamux/config.lua, is a Lua file that returns a
table with some of: device, threads, out, progress, color, gpu_price, mirrors. Keys of recipes are
refused there: what a run does must be seen in its recipe and its command line.

  return { threads = 4, progress = 'lines', gpu_price = 3 }
  datamux doctor              says where the file is looked for]] },

  E222 = { 'a recipe reaches outside', [[
A recipe reads files and describes a run. Writing or removing files, running programs, the FFI, and
modules that are neither the library's nor beside the recipe are kept from it, so that a recipe of
somebody else can be looked at and run. A script (a file that does not end with a return) may all.

  datamux recipes/mine.lua --trust        a file that you know]],
           fix = '--trust, if you trust the file' },

  E301 = { 'a label that is not expected', [[
A line has a label outside the set, or all lines have the same one. The message gives the file and
line. Labels are names or numbers as the task defines them; for files of your own, task.labels lists
them in order.

  task = { type = 'classify', train = 'a.tsv', dev = 'b.tsv', labels = { 'neg', 'pos' } }]],
           fix = 'correct that line, or name the labels in task.labels' },

  E302 = { 'no such column', [[
A column is named that the file does not have, or the same name stands there twice. Columns are
named by the first line of the file, or by number from 1 where it has no names.

  task = { type = 'classify', train = 'a.csv', dev = 'b.csv', text = 'review', label = 'stars' }]],
           fix = 'name one of the columns listed' },

  E303 = { 'a file that is not there or cannot be read', [[
The message gives the path and the system's reason. Data sets are looked for in $DATAMUX_DATA, then
in the cache.

  datamux data ls
  datamux doctor]],
           fix = 'check the path; data sets: datamux data ls' },

  E304 = { 'a record of the wrong form', [[
A line has more or fewer columns than the first, is no JSON object, or has another number of tags
than words. The message gives file and line. In TSV files quotes are ordinary characters; in CSV
files they enclose cells.]],
           fix = 'correct that line' },

  E305 = { 'a record that cannot be used', [[
A text that is not valid UTF-8 or is empty where a text is needed, a label that is empty or no number
where one is expected. The message gives file and line. `iconv -f latin1 -t utf8` converts the most
common case.]],
           fix = 'correct that line' },

  E306 = { 'no examples, or too few', [[
The file was read, and holds no example (an empty file, or only a header), or a corpus has fewer
chunks than are needed.]],
           fix = 'check that this is the right file: datamux data head shows its examples' },

  E307 = { 'a compressed file that is damaged', [[
A .gz or .zst file is cut off or holds wrong bytes; most often a download or copy was interrupted.

  gzip -t FILE.gz
  zstd -t FILE.zst]],
           fix = 'get the file again' },

  E308 = { 'a file differs from the published one', [[
The SHA-256 of the file is not the one that datamux knows for it: it was cut off, converted, or is
another version.

  datamux data verify
  datamux data get sst2       fetches it anew; remove the wrong file first]] },

  E309 = { 'a vocabulary file that cannot be used', [[
The tokenizer's files contradict themselves: an entry twice, a merge of pieces that are not in the
vocabulary, a file of another kind. BPE needs vocab.json and merges.txt, WordPiece vocab.txt with
[PAD] [UNK] [CLS] [SEP], SentencePiece a model.]],
           fix = 'use the files of one and the same vocabulary, unchanged' },

  E310 = { 'a data set that cannot be downloaded', [[
No address is known for it, or its licence forbids passing it on. Get the files from their owner and
add them.

  datamux data ls             the names of the files
  datamux data add NAME FILE ...]],
           fix = 'datamux data add NAME FILE ...' },

  E311 = { 'token ids differ', [[
`tokenize --against` found lines whose ids are not those of the file. Most often the vocabularies
differ, or one side adds special tokens and the other does not.

  datamux tokenize roberta-base texts.txt --against ids.txt]] },

  E312 = { 'an archive that cannot be unpacked', [[
`data unpack` takes what `data pack` wrote: files of data sets and models, with their checksums. The
archive is damaged, holds something else, or has names or links that lead out of the cache. Nothing
was unpacked.

  datamux data pack sst2 owner/model -O both.tar       where the data are
  datamux data unpack both.tar                         where they are needed]],
           fix = 'datamux data pack NAME ... -O FILE.tar' },

  E401 = { 'the disk refuses', [[
A folder or file cannot be made or written: no space, no permission, or a limit on file sizes. What
was there before is unchanged; nothing is left half-written.

  datamux doctor              free space of the places that are written
  datamux recipes/sst2_n20.lua --out /other/disk]],
           fix = 'another place (--out DIR for runs, -O FILE for a file), or make room there' },

  E402 = { 'the device cannot be used', [[
The device that was asked for is not there, or its driver refuses. device=cuda never falls back to
the CPU; device=auto takes the GPU where it can be used, else the CPU. precision=bf16 on the CPU needs
a processor with AVX512-BF16 or AMX-BF16.

  datamux --devices           what can compute here, and why the rest cannot
  datamux doctor]],
           fix = 'what can compute here: datamux --devices; device=cpu and precision=f32 always can' },

  E404 = { 'a library or program that is not installed', [[
Some libraries and programs are used only when they are needed; the message names the Debian package.

  datamux doctor              lists those that are absent]],
           fix = 'apt install the package named' },

  E405 = { 'gnuplot refuses', [[
The pictures are drawn by gnuplot, which said what is shown: usually a version older than 5.2, or one built without
the wanted format (png needs pngcairo; svg is always there).

  datamux plot RUN --format svg]],
           fix = '--format svg, or apt install gnuplot-nox' },

  E501 = { 'out of memory', [[
The step needs more memory than the device has left. It is foretold before the first step, at the
longest text, with the number of rows that would fit. What counts most: rows x N x length tokens per
step, then width and layers. With train.recompute=true the encoder's layers are computed twice
instead of kept, which takes a fraction of the memory, a third more time, and gives the same bits.

  datamux recipes/sst2_n20.lua train.rows=4 warmup.rows=4      fewer texts per step
  datamux recipes/sst2_n20.lua train.recompute=true            less memory for the same texts
  datamux check recipes/sst2_n20.lua                           measures one step]],
           fix = 'fewer texts per step: train.rows=4 warmup.rows=4' },

  E601 = { 'the loss became no number', [[
A value overflowed: the learning rate is too high for this model, or gradients are not clipped. The
last checkpoint is from before that.

  datamux recipes/mine.lua train.lr=1e-4 train.clip=1]],
           fix = 'a lower lr, or clip=1' },

  E602 = { 'an answer that is no number', [[
The network answered infinity, or what is no number. Its weights hold such values, or values too large
for the type it computes in. Nothing is answered with a label then.

  datamux model show RUN
  datamux predict RUN:last FILE             another checkpoint of the run]],
           fix = 'another checkpoint (RUN:last, RUN:step-N), or the model copied again' },

  E701 = { 'no checkpoint that can be used', [[
The run has no checkpoint yet, or none whose SHA256SUMS match. The first is written after a second
of training, the next ones as save.every says.

  datamux runs show RUN]],
           fix = 'start a new run: leave out --resume' },

  E702 = { 'a damaged file of a model', [[
A safetensors or config.json file is cut off, has another checksum than SHA256SUMS beside it, or was
made by something else.]],
           fix = 'copy or export the model again' },

  E704 = { 'tensors that do not belong to the model', [[
The weights lack tensors that the configuration needs, have others, or other shapes: they were made
for another model or N.]],
           fix = 'use the weights and config.json of the same run' },

  E706 = { 'no such model', [[
A model is a run (its folder, name or id: its best weights), RUN:best, RUN:last, RUN:step-N, a folder
with config.json, or the name of one in the cache (datamux model ls, datamux model get NAME).

  datamux runs ls
  datamux predict runs/sst2_n20/latest texts.txt]],
           fix = 'datamux runs ls' },

  E707 = { 'a model with a strategy of a recipe', [[
The model was trained with a multiplexer or demultiplexer that its recipe registers, and reading the
model needs it again. A run keeps its recipe.lua, which is run for that as recipes are. A model folder
keeps one beside config.json; the folder may be from somebody else, so that recipe is run only with
--trust. In Lua: dm.load(FOLDER, { trust = true }), or dm.register.mux(...) before dm.load.

  datamux predict FOLDER texts.txt --trust        after reading FOLDER/recipe.lua]] },

  E801 = { 'not here, and not to be downloaded now', [[
The file is neither in $DATAMUX_DATA nor in the cache, and its download failed, is switched off
(DATAMUX_OFFLINE=1, --offline) or was not asked for: nothing is fetched without datamux data get,
--download or a yes on the terminal. For a machine without a network, pack it on one that has:

  datamux data get sst2 && datamux data pack sst2 -O sst2.tar        (models: datamux model get)
  datamux data unpack sst2.tar                                       here]],
           fix = 'datamux data get NAME, or datamux data unpack FILE.tar' },
}

--- All numbers, sorted.
function M.numbers()
  local out = {}
  for id in pairs(M.pages) do out[#out + 1] = id end
  table.sort(out)
  return out
end

--- The page of a number as text, or nil.
function M.page(id)
  local p = M.pages[id]
  return p and ('%s: %s\n\n%s\n\nexit code %d'):format(id, p[1], p[2], tonumber(id:sub(2, 2)))
end

return M
