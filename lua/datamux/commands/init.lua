-- commands/init.lua -- the one specification of the command line: the names of the commands, the options that all of
-- them take, and the parser that help, man page and completion are made from.
--
-- A command is a file lua/datamux/commands/NAME.lua that returns
--   { name, summary (one line), configure = function(parser), run = function(o) }
-- configure gets the command's own argparse parser; run gets the parsed options (o.words: the whole command line) and
-- returns an exit code, nil meaning 0. A file requires what it needs inside run, so that --help stays quick.
local host = require 'datamux.host'
local errors = require 'datamux.errors'

local M = {}

--- The commands by heading, in the order of --help. Those whose file is absent are left out.
M.groups = {
  { 'Work with recipes', { 'run', 'check', 'new' } },
  { 'Work with models', { 'eval', 'predict', 'serve', 'bench', 'model' } },
  { 'Work with data', { 'data', 'tokenize' } },
  { 'Work with runs', { 'runs', 'plot', 'report' } },
  { 'Help', { 'doctor', 'explain', 'completion', 'help', 'test' } },
}

M.usage = [[
datamux [OPTIONS] RECIPE.lua [key=value ...]    train, select the best, evaluate, report
       datamux [OPTIONS] COMMAND ...
       datamux SCRIPT [args] | -e CODE                 run Lua
       datamux                                         a prompt, or Lua from standard input]]

local function present(name)
  local file = 'datamux/commands/' .. name .. '.lua'
  if host.source(file) then return true end
  local tree = os.getenv 'DATAMUX_LUA'
  local f = tree and io.open(tree .. '/' .. file)
  if f then f:close() end
  return f ~= nil
end

--- Names of the commands that are there.
function M.names()
  local list = {}
  for _, group in ipairs(M.groups) do
    for _, name in ipairs(group[2]) do
      if present(name) then list[#list + 1] = name end
    end
  end
  return list
end

--- The command of this name, or nil.
function M.get(name)
  for _, group in ipairs(M.groups) do
    for _, known in ipairs(group[2]) do
      if known == name and present(name) then return require('datamux.commands.' .. name) end
    end
  end
end

local function whole(text)
  local v = tonumber(text)
  if v and v >= 1 and v == math.floor(v) then return v end
  return nil, ("'%s' is no whole number >= 1"):format(text)
end

-- Options that every command takes, before or after its name. All have a list of names and a help text.
local function add_global(p)
  p:option('-d --device', 'auto, cpu, cuda or cuda:N'):argname 'DEVICE'
  p:option('-o --out', 'where runs go (default ./runs, or $DATAMUX_RUNS)'):argname 'DIR'
  p:option('-j --threads', 'CPU threads (default: physical cores)'):convert(whole):argname 'N'
  p:option('--seed', 'the same as seed=N'):argname 'N'
  p:flag('--download', 'fetch known data sets that are not here (or DATAMUX_DOWNLOAD=1)')
  p:flag('--offline', 'open no socket (or DATAMUX_OFFLINE=1)')
  p:flag('--trust', 'recipes may write files, run programs and load libraries')
  p:flag('--json', 'JSON on stdout instead of text')
  p:flag('-q --quiet', 'no progress')
  p:flag('-v --verbose', 'more: -v shows what differs from the defaults, -vv every value'):count '0-2'
    :target 'verbose'
  p:option('--color', 'auto, always or never'):choices { 'auto', 'always', 'never' }
  p:option('--progress', 'auto, bar, lines or none'):choices { 'auto', 'bar', 'lines', 'none' }
  p:flag('-n --dry-run', 'print every value with its origin, and do nothing')
  p:flag('-i --interactive', 'a prompt, with `recipe` after loading one')
  p:flag('--debug', 'a stack trace with errors')
  p:flag('--devices', 'list what can compute here, and why the rest cannot')
  p:flag('--version', 'print the version')
end

-- Flags of the published programs' scripts: a key here, or the words for each value there.
local muxing = { gaussian_hadamard = 'mux.kind=hadamard', binary_hadamard = 'mux.kind=binary',
                 random_ortho = 'mux.kind=ortho', random_ortho_low_rank = 'mux.kind=lowrank' }
local demuxing = { index = 'demux.kind=index', index_pos = 'demux.kind=rsa', mlp = 'demux.kind=mlp' }
local settings = { retrieval_pretraining = 'warmup.steps=500000', finetuning = 'warmup.steps=0 train.steps=500000',
                   baseline = 'mux.n=1 model.kind=plain' }
local scripts = {
  ['-N'] = 'mux.n', num_instances = 'mux.n', task = 'task', task_name = 'task', ['-m'] = muxing, muxing = muxing,
  muxing_variant = muxing, ['-d'] = demuxing, demuxing = demuxing, demuxing_variant = demuxing, ['-s'] = settings,
  setting = settings, lr = 'train.lr', lr_rate = 'train.lr', learning_rate = 'train.lr', batch_size = 'train.rows',
  max_steps = 'train.steps', num_train_epochs = 'train.epochs', epochs = 'train.epochs', max_seq_length = 'data.length',
  retrieval_pretraining = { ['1'] = settings.retrieval_pretraining, ['0'] = 'warmup.steps=0' },
  retrieval_loss_coeff = 'train.alpha', gaussian_hadamard_norm = 'mux.norm', learn_muxing = 'mux.learn',
}

--- What the flags of the published programs' scripts in a command line are here, as words for it: "mux.n=20 task=sst2".
--- nil where there is none that is no flag of ours too.
function M.published(argv)
  local out, any = {}, false
  for i, word in ipairs(argv) do
    local flag, value = word:match '^(%-[^=]+)=(.*)$'
    flag = flag or word
    local name = flag:sub(1, 2) == '--' and flag:sub(3):gsub('%-', '_') or flag
    local known = flag:sub(1, 1) == '-' and scripts[name]
    local after = argv[i + 1]
    value = value or after and not after:find '^%-' and not after:find '%.lua$' and after or nil
    if type(known) == 'table' then
      if known[value] then out[#out + 1] = known[value] end
      any = any or known[value] ~= nil and name ~= '-d'
    elseif known == 'mux.learn' then
      out[#out + 1], any = 'mux.learn=' .. (value == '0' and 'false' or 'true'), true
    elseif known then
      out[#out + 1], any = ('%s=%s'):format(known, value or 'VALUE'), true
    elseif flag == '--do_train' or flag == '--do_eval' then
      any = true
    end
  end
  return any and table.concat(out, ' ') or nil
end

-- An argparse complaint as an error of ours.
local function complain(p, message)
  local text, near = message:match "^(.-)\nDid you mean (.-)%?"
  text = text or message
  local flag = text:match "^unknown option '(.-)'"
  local ours = flag and M.published(M.argv or {})
  if ours then M.refuse_published(text, ours) end
  errors.raise('E200', { what = text, near = near and near:gsub("'", ''):gsub('^one of these: ', '') or nil,
    fix = p:get_usage():gsub('^Usage: ', ''):gsub('\n%s+', ' ') })
end

--- Raises E200 for a command line with flags of the published programs. ours: what M.published gave.
function M.refuse_published(what, ours)
  local recipe = 'recipes/quickstart.lua'
  for _, word in ipairs(M.argv or {}) do
    if word:find '%.lua$' then recipe = word end
  end
  errors.raise('E200', { what = what, why = 'flags of the published scripts are keys of a recipe here',
    lines = { 'in datamux: ' .. (ours ~= '' and ours or 'nothing, a run trains and scores') },
    fix = ('datamux %s %s'):format(recipe, ours):gsub(' $', '') })
end

--- A parser of the named commands (default: all that are there).
function M.parser(names)
  local argparse = require 'argparse'
  local p = argparse('datamux', 'DataMUX: mix N inputs, run the network once, separate N answers.')
  p:usage('Usage: ' .. M.usage):usage_max_width(100):help_max_width(100):help_usage_margin(2)
    :help_description_margin(30):command_target 'command'
    :require_command(false)
  p:epilog 'datamux help COMMAND, datamux help keys, datamux explain E203, man datamux.'
  p.error = complain
  add_global(p)
  local wanted = names and {}
  for _, name in ipairs(names or {}) do wanted[name] = true end
  for _, group in ipairs(M.groups) do
    local listed = { group[1] }
    for _, name in ipairs(group[2]) do
      local command = (not wanted or wanted[name]) and M.get(name)
      if command then
        local c = p:command(name):summary(command.summary):description(command.summary .. '.'):target '_command'
        c.error = complain
        command.configure(c)
        listed[#listed + 1] = c
      end
    end
    if #listed > 1 then p:group(unpack(listed)) end
  end
  return p
end

return M
