-- hub_spec.lua -- models by name: from a hub on this machine into the cache, broken off, gone on with, removed.
local cjson = require 'cjson'
local dm = require 'datamux'
local hub = require 'datamux.hub'
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

local GOLDEN = 'tests/golden/import/'

-- A server that answers ranges and writes each request's path and range to `log`.
local SERVER = [[
import http.server, os, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        path = self.translate_path(self.path)
        span = self.headers.get('Range')
        with open('log', 'a') as log:
            log.write(self.path + ' ' + str(span) + ' ' + str(self.headers.get('Authorization')) + '\n')
        if not os.path.isfile(path):
            return self.send_error(404)
        data = open(path, 'rb').read()
        start = int(span[6:].rstrip('-')) if span else 0
        if span and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if span else 200)
        if span:
            self.send_header('Content-Range', 'bytes %d-%d/%d' % (start, len(data) - 1, len(data)))
        self.send_header('Content-Length', str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:])
    def log_message(self, *args):
        pass
s = http.server.HTTPServer(('127.0.0.1', 0), Handler)
open('port', 'w').write(str(s.server_port))
s.serve_forever()
]]

local COMMIT = ('0123456789'):rep(4)

local dir, pid, env, port

-- A hub with one model, owner/tiny, in a new folder.
local function serve(change)
  dir = command.scratch()
  local site = dir .. '/site'
  local files = site .. '/owner/tiny/resolve/' .. COMMIT
  sys.mkdir(files)
  sys.mkdir(site .. '/api/models/owner/tiny/revision')
  local siblings = {}
  for _, name in ipairs(sys.list(GOLDEN .. 'bert_sequence')) do
    local bytes = sys.read(GOLDEN .. 'bert_sequence/' .. name)
    sys.write(files .. '/' .. name, bytes)
    siblings[#siblings + 1] = { rfilename = name, size = #bytes,
                                lfs = name == 'model.safetensors' and { sha256 = sys.sha256(bytes) } or nil }
  end
  local description = { sha = COMMIT, siblings = siblings }
  if change then change(description) end
  sys.write(site .. '/api/models/owner/tiny/revision/main', cjson.encode(description))
  sys.write(site .. '/server.py', SERVER)
  local f = io.popen(('cd %s && python3 server.py > /dev/null 2>&1 & echo $!'):format(site))
  pid = f:read '*l'
  f:close()
  for _ = 1, 200 do
    port = sys.read(site .. '/port')
    if port and port ~= '' then break end
    os.execute 'sleep 0.05'
  end
  env = { env = ('HF_ENDPOINT=http://127.0.0.1:%s DATAMUX_CACHE=%s/cache HF_HUB_CACHE=%s/hub DATAMUX_OFFLINE=0 '
    .. 'no_proxy=127.0.0.1'):format(port, dir, dir) }
end

after_each(function()
  if pid then os.execute('kill ' .. pid .. ' 2> /dev/null') end
  if dir then sys.remove(dir) end
  pid, dir = nil, nil
end)

local function without_python()
  return os.execute 'command -v python3 > /dev/null' ~= 0
end

local function log() return sys.read(dir .. '/site/log') or '' end

describe('a model of the hub', function()
  it('comes into the cache whole and checked, and is used by its name', function()
    if without_python() then return pending 'needs python3 for a local server' end
    serve()
    local code, out, err = command.run('model get owner/tiny', { env = env.env .. ' HF_TOKEN=secret' })
    assert.are.equal(0, code, err)
    local folder = dir .. '/cache/models/owner--tiny'
    assert.are.equal(folder .. '\n', out)
    assert.is_truthy(err:find(sys.sha256_file(GOLDEN .. 'bert_sequence/model.safetensors') .. '  model.safetensors', 1,
      true))
    assert.are.same({ 'SHA256SUMS', 'config.json', 'model.safetensors', 'source.json', 'tokenizer_config.json',
      'vocab.txt' }, sys.list(folder))
    assert.is_truthy(log():find('Bearer secret', 1, true))
    assert.is_nil((sys.read(folder .. '/source.json') .. err):find('secret', 1, true))
    local input = 'a fine film\n'
    local _, by_name = command.run('predict owner/tiny', { env = env.env, input = input })
    local _, by_path = command.run('predict ' .. GOLDEN .. 'bert_sequence', { input = input })
    assert.are.equal(by_path, by_name)
    code, out = command.run('model ls --json', env)
    assert.are.equal(0, code)
    local list = cjson.decode(out)
    assert.are.same({ 1, 'owner/tiny', COMMIT, true }, { #list, list[1].name, list[1].commit, list[1].complete })
    _, out = command.run('model ls', env)
    assert.is_truthy(out:find 'owner/tiny +bert, N = 1')
    assert.are.equal(0, (command.run('model rm owner/tiny', env)))
    assert.is_nil(sys.kind(folder))
    code, _, err = command.run('model rm owner/tiny', env)
    assert.are.equal(7, code)
    assert.is_truthy(err:find('no model', 1, true))
  end)

  it('goes on where a download was broken off', function()
    if without_python() then return pending 'needs python3 for a local server' end
    serve()
    local part = dir .. '/cache/models/owner--tiny.part'
    local bytes = sys.read(GOLDEN .. 'bert_sequence/model.safetensors')
    sys.mkdir(part)
    sys.write(part .. '/commit', COMMIT)
    sys.write(part .. '/config.json', sys.read(GOLDEN .. 'bert_sequence/config.json'))
    sys.write(part .. '/model.safetensors.part', bytes:sub(1, 4000))
    local code, _, err = command.run('model get owner/tiny', env)
    assert.are.equal(0, code, err)
    assert.is_truthy(log():find('model.safetensors bytes=4000-', 1, true))
    assert.is_nil(log():find('/config.json', 1, true))
    assert.are.equal(bytes, sys.read(dir .. '/cache/models/owner--tiny/model.safetensors'))
    assert.is_nil(sys.kind(part))
  end)

  it('with other bytes than were promised is refused, and not kept', function()
    if without_python() then return pending 'needs python3 for a local server' end
    serve(function(d)
      for _, s in ipairs(d.siblings) do
        if s.lfs then s.lfs.sha256 = ('0'):rep(64) end
      end
    end)
    local code, _, err = command.run('model get owner/tiny', env)
    assert.are.equal(3, code)
    assert.is_truthy(err:find('E308', 1, true))
    assert.is_nil(sys.kind(dir .. '/cache/models/owner--tiny'))
    assert.is_nil(sys.kind(dir .. '/cache/models/owner--tiny.part/model.safetensors'))
    local sum = sys.sha256_file(GOLDEN .. 'bert_sequence/model.safetensors')
    assert.are.equal(0, (command.run('model get owner/tiny --sha256 ' .. sum, env)))
  end)

  it('that is not there, or cannot be had now, is refused with a way out', function()
    if without_python() then return pending 'needs python3 for a local server' end
    serve(function(d) d.siblings[1].rfilename = 'other.json' end)
    local cases = {
      { 8, 'there is no such model, revision or file', 'model get owner/none', env.env },
      { 8, 'there is no such model, revision or file', 'model get owner/tiny@old', env.env },
      { 8, 'it has no config.json', 'model get owner/tiny', env.env },
      { 8, 'the network is off', 'model get owner/tiny --offline', env.env },
      { 8, 'datamux model get owner/tiny', 'model get owner/tiny', env.env .. ' HF_ENDPOINT=http://127.0.0.1:1' },
      { 2, 'is no name of a model', 'model get ../x', env.env },
      { 7, 'datamux model get owner/tiny', 'predict owner/tiny', env.env },
    }
    for _, c in ipairs(cases) do
      local code, out, err = command.run(c[3], { env = c[4], input = 'x\n' })
      assert.are.same({ c[1], '' }, { code, out }, err)
      assert.is_truthy(err:find(c[2], 1, true), err)
      assert.is_nil(err:find('traceback', 1, true))
    end
    assert.are.same({}, sys.list(dir .. '/cache/models'))
    assert.are.same({}, sys.list(dir .. '/cache/tmp'))
  end)

  it('is found in the hub\'s own cache', function()
    dir = command.scratch()
    local home = dir .. '/hub/models--owner--tiny'
    sys.mkdir(home .. '/refs')
    sys.mkdir(home .. '/snapshots')
    sys.write(home .. '/refs/main', COMMIT)
    sys.link(require('lfs').currentdir() .. '/' .. GOLDEN .. 'bert_sequence', home .. '/snapshots/' .. COMMIT)
    local code, out = command.run('model info owner/tiny',
      { env = ('DATAMUX_CACHE=%s/c HF_HUB_CACHE=%s/hub'):format(dir, dir) })
    assert.are.equal(0, code)
    assert.is_truthy(out:find('3 classes', 1, true))
    assert.is_true(hub.is_name 'roberta-base')
    assert.is_false(hub.is_name 'runs/a/b')
    assert.is_false(hub.is_name '../x')
  end)
end)

describe('a model in int8', function()
  it('is written once, opened without packing, and scores within half a point', function()
    dir = command.scratch()
    local recipe = require 'datamux.recipe'
    local config = recipe.resolve({ name = 'int8', task = 'synthetic', mux = { n = 1 }, data = { length = 24 },
      model = { kind = 'plain', layers = 2, width = 64, heads = 2, vocab = { size = 500 } },
      train = { steps = 300, rows = 64, lr = 1e-3, every = 1000 }, eval = { groupings = 1, bootstrap = 0 } }, {})
    local run = dir .. '/run'
    sys.mkdir(run)
    sys.write(run .. '/.datamux-run', 'datamux\n')
    local session = require('datamux.train').new(config, { run = run, log = require('datamux.log').new {
      mode = 'none' } })
    session:run()
    local code, out, err = command.run('model quantize ' .. run)
    assert.are.equal(0, code, err)
    assert.are.equal(run .. '/model-int8\n', out)
    local f32, int8, flagged = dm.load(run), dm.load(run .. '/model-int8'), dm.load(run, { int8 = true })
    assert.are.same({ 'f32', 'int8', 'int8' }, { f32.dtype, int8.dtype, flagged.dtype })
    assert.are.equal(f32.model:count(), int8.model:count())
    local tensors = require('datamux.safetensors').open(run .. '/model-int8/model.safetensors').tensors
    assert.is_nil(tensors['encoder.layer.0.attention.qkv.weight'])
    assert.are.equal('I32', tensors['encoder.layer.0.attention.qkv.packed'].dtype)
    local before = dm.memory().live
    assert.are.equal('int8', dm.load(run .. '/model-int8').dtype)
    assert.are.equal(before, dm.memory().live)                      -- nothing was made: the file is mapped
    local set = require('datamux.score_set').open(f32, 'dev', {})
    local saved = require 'datamux.saved'
    local function score(m) return dm.evaluate.score(m.model, set, saved.options(m), 1).accuracy end
    local exact, packed = score(f32), score(int8)
    assert.is_true(exact > 0.8, 'the net learned nothing: ' .. exact)
    assert.is_true(math.abs(exact - packed) <= 0.005, ('%.4f in f32, %.4f in int8'):format(exact, packed))
    assert.are.equal(packed, score(flagged))
    local input = { input = 'the soup was good\nthe film was bad\n' }
    local _, a = command.run('predict ' .. run .. '/model-int8', input)
    local _, b = command.run('predict --int8 ' .. run, input)
    assert.are.equal(a, b)
    code, out = command.run(('bench --int8 %s --vs %s --texts 200 --repeats 1'):format(run, run))
    assert.are.equal(0, code)
    assert.is_truthy(out:find 'int8' and out:find 'f32')
  end)

  it('is refused where there is no encoder', function()
    local m = dm.models.Mlp.new { n = 2, height = 20, width = 20, classes = 10, mux = 'hadamard' }
    local ok, e = pcall(dm.infer.int8, m)
    assert.is_false(ok)
    assert.are.equal('E215', e.id)
  end)
end)
