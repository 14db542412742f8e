-- pack_spec.lua -- data sets and models in one tar file: packed, unpacked on a machine that has nothing, removed.
local lfs = require 'lfs'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local dir, here, there, tar

-- A command with the cache of one of two machines; returns exit code, stdout, stderr.
local function at(cache, words)
  return command.run(words, { env = ('DATAMUX_OFFLINE=1 DATAMUX_DATA=%s/no HF_HUB_CACHE=%s/no DATAMUX_CACHE=%s'):format(
    dir, dir, cache) })
end

local function below(folder)
  local out, p = {}, io.popen(('cd %s && find . -type f | sort'):format(folder))
  for line in p:lines() do out[#out + 1] = line end
  p:close()
  return out
end

before_each(function()
  dir = command.scratch()
  here, there, tar = dir .. '/here', dir .. '/there', dir .. '/both.tar'
  sys.mkdir(here .. '/datasets/SST-2')
  sys.mkdir(here .. '/models/owner--tiny')
  sys.write(here .. '/datasets/SST-2/dev.tsv', 'sentence\tlabel\na\t1\n')
  sys.write(here .. '/models/owner--tiny/config.json', '{"model_type":"bert"}')
  sys.write(here .. '/models/owner--tiny/model.safetensors', ('x'):rep(1000))
end)

after_each(function() sys.remove(dir) end)

describe('data pack', function()
  it('carries data sets and models to another machine', function()
    local code, out, err = at(here, 'data pack sst2 owner/tiny -O ' .. tar)
    assert.are.same({ 0, '' }, { code, err })
    assert.is_truthy(out:find(tar, 1, true))
    code, out, err = at(there, 'data unpack ' .. tar)
    assert.are.equal(0, code, err)
    assert.are.equal(('%s/datasets/SST-2\n%s/models/owner--tiny\n'):format(there, there), out)
    assert.are.same(below(here), below(there))
    for _, name in ipairs(below(here)) do
      assert.are.equal(sys.read(here .. '/' .. name), sys.read(there .. '/' .. name))
    end
    code, out = at(there, 'model ls')
    assert.is_truthy(code == 0 and out:find('owner/tiny', 1, true))
    code, out, err = at(there, 'data unpack ' .. tar)
    assert.is_truthy(code == 0 and out ~= '')
    assert.is_truthy(err:find('0 files checked and put there, 3 there before', 1, true), err)
  end)

  it('says what it cannot find, and overwrites nothing', function()
    local code, _, err = at(here, 'data pack owner/tyny -O ' .. tar)
    assert.is_truthy(code == 2 and err:find('did you mean: owner/tiny?', 1, true), err)
    local out
    code, out, err = at(here, 'data pack rte -O ' .. tar)
    assert.is_truthy(code == 3 and out == '' and err:find('no file of rte is here', 1, true), err)
    assert.is_nil(sys.kind(tar))
    sys.write(tar, 'mine')
    code, out, err = at(here, 'data pack sst2 -O ' .. tar)
    assert.is_truthy(code == 2 and out == '' and err:find('E218', 1, true), err)
    assert.are.equal('mine', sys.read(tar))
    code = at(here, ('data pack sst2 -O %s/no/folder.tar'):format(dir))
    assert.are.equal(4, code)
    assert.are.same({}, below(here .. '/tmp'))
  end)
end)

describe('data unpack', function()
  -- Unpacks an archive made by a line of bash in an empty folder; it must be refused with this number, and nothing be
  -- there after it.
  local function refused(id, part, line)
    local made, said = command.shell(('mkdir %s/evil; cd %s/evil; mkdir -p datasets/SST-2 models; echo x > '
      .. 'datasets/SST-2/dev.tsv; %s'):format(dir, dir, line:gsub('TAR', tar)))
    assert.are.equal(0, made, said)
    local code, out, err = at(there, 'data unpack ' .. tar)
    sys.remove(dir .. '/evil')
    os.remove(tar)
    assert.are.same({ tonumber(id:sub(2, 2)), '' }, { code, out }, err)
    assert.is_truthy(err:find(id, 1, true) and err:find(part, 1, true) and err:find 'fix: ', line .. '\n' .. err)
    assert.are.same({}, below(there), line)
    assert.is_nil(sys.kind(dir .. '/escaped'))
  end

  it('refuses what is none of ours, damaged, or leads out of the cache', function()
    sys.mkdir(there)
    local sums = 'sha256sum datasets/*/* > SHA256SUMS; '
    refused('E312', 'escaped', 'echo x > ../escaped; tar -Pcf TAR ../escaped; rm ../escaped')
    refused('E312', '/etc/hostname', 'tar -Pcf TAR /etc/hostname')
    refused('E312', 'leave the cache', sums .. 'mkdir x; tar --transform=s,^,datasets/../../, -Pcf TAR SHA256SUMS')
    refused('E312', 'a link', sums .. 'ln -s /etc datasets/SST-2/x; tar -cf TAR *')
    refused('E312', 'a link', sums .. 'ln datasets/SST-2/dev.tsv datasets/SST-2/y; tar -cf TAR *')
    refused('E312', 'a link', sums .. 'mkfifo datasets/SST-2/p; tar -cf TAR *')
    refused('E312', 'recipes', sums .. 'mkdir recipes; echo x > recipes/a.lua; tar -cf TAR *')
    refused('E312', 'no SHA256SUMS', 'tar -cf TAR datasets')
    refused('E312', 'not in its SHA256SUMS', sums .. 'echo x > datasets/SST-2/train.tsv; tar -cf TAR *')
    refused('E312', 'is not in it', sums .. 'echo x > datasets/SST-2/new; tar -cf TAR SHA256SUMS')
    refused('E308', 'differs', sums .. 'echo y > datasets/SST-2/dev.tsv; tar -cf TAR *')
    refused('E312', 'tar', 'echo no tar > TAR')
    refused('E312', 'tar', sums .. 'head -c 9999 /dev/zero >> datasets/SST-2/dev.tsv; tar -cf - * | head -c 3000 > TAR')
    local code, _, err = at(there, 'data unpack ' .. dir .. '/absent.tar')
    assert.is_truthy(code == 3 and err:find('E303', 1, true), err)
  end)

  it('changes nothing where another file is in the way', function()
    assert.are.equal(0, (at(here, 'data pack sst2 owner/tiny -O ' .. tar)))
    sys.mkdir(there .. '/models/owner--tiny')
    sys.write(there .. '/models/owner--tiny/config.json', 'mine')
    local code, _, err = at(there, 'data unpack ' .. tar)
    assert.is_truthy(code == 2 and err:find('fix: datamux data rm owner/tiny, then again', 1, true), err)
    assert.are.same({ './models/owner--tiny/config.json' }, below(there))
    assert.are.equal(0, (at(there, 'data rm owner/tiny')))
    assert.are.equal(0, (at(there, 'data unpack ' .. tar)))
    assert.are.same(below(here), below(there))
  end)
end)

describe('data rm', function()
  it('removes what is named, by task, folder or model', function()
    local code, out = at(here, 'data rm sst2 -n')
    assert.is_truthy(code == 0 and out:find('would go', 1, true))
    assert.are.equal(3, #below(here))
    assert.are.equal(0, (at(here, 'data rm sst2')))
    assert.are.equal(2, #below(here))
    assert.are.equal(0, (at(here, 'data rm owner/tiny')))
    assert.are.same({}, below(here))
    local again, _, err = at(here, 'data rm sst2')
    assert.is_truthy(again == 2 and err:find('E219', 1, true), err)
  end)

  it('removes what nobody used for so long, and only that', function()
    local old = os.time() - 40 * 86400
    for _, name in ipairs(below(here .. '/models')) do lfs.touch(here .. '/models/' .. name, old, old) end
    local code, out = at(here, 'data rm --unused 50d')
    assert.are.same({ 0, '' }, { code, out })
    code, out = at(here, 'data rm --unused 30d')
    assert.is_truthy(code == 0 and out:find('owner--tiny', 1, true))
    assert.are.same({ './datasets/SST-2/dev.tsv' }, below(here))
    for _, words in ipairs { 'data rm', 'data rm sst2 --unused 3d', 'data rm --unused soon' } do
      assert.are.equal(2, (at(here, words)))
    end
  end)
end)

describe('what is not here', function()
  it('says how to bring it without a network', function()
    local _, _, err = at(there, 'data head sst2')
    for _, part in ipairs { 'data pack SST-2 -O FILE.tar', 'data unpack FILE.tar' } do
      assert.is_truthy(err:find(part, 1, true), err)
    end
    _, _, err = at(there, 'data get sst2')
    assert.is_truthy(err:find('data unpack FILE.tar', 1, true), err)
    _, _, err = at(there, 'model get owner/tiny')
    assert.is_truthy(err:find('data pack owner/tiny -O model.tar', 1, true), err)
  end)
end)
