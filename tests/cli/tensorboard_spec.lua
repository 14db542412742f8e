-- tensorboard_spec.lua -- event files equal to those of TensorBoard's own library, and metrics read once.
local cjson = require 'cjson'
local sys = require 'datamux.sys'
local journal = require 'datamux.journal'
local tensorboard = require 'datamux.tensorboard'
local command = require 'tests.cli.command'

local function hex(s) return (s:gsub('.', function(c) return ('%02x'):format(c:byte()) end)) end

describe('an event file', function()
  local golden = cjson.decode(sys.read 'tests/golden/tensorboard.json')

  it('has the checksum of RFC 3720', function()
    assert.are.equal(0x8a9136aa, tensorboard.crc32c(('\0'):rep(32)))
    assert.are.equal(0xe3069283, tensorboard.crc32c '123456789')
  end)

  it('has the bytes of TensorBoard\'s own writer', function()
    assert.are.equal(golden.version.record, hex(tensorboard.record(tensorboard.version(golden.version.time))))
    assert.is_true(#golden.cases >= 4)
    for _, c in ipairs(golden.cases) do
      assert.are.equal(c.record, hex(tensorboard.record(tensorboard.scalars(c.time, c.step, c.values))))
    end
  end)
end)

describe('metrics.jsonl', function()
  local text = table.concat({
    '{"t":1,"kind":"event","event":"stage","stage":"warmup","steps":4,"from_step":0}',
    '{"t":2,"kind":"train","stage":"warmup","step":4,"loss":3}',
    '{"t":3,"kind":"event","event":"stage","stage":"train","steps":9,"from_step":0}',
    '{"t":4,"kind":"train","stage":"train","step":1,"loss":2}',
    '{"t":5,"kind":"train","stage":"train","step":5,"loss":1}',
    '{"t":6,"kind":"train","stage":"trai',                                  -- killed here
    '{"t":7,"kind":"event","event":"resume","stage":"train","steps":9,"from_step":3}',
    '{"t":8,"kind":"train","stage":"train","step":5,"loss":0.5}',
    '{"t":9,"kind":"eval","stage":"train","step":5,"accuracy":0.75,"best":true,"loss":null}',
  }, '\n') .. '\n'

  it('gives each step once, the later one, and passes over torn lines', function()
    local seen = {}
    for _, r in ipairs(journal.clean(text)) do
      if r.kind == 'train' then seen[#seen + 1] = ('%s %d %g'):format(r.stage, r.step, r.loss) end
    end
    assert.are.same({ 'warmup 4 3', 'train 1 2', 'train 5 0.5' }, seen)
  end)

  it('counts a stage that began again, and those after it, anew', function()
    local again = text .. '{"t":10,"kind":"event","event":"resume","stage":"warmup","steps":4,"from_step":2}\n'
    for _, r in ipairs(journal.clean(again)) do assert.are_not.equal('train', r.kind) end
  end)

  it('becomes CSV with a column for each name', function()
    local csv = journal.csv(journal.clean(text))
    assert.are.equal('event,from_step,kind,stage,steps,t,loss,step,accuracy,best', csv:match '^[^\n]+')
    assert.is_truthy(csv:find(',,eval,train,,9,,5,0.75,true\n', 1, true))
    assert.are.equal(8, select(2, csv:gsub('\n', '')))
    assert.are.equal('a\n"x,""y"""\n', journal.csv { { a = 'x,"y"' } })
  end)

  it('becomes events by stage', function()
    assert.are.same({ ['train/eval/accuracy'] = 0.75 },
      tensorboard.of { t = 9, kind = 'eval', stage = 'train', step = 5, accuracy = 0.75, best = true })
    assert.is_nil(tensorboard.of { kind = 'event', step = 1 })
    local dir = command.scratch()
    sys.write(dir .. '/metrics.jsonl', text)
    local w = tensorboard.of_run(dir)
    w:close()
    local first = #sys.read(w.path)
    tensorboard.of_run(dir):close()                                          -- made anew, not added to
    assert.are.equal(1, #sys.list(dir .. '/tb'))
    assert.is_true(first > 200)
    sys.remove(dir)
  end)
end)
