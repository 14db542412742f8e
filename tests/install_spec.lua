-- install_spec.lua -- what `make install PREFIX=...` puts where, and that it runs from there.
local host = require 'datamux.host'
local sys = require 'datamux.sys'

describe('an installation', function()
  it('has the command, recipes, documents, man page and completions, and runs from any folder', function()
    local build = host.exe():match '^(.*)/[^/]+$'
    if not sys.read(build .. '/cmake_install.cmake') then return pending 'needs a build folder of CMake' end
    local dir = ('%s/datamux-install-%d'):format(os.getenv 'TMPDIR' or '/tmp', sys.pid())
    sys.mkdir(dir .. '/elsewhere')
    finally(function() sys.remove(dir) end)
    assert.are.equal(0, os.execute(('cmake --install %s --prefix %s/usr > %s/log 2>&1'):format(build, dir, dir)))
    for _, path in ipairs { 'bin/datamux', 'share/datamux/recipes/quickstart.lua', 'share/doc/datamux/README.md',
      'share/doc/datamux/LICENSE', 'share/doc/datamux/docs/guide/first-run.md',
      'share/doc/datamux/docs/reference/README.md', 'share/man/man1/datamux.1',
      'share/bash-completion/completions/datamux', 'share/zsh/site-functions/_datamux',
      'share/fish/vendor_completions.d/datamux.fish' } do
      assert.are.equal('file', sys.kind(dir .. '/usr/' .. path), path)
    end
    local function run(arguments)
      local code = os.execute(('cd %s/elsewhere && env -u DATAMUX_LUA ../usr/bin/datamux %s > ../out 2> ../err')
        :format(dir, arguments))
      return code, sys.read(dir .. '/out'), sys.read(dir .. '/err')
    end
    -- A recipe that is not here is the installed one; one that is here comes first.
    local code, out, err = run 'run recipes/quickstart.lua -n'
    assert.are.same({ 0, '' }, { code, err })
    assert.is_truthy(out:find('quickstart', 1, true), out)
    sys.mkdir(dir .. '/elsewhere/recipes')
    sys.write(dir .. '/elsewhere/recipes/quickstart.lua', "return { name = 'mine', task = 'synthetic' }")
    code, out = run 'recipes/quickstart.lua -n'
    assert.are.equal(0, code)
    assert.is_truthy(out:find 'name%s+mine', out)
    code, out, err = run 'recipes/nothere.lua'
    assert.is_true(code ~= 0)
    assert.is_truthy(err:find("error[E207]: no file 'recipes/nothere.lua'", 1, true), err)
    assert.are.equal('', out)
  end)
end)
