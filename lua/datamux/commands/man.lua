-- commands/man.lua -- the man page datamux(1) as roff, from the parsers of the command line and the pages of errors.
local commands = require 'datamux.commands'

local M = {}

local function escape(text)
  text = text:gsub('\\', '\\e'):gsub('%-', '\\-')
  return (text:gsub('\n([.\'])', '\n\\&%1'):gsub('^([.\'])', '\\&%1'))
end

local function options(out, p)
  for _, e in ipairs(p._options) do
    if not e._hidden then
      local name = table.concat(e._aliases, ', ')
      local argname = e._maxargs > 0 and e:_get_argname(1) or nil
      out[#out + 1] = ('.TP\n.B %s%s\n%s'):format(escape(name), argname and ' ' .. escape(argname) or '',
        escape(e:_get_description() or ''))
    end
  end
end

local function arguments(out, p)
  for _, e in ipairs(p._arguments) do
    out[#out + 1] = ('.TP\n.I %s\n%s'):format(escape(e._name), escape(e:_get_description() or ''))
  end
end

local function command(out, c, name)
  out[#out + 1] = ('.SS %s\n%s.'):format(escape(name), escape(c._summary or c._description or ''))
  arguments(out, c)
  options(out, c)
  for _, sub in ipairs(c._commands) do command(out, sub, name .. ' ' .. sub._name) end
end

local DESCRIPTION = [[
A recipe is a Lua file that names model, data and training; running it trains, selects the best weights, evaluates and
reports. Values are changed by key=value;
.B datamux help keys
lists the keys. Results go to standard output, progress and errors to standard error.]]

local EXIT = {
  { '0', 'success' }, { '1', 'internal error' }, { '2', 'usage or configuration' }, { '3', 'data' },
  { '4', 'environment: device, disk, library' }, { '5', 'out of memory' }, { '6', 'the loss is no number' },
  { '7', 'model or checkpoint' }, { '8', 'network' }, { '10', 'a quality gate (eval --fail-under) was not met' },
  { '75', 'stopped, can be continued: Ctrl-C, SIGTERM, SIGUSR1, --stop-after' }, { '130', 'a second Ctrl-C' },
  { '141', 'the reader of standard output went away' },
}

local VARIABLES = {
  { 'DATAMUX_DATA', 'folder of data sets, looked in first' },
  { 'DATAMUX_CACHE', 'where downloads and tokens are kept' },
  { 'DATAMUX_RUNS', 'where runs go' }, { 'DATAMUX_SET', 'overrides, below the command line: "train.lr=3e-5 seed=2"' },
  { 'DATAMUX_DEVICE', 'as --device' }, { 'DATAMUX_THREADS', 'as --threads' }, { 'DATAMUX_PROGRESS', 'as --progress' },
  { 'DATAMUX_DOWNLOAD', '1: as --download' }, { 'DATAMUX_OFFLINE', '1: no sockets' },
  { 'DATAMUX_DEBUG', 'set: stack traces with errors' },
  { 'DATAMUX_PROFILE', '1: where the time went, op by op, on stderr at the end' },
  { 'DATAMUX_BF16', 'emulated: on any processor, its products made in f32, slowly; none: on no processor' },
  { 'DATAMUX_BACKENDS', 'folder of libdatamux_cuda.so' },
  { 'DATAMUX_LUA', 'folder of Lua files that replace those compiled in' },
}

local function pairs_of(out, list)
  for _, e in ipairs(list) do out[#out + 1] = ('.TP\n.B %s\n%s'):format(escape(e[1]), escape(e[2])) end
end

--- The whole page.
function M.page()
  local p = commands.parser()
  local out = {
    '.TH DATAMUX 1 "" "datamux" "User commands"', '.SH NAME',
    'datamux \\- ' .. escape(p._description), '.SH SYNOPSIS', '.nf',
    escape(commands.usage:gsub('\n%s+', '\n')), '.fi', '.SH DESCRIPTION', DESCRIPTION, '.SH OPTIONS' }
  options(out, p)
  out[#out + 1] = '.SH COMMANDS'
  for _, c in ipairs(p._commands) do command(out, c, c._name) end
  out[#out + 1] = '.SH EXIT STATUS'
  pairs_of(out, EXIT)
  out[#out + 1] = '.SH ENVIRONMENT'
  pairs_of(out, VARIABLES)
  out[#out + 1] = '.SH ERRORS\nEach error has a number; \n.B datamux explain E203\ngives its page.'
  local explain = require 'datamux.explain'
  for _, id in ipairs(explain.numbers()) do
    out[#out + 1] = ('.TP\n.B %s\n%s'):format(id, escape(explain.pages[id][1]))
  end
  return table.concat(out, '\n') .. '\n'
end

return M
