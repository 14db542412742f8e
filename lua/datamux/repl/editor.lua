-- repl/editor.lua -- where lines come from: readline or libedit, opened when a prompt is, else plain reading; and the
-- history file, one statement an entry, shared by prompts that run at the same time.
local ffi = require 'ffi'
local host = require 'datamux.host'
local sys = require 'datamux.sys'
local C = require('datamux.ffi').C
require 'datamux.data.reader'                     -- declares poll and read

local M = {}

local MOST = 2000                                -- statements that are remembered

if not pcall(ffi.typeof, 'struct dm_repl_defined') then
  ffi.cdef [[
    struct dm_repl_defined { int one; };
    char *readline(const char *prompt);
    void add_history(const char *line);
    void stifle_history(int most);
    char **rl_completion_matches(const char *text, char *(*entry)(const char *, int));
    extern char **(*rl_attempted_completion_function)(const char *, int, int);
    extern const char *rl_readline_name;
    extern const char *rl_completer_word_break_characters;
    extern const char *rl_basic_word_break_characters;
    extern char *rl_line_buffer;
    extern int rl_completion_append_character;
    extern int rl_attempted_completion_over;
    extern const char *rl_basic_quote_characters;
    extern int (*rl_getc_function)(void *);
    int rl_getc(void *stream);
    int rl_pending_signal(void);
    void rl_check_signals(void);
    void rl_replace_line(const char *text, int clear_undo);
    void free(void *p);
    char *strdup(const char *s);
  ]]
end

-- -- history ------------------------------------------------------------------------------------------------

-- One line of the file for a statement, and back: newlines are written \n, backslashes doubled.
local function escaped(s) return (s:gsub('\\', '\\\\'):gsub('\n', '\\n')) end

local function unescaped(s)
  return (s:gsub('\\(.)', function(c) return c == 'n' and '\n' or c end))
end

--- The history: { list = statements, add(statement) }; kept in $XDG_STATE_HOME/datamux/history where that can be
--- written. A statement that begins with a blank, or equals the one before, is not kept.
function M.history()
  local state = os.getenv 'XDG_STATE_HOME'
  local dir = (state and state ~= '' and state or (os.getenv 'HOME' or '.') .. '/.local/state') .. '/datamux'
  local file = pcall(sys.mkdir, dir) and dir .. '/history' or nil
  local list, lines = {}, {}
  for line in (file and sys.read(file) or ''):gmatch '[^\n]+' do lines[#lines + 1] = line end
  for i = math.max(1, #lines - MOST + 1), #lines do list[#list + 1] = unescaped(lines[i]) end
  if #lines > 2 * MOST then
    pcall(sys.write, file, table.concat(lines, '\n', #lines - MOST + 1) .. '\n')
  end
  local h = { list = list }
  function h.add(statement)
    if statement:find '^%s' or statement == '' or statement == list[#list] then return false end
    list[#list + 1] = statement
    local f = file and io.open(file, 'a')
    if f then
      f:write(escaped(statement), '\n')
      f:close()
    end
    return true
  end
  return h
end

-- -- editors --------------------------------------------------------------------------------------------------

local function plain()
  return {
    read = function(prompt)
      io.stdout:write(prompt)
      io.stdout:flush()
      local line = io.read '*l'
      C.dm_interrupt_clear()
      return line
    end,
    remember = function() end,
    close = function() end,
  }
end

local function library()
  if not (host.isatty(0) and host.isatty(1)) then return nil end
  local term = os.getenv 'TERM'
  if not term or term == '' or term == 'dumb' then return nil end
  for _, name in ipairs { 'libreadline.so.8', 'libedit.so.2' } do
    local ok, found = pcall(ffi.load, name)
    if ok then return found end
  end
end

-- Words end here for completion; dots, colons, slashes and brackets belong to paths.
local BREAKS = ' \t\n"\'=;&{}(),+*^~#<>|'

--- The editor of this terminal: { read(prompt) -> a line, nil at the end, or '' and 'interrupted' after Ctrl-C;
--- remember(statement); close() }. offer(line, word): what completes the last word of a line. Without a terminal, or
--- on a dumb one, lines are read plainly and no escape code is written.
function M.new(offer, history)
  local lib = library()
  if not lib then return plain() end
  local matches, interrupted = {}, false
  local entry = ffi.cast('char *(*)(const char *, int)', function(_, k)
    local m = matches[k + 1]
    return m and C.strdup(m) or nil
  end)
  local attempt = ffi.cast('char **(*)(const char *, int, int)', function(text, _, to)
    local ok, found = pcall(offer, ffi.string(lib.rl_line_buffer, to), ffi.string(text))
    matches = ok and found or {}
    lib.rl_attempted_completion_over = 1         -- never readline's own guess
    if #matches == 0 then return nil end
    lib.rl_completion_append_character = 0
    return lib.rl_completion_matches(text, entry)
  end)
  local getc, byte, input = nil, ffi.new 'unsigned char[1]', ffi.new 'struct dm_pollfd'
  input.events = 1
  lib.rl_attempted_completion_function = attempt
  lib.rl_readline_name = 'datamux'               -- for conditions in inputrc
  pcall(function() lib.rl_completer_word_break_characters = BREAKS end)
  pcall(function() lib.rl_basic_quote_characters = '' end)        -- closing a string is the writer's
  pcall(function() lib.rl_basic_word_break_characters = BREAKS end)
  if pcall(function() return lib.rl_pending_signal end) then      -- readline: Ctrl-C leaves the line
    getc = ffi.cast('int (*)(void *)', function()
      while true do
        if lib.rl_pending_signal() ~= 0 then lib.rl_check_signals() end
        if C.dm_interrupted() > 0 then
          interrupted = true
          lib.rl_replace_line('', 0)
          return 10
        end
        if C.poll(input, 1, 250) > 0 then        -- ms: how late a signal is seen that came just before
          local n = tonumber(C.read(0, byte, 1))
          if n == 1 then return byte[0] end
          if n == 0 or ffi.errno() ~= 4 then return -1 end        -- the end, or an error other than EINTR
        end
      end
    end)
    lib.rl_getc_function = getc
  end
  pcall(function() lib.stifle_history(MOST) end)
  for _, statement in ipairs(history.list) do lib.add_history(statement) end
  local function read(prompt)
    interrupted = false
    local line = lib.readline(prompt)
    if line == nil then                          -- the end; from libedit also Ctrl-C
      interrupted = C.dm_interrupted() > 0
      C.dm_interrupt_clear()
      if interrupted then return '', 'interrupted' end
      return nil
    end
    local text = ffi.string(line)
    C.free(line)
    if interrupted then
      C.dm_interrupt_clear()
      return '', 'interrupted'
    end
    return text
  end
  jit.off(read)                                  -- it calls back into Lua
  return {
    read = read,
    remember = function(statement) lib.add_history(statement) end,
    close = function()
      lib.rl_attempted_completion_function = nil
      if getc then lib.rl_getc_function = lib.rl_getc end
      entry:free()
      attempt:free()
      if getc then getc:free() end
    end,
  }
end

return M
