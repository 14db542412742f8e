-- sandbox_spec.lua -- what a recipe's code may do and may not, and what it can read of the command line.
local launch = require 'datamux.launch'
local sandbox = require 'datamux.sandbox'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local dir

before_each(function() dir = command.scratch() end)
after_each(function()
  sandbox.trusted = false
  sys.remove(dir)
end)

-- Loads a recipe of this code, which ends with a table of keys; o: see launch.load.
local function load(code, o)
  sys.write(dir .. '/r.lua', code .. "\nreturn require('datamux').recipe { task = 'synthetic', name = name }")
  return launch.load(dir .. '/r.lua', {}, o)
end

local function refused(what, code, place)
  local ok, e = pcall(load, '\n' .. code)
  assert.is_false(ok, code)
  assert.are.equal('E222', e.id, tostring(e))
  assert.is_truthy(e.message:find(what, 1, true), e.message)
  assert.is_truthy(e.message:find((place or 'r.lua:2') .. '\n', 1, true), e.message)
  assert.is_truthy(e.message:find('fix: --trust', 1, true), e.message)
end

describe('a recipe', function()
  it('neither writes nor removes files, nor runs programs, nor reaches the engine', function()
    local victim = dir .. '/victim'
    sys.write(victim, 'here')
    for what, code in pairs {
      ['os.execute'] = "os.execute('touch %s2')", ['os.remove'] = "os.remove '%s'",
      ['os.rename'] = "os.rename('%s', '%s2')",
      ['os.exit'] = 'os.exit(0)', ['io.popen'] = "io.popen 'touch %s2'", ["io.open(..., 'w')"] = "io.open('%s', 'w')",
      ["io.open(..., 'r+')"] = "io.open('%s', 'r+')", ["io.open(..., 'a')"] = "io.open('%s2', 'a')",
      ['io.output'] = "io.output '%s'", ["require 'ffi'"] = "require 'ffi'", ffi = 'ffi.cdef ""', jit = 'jit.off()',
      ['debug.getregistry'] = 'debug.getregistry()', package = 'package.loadlib()', getfenv = 'getfenv(0)',
      setfenv = 'setfenv(1, {})', ["require 'datamux.sys'"] = "require('datamux.sys').remove '%s'",
      ["require 'datamux.ffi'"] = "require 'datamux.ffi'",
      ["require 'datamux.data.download'"] = "require 'datamux.data.download'",
      ["require 'datamux.commands.data'"] = "require 'datamux.commands.data'", ["require 'lfs'"] = "require 'lfs'" } do
      refused(what, (code:gsub('%%s', victim)))
    end
    refused('os.remove', ("loadstring([[os.remove '%s']], '@text')()"):format(victim), 'text:1')
    refused('os.remove', ("local s = [[os.remove '%s']]\n"):format(victim)
      .. "load(function() local t = s; s = nil; return t end, '@pieces')()", 'pieces:1')
    assert.is_false(pcall(load, 'assert(loadstring(string.dump(function() end)))'))
    assert.are.equal('here', sys.read(victim))
    assert.is_nil(sys.kind(victim .. '2'))
  end)

  it('reads files, the clock and the environment, and has the library and what lies beside it', function()
    sys.write(dir .. '/mine.txt', 'from a file\n')
    sys.mkdir(dir .. '/src')
    sys.write(dir .. '/src/part.lua', 'local M = {}\nfunction M.n() return #os.getenv "PATH" end\nhidden = 1\nreturn M')
    local r = load(([[
      local f = assert(io.open '%s/mine.txt')
      for line in io.lines '%s/mine.txt' do name = line end
      assert(f:read '*l' == name and os.time() > 0 and os.date())
      assert(require 'src.part' == require 'src.part' and require 'src.part'.n() > 0)
      assert(require 'math' == math and require 'bit'.band(3, 2) == 2)
      assert(require 'cjson'.decode '[1]'[1] == 1)
      assert(require 'datamux' == dm and require 'datamux.nn.mux' and dm.zeros(2):shape()[1] == 2)
      assert(loadstring 'return name'() == name and _G.name == name)
      assert(undefined == nil and pcall(error) == false)
      io.write '']]):format(dir, dir))
    assert.are.equal('from a file', r:resolve({}).name)
    assert.is_nil(rawget(_G, 'hidden'))
    assert.is_nil(rawget(_G, 'name'))
    local ok, e = pcall(load, "require 'nowhere'")
    assert.is_truthy(not ok and tostring(e):find("module 'nowhere' is neither the library's nor", 1, true), tostring(e))
  end)

  it('does all of it where it is trusted', function()
    sandbox.trusted = true
    load(("local f = io.open('%s/out', 'w'); f:write 'x'; f:close(); require 'ffi'"):format(dir))
    assert.are.equal('x', sys.read(dir .. '/out'))
  end)

  it('is refused as a process with exit code 2, and goes on with --trust', function()
    sys.write(dir .. '/r.lua', ("os.remove '%s/absent'\nreturn { task = 'synthetic' }"):format(dir))
    local path = dir .. '/r.lua'
    for _, words in ipairs { path .. ' -n', 'run -n ' .. path, 'check ' .. path } do
      local code, out, err = command.run(words)
      assert.are.same({ 2, '' }, { code, out })
      assert.is_truthy(err:find('where: ' .. path .. ':1', 1, true), err)
    end
    assert.are.equal(0, (command.run(path .. ' -n --trust')))
    assert.are.equal(0, (command.run('--trust run -n ' .. path)))
    local code, _, err = command.run('recipes/quickstart.lua -n --config ' .. path)
    assert.is_truthy(code == 2 and err:find('E222', 1, true), err)
  end)

  it('is told from a script by its last statement', function()
    sys.write(dir .. '/s.lua', "#!/usr/bin/env datamux\nos.remove 'x'\nif arg then print(#arg) end")
    assert.are.same({ 0, '1\n', '' }, { command.run(dir .. '/s.lua word') })
    sys.write(dir .. '/b.lua', "if true then return { task = 'synthetic' } end")
    local code, _, err = command.run(dir .. '/b.lua -n')
    assert.is_truthy(code == 2 and err:find('a recipe ends with its return', 1, true), err)
    assert.are.equal(0, (command.run('run -n ' .. dir .. '/b.lua')))
  end)
end)

describe('dm.arg', function()
  it('reads a value early: of the command line, else of DATAMUX_SET, else what it is given', function()
    sys.write(dir .. '/r.lua', [[
      local n = dm.arg('n', 4)
      return { task = 'synthetic', mux = { n = n }, name = 'read' .. n, model = { width = 16 * n, heads = 2 } }]])
    local function shown(words, env)
      local code, out, err = command.run(words, { env = env })
      assert.are.equal(0, code, err)
      return out:match 'name +read(%d+)', tonumber(out:match 'model.width +(%d+)'), tonumber(out:match 'mux.n +(%d+)')
    end
    local path = dir .. '/r.lua'
    assert.are.same({ '4', 64, 4 }, { shown(path .. ' -n') })
    assert.are.same({ '8', 128, 8 }, { shown(path .. ' -n mux.n=8') })
    assert.are.same({ '8', 128, 8 }, { shown('run -n ' .. path .. ' N=8') })
    assert.are.same({ '6', 96, 6 }, { shown(path .. ' -n', 'DATAMUX_SET="n=6"') })
    assert.are.same({ '8', 128, 8 }, { shown(path .. ' n=8 -n', 'DATAMUX_SET="n=6"') })
    local code, _, err = command.run(path .. ' -n n=many')
    assert.is_truthy(code == 2 and err:find("'mux.n' is 'many'", 1, true), err)
    sys.write(path, "return { task = 'synthetic', seed = dm.arg('sead', 1) }")
    code, _, err = command.run(path .. ' -n')
    assert.is_truthy(code == 2 and err:find('seed', 1, true) and err:find('E201', 1, true), err)
  end)

  it('is read again for each combination of a sweep', function()
    sys.write(dir .. '/r.lua', [[
      local n = dm.arg('n', 4)
      return { task = 'synthetic', mux = { n = n }, name = 'x' .. n }]])
    local recipe = launch.load(dir .. '/r.lua', {}, { words = {} })
    local config = launch.resolve(recipe, { overrides = {}, dry_run = true }, { 'mux.n=2' })
    assert.are.same({ 2, 'x2' }, { config.mux.n, config.name })
  end)
end)
