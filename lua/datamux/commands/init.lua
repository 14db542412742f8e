-- commands/init.lua -- the one specification of the command line: the names of the commands, the options that several
-- of them take, and the parser that help, man page and completion are made from.
--
-- A command is a file lua/datamux/commands/NAME.lua that returns
--   { name, summary (one line), configure = function(parser, take), run = function(o) }
-- configure gets the command's own argparse parser, and take(parser, 'device json'), which adds those of the options
-- that several commands have which this one heeds; run gets the parsed options (o.words: the whole command line) and
-- returns an exit code, nil meaning 0. A file requires what it needs inside run, so that --help stays quick.
local host = require 'datamux.host'
local errors = require 'datamux.errors'
local values = require 'datamux.commands.values'

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

--- Prints what a command found, as JSON where o.json asks for it, else as text; returns the exit code 0.
function M.emit(o, value, text)
  print(o.json and require('datamux.json').encode(value, true) or text)
  return 0
end

-- Options that several commands take: how a parser gets each.
local shared = {
  device = function(p) p:option('-d --device', 'auto, cpu, cuda or cuda:N'):argname 'DEVICE' end,
  out = function(p) p:option('-o --out', 'where runs go (default ./runs, or $DATAMUX_RUNS)'):argname 'DIR' end,
  threads = function(p)
    p:option('-j --threads', 'CPU threads (default: physical cores)'):convert(values.whole(1)):argname 'N'
  end,
  seed = function(p) p:option('--seed', 'the same as seed=N'):argname 'N' end,
  download = function(p) p:flag('--download', 'fetch known data sets that are not here (or DATAMUX_DOWNLOAD=1)') end,
  offline = function(p) p:flag('--offline', 'open no socket (or DATAMUX_OFFLINE=1)') end,
  trust = function(p) p:flag('--trust', 'recipes may write files, run programs and load libraries') end,
  json = function(p) p:flag('--json', 'JSON on stdout instead of text') end,
  verbose = function(p)
    p:flag('-v --verbose', 'more: -v shows what differs from the defaults, -vv every value'):count '0-2'
      :target 'verbose'
  end,
  progress = function(p)
    p:option('--progress', 'auto, bar, lines or none'):choices { 'auto', 'bar', 'lines', 'none' }
  end,
  dry_run = function(p) p:flag('-n --dry-run', 'say what would be done, and do nothing (recipes: every value)') end,
  interactive = function(p) p:flag('-i --interactive', 'a prompt, with `recipe` after loading one') end,
  quiet = function(p) p:flag('-q --quiet', 'no progress') end,
  color = function(p) p:option('--color', 'auto, always or never'):choices { 'auto', 'always', 'never' } end,
  debug = function(p) p:flag('--debug', 'a stack trace with errors') end,
}

local ALL = 'device out threads seed download offline trust json verbose progress dry_run interactive'
local ALWAYS = 'quiet color debug'             -- of every command: of messages, which any may have

-- Gives a parser the shared options of these names.
local function take(p, names)
  for name in names:gmatch '%S+' do shared[name](p) end
end

-- The argument of an option in one line: argparse writes one line for each of its names.
local function label(e)
  local names = table.concat(e._public_aliases, ', ')
  local arguments = table.concat(e:_get_argument_list(), ' ')
  return { arguments == '' and names or names .. ' ' .. arguments }
end

-- Makes the elements of a parser and of those below refuse a value with their own name: "--threshold is '7', expected a
-- probability from 0 to 1".
local function finish(p)
  for _, list in ipairs { p._options, p._arguments } do
    for _, e in ipairs(list) do
      local name, check = e._aliases and e._aliases[#e._aliases] or e._name, e._convert
      if e._choices then
        if not e._argname then e:argname(e:_get_choices_list()) end
        e.offers, check, e._choices = e._choices, values.one_of(e._choices), nil
      end
      if check then
        e._convert = function(text)
          local value, expected, near = check(text)
          if value ~= nil then return value end
          errors.raise('E200', { what = ("%s is '%s', expected %s"):format(name, text, expected), near = near,
            fix = near and e._aliases and name .. ' ' .. near or ('%s --help'):format(p:_get_fullname()) })
        end
      end
      if e._aliases then e._get_label_lines = label end
    end
  end
  for _, c in ipairs(p._commands) do finish(c) end
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

-- The name among the options of p, and of the parsers above, that an unknown one is nearest to: in other case, else by
-- its letters.
local function near_option(p, flag)
  local names = {}
  while p do
    for _, e in ipairs(p._options) do
      for _, name in ipairs(e._aliases) do
        if name:lower() == flag:lower() then return name end
        if #name > 2 then names[#names + 1] = name end
      end
    end
    p = p._parent
  end
  return #flag > 2 and errors.nearest(flag, names) or nil
end

-- An argparse complaint as an error of ours.
local function complain(p, message)
  local text, near = message:match "^(.-)\nDid you mean '?(.-)'?%?"
  text = text or message
  local flag = text:match "^unknown option '(.-)'"
  local ours = flag and M.published(M.argv or {})
  if ours then M.refuse_published(text, ours) end
  if flag then near = near_option(p, flag) end
  if near and near:find "'" then near = nil end                           -- several, which is no help
  local command = p:_get_fullname()
  errors.raise('E200', { what = text, near = near,
    fix = ('%s %s'):format(command, near and not flag and near or '--help') })
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

--- A parser of the named commands (default: all that are there). Without a name, or of all, it has the shared options
--- of its own too, which may stand before a command.
function M.parser(names)
  local argparse = require 'argparse'
  local p = argparse('datamux', 'DataMUX: mix N inputs, run the network once, separate N answers.')
  p:usage('Usage: ' .. M.usage):usage_max_width(100):help_max_width(100):help_usage_margin(2)
    :help_description_margin(30):command_target 'command'
    :require_command(false)
  p:epilog 'datamux help COMMAND, datamux help keys, datamux explain E203, man datamux.'
  p.error = complain
  if not names or #names == 0 then
    take(p, ALL .. ' ' .. ALWAYS)
    p:flag('--devices', 'list what can compute here, and why the rest cannot')
    p:flag('-V --version', 'print the version')
  end
  local wanted = names and {}
  for _, name in ipairs(names or {}) do wanted[name] = true end
  for _, group in ipairs(M.groups) do
    local listed = { group[1] }
    for _, name in ipairs(group[2]) do
      local command = (not wanted or wanted[name]) and M.get(name)
      if command then
        local c = p:command(name):summary(command.summary):description(command.summary .. '.'):target '_command'
        c.error = complain
        command.configure(c, take)
        take(c, ALWAYS)
        listed[#listed + 1] = c
      end
    end
    if #listed > 1 then p:group(unpack(listed)) end
  end
  finish(p)
  return p
end

return M
