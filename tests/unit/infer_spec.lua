-- infer_spec.lua -- a finished model whose weights lie in their file: the answers of the model that was trained.
local ffi = require 'ffi'
local h = require 'tests.helper'
local dm = require 'datamux'
local safetensors = require 'datamux.safetensors'

local N, B, S = 3, 2, 5

local function model(o)
  return dm.models.TMux.new {
    vocab = { size = 23, pad = 0 }, layers = 2, width = 16, heads = 2, inner = 32, dropout = 0.1, positions = 16,
    eps = 1e-5, init = 0.2, classes = 3, n = N, norm = 4, reduce = 'mean', skip = true, demux = o.demux or 'index',
    key = 'mux', rank = o.rank or 0, read = o.read or 'cls', retrieval = 'separate', tied = false, mask = 'or' }
end

local function batch()
  local b = { B = B, N = N, S = S, n = B * N, ids_host = ffi.new('int32_t[?]', B * N * S),
              length = ffi.new('int32_t[?]', B * N), label = ffi.new('int32_t[?]', B * N) }
  for r = 0, B * N - 1 do
    b.length[r] = S - r % 2
    for s = 0, b.length[r] - 1 do b.ids_host[r * S + s] = 1 + (5 * r + 3 * s) % 22 end
  end
  return b
end

local function logits(m, retrieval)
  return dm.step(function()
    local q = m:prepare(batch(), { seed = 1, step = 1, task = true, retrieval = retrieval })
    return m:forward(q).logits:totable()
  end)
end

describe('a model in its file', function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it('answers as the model that was trained, by every read-out', function()
    for _, o in ipairs { { read = 'cls' }, { read = 'first' }, { read = 'mean' },
                         { read = 'pool', demux = 'unbind' } } do
      local trained = dm.nn.Module.build(model(o), 7)
      trained:train(false)
      safetensors.write(path, trained:named())
      local mapped = dm.infer.map(model(o), safetensors.open(path))
      h.close(logits(mapped), logits(trained, 1), 1e-5)
      assert.are.equal(trained:count(), mapped:count())
    end
  end)

  it('takes no memory for its weights, and keeps the file open', function()
    safetensors.write(path, dm.nn.Module.build(model {}, 7):named())
    collectgarbage()
    collectgarbage()
    local before = dm.memory().live
    local mapped = dm.infer.map(model {}, safetensors.open(path))
    assert.are.equal(before, dm.memory().live)
    local first = logits(mapped)
    os.remove(path)
    collectgarbage()
    collectgarbage()
    assert.are.same(first, logits(mapped))
  end)

  it('stays apart from the file when it is written to', function()
    safetensors.write(path, dm.nn.Module.build(model {}, 7):named())
    local mapped = dm.infer.map(model {}, safetensors.open(path))
    mapped.decoder_bias:fill(3)
    local entry = safetensors.open(path).tensors.decoder_bias
    assert.are.equal(3, mapped.decoder_bias:totable()[1])
    assert.are.equal(0, h.values(entry)[1])
  end)

  it('is refused where the file holds other tensors', function()
    safetensors.write(path, dm.nn.Module.build(model { read = 'pool', demux = 'unbind' }, 7):named())
    assert.is_nil(dm.infer.map(model {}, safetensors.open(path)))
  end)
end)

describe('a model in int8', function()
  local forms = { {}, { demux = 'unbind', read = 'pool' }, { demux = 'unbind', read = 'pool', rank = 6 } }

  it('answers nearly as in f32, and takes no gradient', function()
    for _, o in ipairs(forms) do
      local m = dm.nn.Module.build(model(o), 7)
      m:train(false)
      local f32 = logits(m)
      dm.infer.int8(m)
      local int8, most, off = logits(m), 0, 0
      for i = 1, #f32 do
        most, off = math.max(most, math.abs(f32[i])), math.max(off, math.abs(f32[i] - int8[i]))
      end
      assert.is_true(off > 0 and off < most / 10, ('off by %g of %g'):format(off, most))
      h.refuses(function()
        dm.step(function()
          local q = m:prepare(batch(), { seed = 1, step = 1, task = true })
          dm.tape.recording(function() return m:forward(q).task end)
        end)
      end, 'linear: its weights are int8')
    end
  end)

  it('answers the same from its own file', function()
    for _, o in ipairs(forms) do
      local path = os.tmpname()
      local m = dm.infer.int8(dm.nn.Module.build(model(o), 7):train(false))
      safetensors.write(path, dm.infer.int8_tensors(m))
      local mapped = dm.infer.map(dm.infer.int8_declare(model(o)), safetensors.open(path))
      os.remove(path)
      assert.are.same(logits(m), logits(mapped))
      assert.are.equal(m:count(), mapped:count())
      assert.is_nil(mapped:named()['demultiplexer.unbind'])
    end
  end)
end)
