-- checkpoint_spec.lua -- step folders: whole or passed over, kept in the order of their steps, restated without a gap.
local cjson = require 'cjson'
local dm = require 'datamux'
local checkpoint = require 'datamux.checkpoint'
local sums = require 'datamux.sums'
local sys = require 'datamux.sys'

local run, notes

local function parts(value, reason, keep)
  return { model = { w = dm.zeros(3):fill(value) }, optimiser = { m = dm.zeros(3) }, state = { value = value },
           reason = reason, keep = keep or 0 }
end

local function path(step, file) return ('%s/checkpoints/step-%06d/%s'):format(run, step, file) end

local function damage(step)
  local f = assert(io.open(path(step, 'model.safetensors'), 'r+b'))
  f:seek('end', -1)
  f:write '\255'
  f:close()
end

local function note(text) notes[#notes + 1] = text end

before_each(function()
  run, notes = os.tmpname(), {}
  os.remove(run)
end)
after_each(function() sys.remove(run) end)

describe('a checkpoint', function()
  it('that is damaged is passed over, and written anew when its step is saved again', function()
    checkpoint.save(run, 10, parts(1, 'best'))
    checkpoint.save(run, 20, parts(2, 'end'))
    damage(20)
    assert.are.equal(1, checkpoint.load(run, note).state.value)
    assert.is_truthy(notes[1]:find('step-000020 is broken (model.safetensors: its checksum', 1, true), notes[1])
    checkpoint.save(run, 20, parts(2, 'end'))
    assert.are.equal(2, checkpoint.load(run, note).state.value)
    assert.are.equal(1, #notes)
  end)

  it('that was the best and is damaged says so', function()
    checkpoint.save(run, 10, parts(1, 'best'))
    assert.are.equal(1, checkpoint.load_best(run).state.value)
    damage(10)
    local best, why = checkpoint.load_best(run)
    assert.is_nil(best)
    assert.is_truthy(why:find('step-000010 is broken', 1, true), why)
  end)

  it('comes after those of fewer steps, also beyond a million', function()
    checkpoint.save(run, 5, parts(5, 'best', 1))
    for _, step in ipairs { 999999, 1000005, 1000010 } do checkpoint.save(run, step, parts(step, 'time', 1)) end
    assert.are.equal(1000010, checkpoint.load(run).state.value)
    local kept = sys.list(run .. '/checkpoints')
    table.sort(kept)
    assert.are.same({ 'best', 'last', 'step-000005', 'step-1000005', 'step-1000010' }, kept)
  end)

  it('has its state replaced without being broken in between', function()
    checkpoint.save(run, 10, parts(1, 'best'))
    local write, states = sys.write, {}
    function sys.write(to, text)                                 -- as if killed before this file, and the next
      states[#states + 1] = checkpoint.load(run).state.value
      write(to, text)
    end
    local ok, why = pcall(checkpoint.save, run, 10, parts(2, 'end'))
    sys.write = write
    assert(ok, why)
    assert.are.same({ 1, 1, 2 }, states)
    assert.are.equal(2, checkpoint.load(run).state.value)
    assert.are.equal(3, #sums.read(run .. '/checkpoints/step-000010'))
  end)

  it('without its state, or without a sum of its weights, is broken', function()
    for _, spoil in ipairs { function() os.remove(path(10, 'state.json')) end,
                             function() sys.write(path(10, 'SHA256SUMS'), '') end,
                             function() os.remove(path(10, 'SHA256SUMS')) end } do
      checkpoint.save(run, 10, parts(1, 'best'))
      spoil()
      local ok, e = pcall(checkpoint.load, run)
      assert.are.same({ false, 'E701' }, { ok, e.id })
    end
  end)

  it('holds JSON that other programs read', function()
    checkpoint.save(run, 10, parts(1, 'best'))
    assert.are.same({ value = 1 }, cjson.decode(sys.read(path(10, 'state.json'))))
  end)
end)
