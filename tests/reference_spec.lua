-- reference_spec.lua -- the reference is made from the comments in the sources, and every public function has one.
local host = require 'datamux.host'
local sys = require 'datamux.sys'

local dir

-- Runs docs/reference.lua into dir, with the Lua tree of `lua`; returns the exit code and what it said.
local function make(lua)
  os.execute(('DATAMUX_LUA=%s %s docs/reference.lua %s/out > %s/said 2>&1; echo $? > %s/code'):format(lua, host.exe(),
    dir, dir, dir))
  return tonumber(sys.read(dir .. '/code')), sys.read(dir .. '/said')
end

describe('the reference', function()
  before_each(function()
    dir = ('%s/datamux-reference-%d'):format(os.getenv 'TMPDIR' or '/tmp', sys.pid())
    sys.mkdir(dir)
  end)
  after_each(function() sys.remove(dir) end)

  it('has a page for every public module, the engine and the keys; no public function lacks a comment', function()
    local code, said = make 'lua'
    assert.are.same({ 0, '' }, { code, said })
    local pages = sys.list(dir .. '/out')
    assert.is_true(#pages > 50, #pages .. ' pages')
    local index = sys.read(dir .. '/out/README.md')
    for _, name in ipairs(pages) do
      local text = sys.read(dir .. '/out/' .. name)
      assert.is_truthy(text:find '^# ', name)
      assert.are.equal(0, select(2, text:gsub('```', '')) % 2, name .. ' has a fence that is not closed')
      assert.is_truthy(name == 'README.md' or index:find('(' .. name .. ')', 1, true), name .. ' is not in the index')
    end
    local function has(page, part)
      assert.is_truthy(sys.read(dir .. '/out/' .. page):find(part, 1, true), ('%s lacks %s'):format(page, part))
    end
    has('datamux.tensor.md', '## Tensor:fill(v)\n\nSets every element to v; returns self.')
    has('datamux.ops.linear.md', '## linear(x, w, b, o)')
    has('engine.md', 'dm_status dm_layernorm_fwd(')
    has('engine.md', '## Tensors and arenas')
    has('keys.md', '| `mux.n` | 20 | a whole number >= 1 | instances per row |')
  end)

  it('is refused where a comment is missing, by name', function()
    os.execute(('cp -r lua %s/lua'):format(dir))
    local path = dir .. '/lua/datamux/tensor.lua'
    local text, n = sys.read(path):gsub('%-%-%- Sets every element to v; returns self%.\n', '')
    assert.are.equal(1, n)
    sys.write(path, text)
    local code, said = make(dir .. '/lua')
    assert.are.equal(1, code)
    assert.is_truthy(said:find 'lua/datamux/tensor%.lua:%d+: Tensor:fill\n', said)
    assert.is_nil(sys.kind(dir .. '/out'))
  end)
end)
