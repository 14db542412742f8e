-- gpu_script_spec.lua -- tests/gpu.sh without a card: what it would run, what it refuses.
local function said(words)
  local file = os.tmpname()
  local status = os.execute(('sh tests/gpu.sh %s > %s 2>&1'):format(words, file))
  local f = assert(io.open(file))
  local text = f:read '*a'
  f:close()
  os.remove(file)
  return text, status / 256
end

describe('tests/gpu.sh', function()
  it('is a shell script, as is its packer', function()
    assert.are.equal(0, os.execute 'sh -n tests/gpu.sh && sh -n tests/gpu_pack.sh')
  end)

  it('says what it would run, in order, with times that leave room, and writes nothing', function()
    local text, code = said '--dry-run --packed deps.tar.gz --out results-of-a-dry-run --build build-of-a-dry-run'
    assert.are.equal(0, code)
    local names, longest = {}, 0
    for name, seconds in text:gmatch '([^\n]-) %((%d+) s%): ' do
      names[#names + 1] = name
      longest = math.max(longest, tonumber(seconds))
    end
    assert.are.equal('configure build ops recorded training bench memcheck racecheck', table.concat(names, ' '))
    assert.is_true(longest <= 200)
    assert.is_truthy(text:find('--tool racecheck --error-exitcode 99 build-of-a-dry-run/datamux', 1, true))
    assert.is_truthy(text:find('build-of-a-dry-run/deps/usr/bin/busted', 1, true))
    assert.is_nil(io.open 'results-of-a-dry-run')
    assert.is_nil(io.open 'build-of-a-dry-run')
    for path in text:gmatch '%f[%w]tests/[%w_/]+%.lua' do
      assert.is_truthy(io.open(path), path .. ' is not there')
    end
  end)

  it('refuses what is no option, and a machine without a card', function()
    local text, code = said '--fast'
    assert.are.equal(2, code)
    assert.is_truthy(text:find("gpu.sh: '--fast' is no option, expected --dry-run, --packed FILE, --out DIR", 1, true))
    assert.are.equal(2, select(2, said '--out'))
    if os.execute 'command -v nvidia-smi > /dev/null' == 0 then return end
    text, code = said ''
    assert.are.same({ 'gpu.sh: no card here: nvidia-smi names none\n', 4 }, { text, code })
  end)
end)
