-- repl_spec.lua -- the prompt as a person has it: over a pipe, and on a terminal that expect drives.
local host = require 'datamux.host'
local dm = require 'datamux'
local complete = require 'datamux.repl.complete'
local source = require 'datamux.repl.source'
local sys = require 'datamux.sys'

local exe = host.exe()
local dir

before_each(function()
  dir = os.tmpname()
  os.remove(dir)
  sys.mkdir(dir)
end)

after_each(function() sys.remove(dir) end)

local function contains(text, part)
  assert.is_truthy(text:find(part, 1, true), ('expected "%s" in: %s'):format(part, text))
end

local function lacks(text, part)
  assert.is_nil(text:find(part, 1, true), ('expected no "%s" in: %s'):format(part, text))
end

-- What the prompt says to lines that come through a pipe: stdout, stderr.
local function prompt(input, args)
  sys.write(dir .. '/in', input)
  os.execute(('XDG_STATE_HOME=%s/state %s -i %s < %s/in > %s/out 2> %s/err'):format(dir, exe, args or '', dir, dir,
    dir))
  return sys.read(dir .. '/out'), sys.read(dir .. '/err')
end

describe('the prompt over a pipe', function()
  it('prints expressions, continues incomplete statements, keeps locals', function()
    local out = prompt 'local x = 20\nx + 1\n= x * 2\nfor i = 1, 2 do\nprint("i" .. i)\nend\nx = x + 1;\n_ \n'
    for _, part in ipairs { '21', '40', 'i1\ni2' } do contains(out, part) end
    lacks(out, '\27')
  end)

  it('keeps every local of a whole statement, and none of an inner one', function()
    local out = prompt(table.concat({ 'local a, b = 1, 2; local c; local function f() local y = 7 return y end',
      'a + b + f()', 'c == nil', 'do local inner = 1 end', 'inner', 'local s = "local t = 1 -- local"', 's',
      ':locals off', 'local q = 4', 'q' }, '\n') .. '\n')
    for _, part in ipairs { 'dm> 10\n', 'dm> true\n', "nil   'inner' is not defined.", 'dm> local t = 1 -- local\n',
                            "nil   'q' is not defined." } do contains(out, part) end
  end)

  it('keeps ten results, and hides what ends in a semicolon', function()
    local out = prompt '11\n12\n13\n_1 + _2\n"hidden";\n_\n'
    contains(out, 'dm> 13\ndm> 23\n')
    contains(out, 'dm> dm> hidden\n')
  end)

  it('survives errors and names the argument', function()
    local out = prompt 'x = dm.randn(2, 3)\ndm.linear(x, dm.randn(4, 5))\nnil + 1\nsyntax error here\nprint("alive")\n'
    contains(out, 'linear: x is [2, 3], w is [4, 5]: inner sizes differ')
    contains(out, 'alive')
    lacks(out, 'traceback')
  end)

  it('says what may have been meant: methods, functions, fields, variables', function()
    local out = prompt(table.concat({ 'x = dm.zeros(2)', 'x:fil(3)', 'x.shap', 'dm.linaer(x, x)', 'pritn(3)',
      'dm.nn.Linaer.new(2)', 'x:fill(3)' }, '\n') .. '\n')
    contains(out, "error: 'fil' is not a method of Tensor. Did you mean 'fill'?")
    contains(out, "nil   'shap' is not a field of Tensor. Did you mean 'shape'?")
    contains(out, "error: 'linaer' is not a function of dm. Did you mean 'linear'?")
    contains(out, "error: 'pritn' is not defined. Did you mean 'print'?")
    contains(out, "'Linaer' is not a field of dm.nn. Did you mean 'Linear'?")
    contains(out, 'f32[2] cpu  min 3')
  end)

  it('shows the lines around an error, of the statement and of a file', function()
    sys.write(dir .. '/f.lua', 'function twice(x)\n  return x.a.b * 2\nend\n')
    local out = prompt(('for i = 1, 3 do\n  local z = nil\n  z.x = i\nend\n:load %s/f.lua\ntwice {}\n'):format(dir))
    contains(out, "  >   3    z.x = i\n")
    contains(out, ('error: %s/f.lua:2: '):format(dir))
    contains(out, '  >   2    return x.a.b * 2\n')
  end)

  it('shows tensors, tables, rooms and memory', function()
    local out = prompt 'dm.zeros(2, 2)\n:mem\n{ 1, 2, { 3 }, n = "x" }\ndm.models\n{}\nnil\n:device\n'
    for _, part in ipairs { 'f32[2, 2] cpu', 'live', '{ 1, 2, { 3 }, n = "x" }', 'TMux', '{}', 'dm> nil\n',
                            'cpu (' } do contains(out, part) end
  end)

  it('explains Lua functions, methods, C functions and keys from the sources', function()
    local out = prompt(table.concat({ ':help linear', '?dm.layernorm', '?Tensor:fill', 'x = dm.zeros(2)', '?x:view',
      '?dm_mux_fwd', '?train.lr', '?lnear', '??demultiplexer', '??zzzz' }, '\n') .. '\n')
    for _, part in ipairs { 'act(x w^T + b)', 'LN(x + drop(r))', 'Sets every element to v', 'no copy',
                            'dm_status dm_mux_fwd(', 'peak learning rate', "Did you mean 'linear'?", 'demux.retrieval=',
                            "nothing has 'zzzz'" } do contains(out, part) end
  end)

  it('explains functions of a file of one\'s own', function()
    sys.write(dir .. '/own.lua', '--- Doubles a number.\nfunction double(x) return 2 * x end\n')
    local out = prompt((':load %s/own.lua\n?double\n'):format(dir))
    contains(out, 'Doubles a number.')
    contains(out, dir .. '/own.lua:2')
  end)

  it('times, names types, lists variables, runs the shell, refuses unknown commands', function()
    local out = prompt(table.concat({ 'x = dm.zeros(3, 4)', ':time x:fill(1)', ':time nope(', ':type x', ':type "a"',
      ':who', '!echo from the $((40 + 2))nd shell', ':hlep', ':time', ':reload' }, '\n') .. '\n')
    assert.is_truthy(out:find '[%d.]+ [mun]s ± [%d.]+ [mun]s   %(mean ± sd of 10 runs', out)
    for _, part in ipairs { 'Tensor f32[3, 4], 48 bytes', 'string', 'x                Tensor     f32[3, 4] cpu',
                            'from the 42nd shell', "Did you mean 'help'?", 'no expression, expected one',
                            'no module, expected the name' } do contains(out, part) end
  end)

  it('reloads a module so that what exists uses the new functions', function()
    sys.write(dir .. '/mine.lua', 'local M = {}\nM.__index = M\nfunction M.new() return setmetatable({}, M) end\n'
      .. 'function M.say() return "old" end\nfunction M.gone() end\nreturn M\n')
    local new = sys.read(dir .. '/mine.lua'):gsub('old', 'new'):gsub('function M.gone%(%) end\n', '')
    sys.write(dir .. '/new.lua', new)
    local out = prompt(table.concat({ ('package.path = "%s/?.lua;" .. package.path'):format(dir), 'm = require "mine"',
      'o = m.new()', 'o:say()', ('!mv %s/new.lua %s/mine.lua'):format(dir, dir), ':reload mine', 'o:say(), o.gone',
      ('!echo "return {" > %s/mine.lua'):format(dir), ':reload mine', 'o:say()', ':reload mien' }, '\n') .. '\n')
    for _, part in ipairs { 'dm> old\n', 'reloaded mine', 'dm> new\nnil\n', 'the old one stays', 'dm> new\n',
                            "no module 'mien'. Did you mean 'mine'?" } do contains(out, part) end
  end)

  it('keeps a history of statements that prompts share, and saves a session', function()
    prompt 'for i = 1, 2 do\n  print(i)\nend\n secret = 1\n"a\\\\n"\n"a\\\\n"\n1 +* 2\n'
    local history = sys.read(dir .. '/state/datamux/history')
    assert.are.equal('for i = 1, 2 do\\n  print(i)\\nend\n"a\\\\\\\\n"\n1 +* 2\n', history)
    local out = prompt((':history print\nx = 3\ny = x +* 1\ny = x + 1\n:save %s/s.lua\n'):format(dir))
    contains(out, 'for i = 1, 2 do\n  print(i)\nend\n')
    contains(out, '2 statements written')
    assert.are.equal('x = 3\ny = x + 1\n', sys.read(dir .. '/s.lua'))
    contains(prompt(':save /nowhere/s.lua\n'), '/nowhere/s.lua')
  end)

  it('loads a recipe to step and poke at', function()
    local out, err = prompt('s = recipe:session{ "warmup.steps=5" }\ns:step(s.stages[1], 1).loss < 10\n'
      .. 's.model.embeddings.word:shape()\n', 'recipes/quickstart.lua')
    contains(out, 'true')
    contains(out, '{ 156, 128 }')
    assert.are.equal('', err)
  end)

  it('reports a statement that its input cuts off', function()
    contains(prompt 'for i = 1, 2 do\n', "error: 'end' expected near '<eof>'")
    contains(prompt 'x = "never closed\n1 + 1\n', 'dm> 2\n')
  end)

  it('stops endless loops on Ctrl-C, also in compiled code of the library', function()
    for _, loop in ipairs { 'while true do end', 'recipe:session{}:run()',
                            'while true do dm.schedule.factor("linear", 1, 2, 0) end' } do
      sys.write(dir .. '/in', ('io.open(%q, "w"):close() %s\nprint("alive")\n'):format(dir .. '/begun', loop))
      os.execute(([[%s -i recipes/quickstart.lua < %s/in > %s/out 2>&1 & pid=$!
        for i in $(seq 400); do [ -e %s/begun ] && break; sleep 0.05; done
        rm %s/begun; kill -INT $pid; wait $pid]]):format(exe, dir, dir, dir, dir))
      contains(sys.read(dir .. '/out'), 'interrupted')
      contains(sys.read(dir .. '/out'), 'alive')
    end
  end)
end)

describe('completion', function()
  local env = setmetatable({ dm = dm, t = dm.zeros(2), list = { { deep = { est = 1 } } } }, { globals = _G })

  local function offers(line, earlier)
    local word = line:match '[^ \t\n"\'=;&{}(),+*^~#<>|]*$'
    return complete.offer(env, earlier or '', line, word, { 'help', 'history', 'time' })
  end

  local function has(list, word) contains('|' .. table.concat(list, '|') .. '|', '|' .. word .. '|') end

  it('finds names, fields and methods, also through metatables', function()
    has(offers 'dm.lin', 'dm.linear')
    has(offers 'x = dm.nn.Lin', 'dm.nn.Linear')
    has(offers 't:fi', 't:fill')
    has(offers 'f(t:sh', 't:shape')
    has(offers 'pri', 'print')
    has(offers 'list[1].de', 'list[1].deep')
    has(offers 'list[1].deep.e', 'list[1].deep.est')
    assert.are.same({}, offers 'nothing.x')
    local methods = '|' .. table.concat(offers 't:', '|') .. '|'
    lacks(methods, '|t:c|')
    lacks(methods, '__index')
  end)

  it('finds methods of modules', function()
    env.layer = dm.nn.Linear.new(2, 3)
    has(offers 'layer:pa', 'layer:param')
    has(offers 'layer.wei', 'layer.weight')
  end)

  it('finds files in strings, folders with a slash', function()
    sys.mkdir(dir .. '/folder')
    sys.write(dir .. '/file.lua', '')
    local list = offers(('io.open("%s/f'):format(dir))
    assert.are.same({ dir .. '/file.lua', dir .. '/folder/' }, list)
  end)

  it('finds the keys and choices of a recipe, over several lines', function()
    has(offers 'dm.recipe { trai', 'train')
    has(offers 'dm.recipe { task = "sst2", mux = { re', 'reduce')
    has(offers('  mux = { re', 'r = dm.recipe {\n  task = "sst2",\n'), 'reduce')
    has(offers 'dm.recipe { mux = { reduce = "me', 'mean')
    has(offers 'dm.recipe { mux = { reduce = "mean" }, tas', 'task')
    has(offers 'recipe:session{ "train.l', 'train.lr=')
    has(offers 'dm.recipe { mux = { n = dm.lin', 'dm.linear')
  end)

  it('finds commands and modules', function()
    assert.are.same({ ':help', ':history' }, offers ':h')
    has(offers ':reload datamux.nn.lin', 'datamux.nn.linear')
  end)
end)

describe('source at the prompt', function()
  it('loses the local of whole statements only', function()
    for from, to in pairs {
      ['local x = 1'] = ' x = 1',
      ['local x'] = ' x = nil',
      ['local a, b'] = ' a, b = nil',
      ['local function f() local y = 1 end local z = 2'] = ' function f() local y = 1 end  z = 2',
      ['for i = 1, 2 do local q = i end'] = 'for i = 1, 2 do local q = i end',
      ['repeat local q = 1 until q'] = 'repeat local q = 1 until q',
      ['s = "local x" --[[ local y ]] local z = [[local w]]'] = 's = "local x" --[[ local y ]]  z = [[local w]]',
    } do assert.are.equal(to, source.lasting(from)) end
  end)
end)

-- -- a terminal -----------------------------------------------------------------------------------------------

local has_expect = os.execute 'expect -v > /dev/null 2>&1' == 0

-- Runs lines of expect against the prompt on a terminal; returns all that was on it. `say` and `see` are defined: send
-- text, and wait for text (which fails the script, with what came instead, after ten seconds).
local function terminal(script, o)
  o = o or {}
  sys.write(dir .. '/t.exp', ([[
set timeout 10
set env(TERM) %s
set env(XDG_STATE_HOME) %s/state
set stty_init "rows 40 cols 100"
proc say {text} { send -- $text }
proc see {text} {
  expect {
    -ex $text { return }
    timeout { puts "\nNOT SEEN: $text"; exit 9 }
    eof { puts "\nENDED BEFORE: $text"; exit 9 }
  }
}
spawn %s %s
see "dm> "
%s
say "\004"
expect {
  eof { }
  timeout { puts "\nNOT SEEN: the end"; exit 9 }
}
set status [wait]
puts "\nstatus [lindex $status 3]"
]]):format(o.term or 'xterm', dir, exe, o.args or '', script))
  local p = io.popen(('expect %s/t.exp 2>&1'):format(dir))
  local said = p:read '*a'
  p:close()
  lacks(said, 'NOT SEEN')
  lacks(said, 'ENDED BEFORE')
  contains(said, 'status 0')
  return said
end

describe('the prompt on a terminal', function()
  local function on_terminal(name, fn)
    it(name, function()
      if not has_expect then return pending 'expect is not installed' end
      fn()
    end)
  end

  on_terminal('completes, prints and quits at once on Ctrl-D', function()
    local said = terminal [[
say "x = dm.zeros(2, 2);\r"
see "dm> "
say "x:fil\t"
see "x:fill"
say "(3)\r"
see "min 3"
see "dm> "
say "x:s\t\t"
see "x:shape  x:size"
see "dm> x:s"
say "\003"
see "dm> "]]
    contains(said, ':help commands')
    lacks(said, 'really')
  end)

  on_terminal('recalls a statement of several lines as one, also in the next session', function()
    terminal [[
say "for i = 1, 2 do\r"
see "..> "
say "print('row' .. i)\r"
see "..> "
say "end\r"
see "row2\r\n"
see "dm> "
say "\033\[A"
see "end"
say "\r"
see "row2\r\n"
see "dm> "]]
    terminal [[
say "\033\[A"
see "for i = 1, 2 do"
see "end"
say "\r"
see "row2\r\n"
see "dm> "]]
  end)

  on_terminal('leaves a line, a started statement and a running loop on Ctrl-C', function()
    terminal [[
say "12345 +"
see "12345 +"
say "\003"
see "dm> "
say "for i = 1, 2 do\r"
see "..> "
say "\003"
see "dm> "
say "print('loop' .. 'ing') while true do end\r"
see "looping\r\n"
say "\003"
see "interrupted"
see "dm> "
say "'al' .. 'ive'\r"
see "alive"
see "dm> "]]
  end)

  on_terminal('that is dumb sees no escape code', function()
    local said = terminal('say "6 * 7\\r"\nsee "42"\nsee "dm> "', { term = 'dumb' })
    lacks(said, '\27')
  end)
end)
