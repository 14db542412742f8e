-- explain.lua -- a page for each error number: what it means, what causes it, how to fix it, an example.
-- The hundreds are the class and the exit code: 1 internal, 2 usage and configuration, 3 data, 4 environment,
-- 5 memory, 6 numbers, 7 models and checkpoints, 8 network.
local M = {}

--- number -> { title, text }.
M.pages = {
  E101 = { 'an error inside datamux, or in the recipe\'s own code', [[
Something raised an error that is no message to users: a fault of datamux, or of functions that a
recipe or script defines itself. Run the same command with --debug: the stack trace names the file
and line. If that line is under datamux/, please report it together with the output of `datamux
doctor`.

  datamux recipes/mine.lua --debug]] },

  E200 = { 'the command line cannot be understood', [[
An option that does not exist, a missing value, or a word that is neither a recipe nor key=value.
Options start with - or --, values of the recipe are key=value without dashes.

  datamux recipes/sst2_n20.lua train.lr=1e-4 --seed 7
  datamux help run]] },

  E201 = { 'unknown key', [[
The recipe, a --config file, DATAMUX_SET or the command line sets a key that no recipe has. Keys are
paths such as train.lr; a last part that only one key has is enough (dropout for model.dropout), in
any case (N for mux.n). Nothing is run with a key that would have no effect.

  datamux help keys           every key with type, default and meaning
  datamux help keys train     those of one group]] },

  E202 = { 'a value of the wrong type or out of range', [[
The schema gives each key a type and limits. Numbers may be written 5e-5, 64k or 2M; seconds 90s,
10m, 2h; booleans true, false, on, off, yes, no; lists a,b or JSON; none unsets a key that may be
unset; @FILE reads the value from a file.

  datamux recipes/quickstart.lua train.epochs=ten      refused
  datamux recipes/quickstart.lua train.epochs=10]] },

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
  datamux mine.lua task=synthetic]] },

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

  datamux recipes/sst2_n1.lua model.kind=plain mux.n=1]] },

  E217 = { 'no such run', [[
A run is named by its folder, by NAME/latest, or by its id where that is unique.

  datamux runs ls
  datamux runs show sst2_n20/latest]] },

  E218 = { 'something is there already', [[
datamux overwrites nothing of yours. Choose another name, or remove what is there yourself.

  datamux new other_name]] },

  E219 = { 'unknown data set', [[
The name is none of the data sets that datamux knows.

  datamux data ls]] },

  E303 = { 'a file that is not there or cannot be read', [[
The message gives the path and the system's reason. Data sets are looked for in $DATAMUX_DATA, then
in the cache.

  datamux data ls
  datamux doctor]] },

  E308 = { 'a file differs from the published one', [[
The SHA-256 of the file is not the one that datamux knows for it: it was cut off, converted, or is
another version.

  datamux data verify
  datamux data get sst2       fetches it anew; remove the wrong file first]] },

  E310 = { 'a data set that cannot be downloaded', [[
No address is known for it, or its licence forbids passing it on. Get the files from their owner and
add them.

  datamux data ls             the names of the files
  datamux data add NAME FILE ...]] },

  E311 = { 'token ids differ', [[
`tokenize --against` found lines whose ids are not those of the file. Most often the vocabularies
differ, or one side adds special tokens and the other does not.

  datamux tokenize roberta-base texts.txt --against ids.txt]] },

  E401 = { 'the disk refuses', [[
A folder or file cannot be made or written: no space, no permission, or a limit on file sizes. What
was there before is unchanged; nothing is left half-written.

  datamux doctor              free space of the places that are written
  datamux recipes/sst2_n20.lua --out /other/disk]] },

  E402 = { 'the device cannot be used', [[
The device that was asked for is not there, or its driver refuses. device=cuda never falls back to
the CPU; device=auto takes the GPU where it can be used, else the CPU.

  datamux --devices           what can compute here, and why the rest cannot
  datamux doctor]] },

  E501 = { 'out of memory', [[
The step needs more memory than the device has. What counts most: rows x N x length tokens per step,
then width and layers.

  datamux recipes/sst2_n20.lua train.rows=4 warmup.rows=4      half the texts per step
  datamux check recipes/sst2_n20.lua                           measures one step]] },

  E801 = { 'not here, and not to be downloaded now', [[
The file is neither in $DATAMUX_DATA nor in the cache, and downloading failed or is switched off
(DATAMUX_OFFLINE=1, --offline). On a machine with a network: datamux data get NAME; then copy the
folder here and add it.

  datamux data get sst2
  datamux data add sst2 train.tsv dev.tsv]] },
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
