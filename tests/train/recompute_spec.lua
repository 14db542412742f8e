-- recompute_spec.lua -- layers computed again in the backward pass: the same bits from less memory.
local ffi = require 'ffi'
local host = require 'datamux.host'
local core = require 'datamux.ffi'
local recipe = require 'datamux.recipe'
local train = require 'datamux.train'
local log = require 'datamux.log'
local C = core.C

local base = {
  name = 'spec', task = 'synthetic', model = { layers = 6, width = 32, heads = 2, dropout = 0.1,
  vocab = { kind = 'words', size = 120 } }, mux = { n = 2 }, data = { length = 16, fixed = true },
  warmup = { steps = 4, rows = 4, lr = 1e-3, every = 100 }, train = { steps = 4, rows = 4, lr = 1e-3, every = 100 },
  eval = { groupings = 1 },
}

local function session(...)
  local config = recipe.resolve(base, { overrides = { ... } })
  return train.new(config, { log = log.new { mode = 'none' } })
end

local function bits(t) return ffi.string(t:host(), t:bytes()) end

-- Gradients and weights after each of three steps of a stage.
local function history(stage, ...)
  local s, out = session(...), {}
  for step = 1, 3 do
    s:step(s.stages[stage], step)
    out[#out + 1] = bits(s.model.block.g) .. bits(s.model.block.p)
  end
  return out
end

describe('recomputing', function()
  it('gives the gradients of layers that are kept, bit for bit, with dropout', function()
    for _, o in ipairs { {}, { 'demux.kind=index', 'demux.read=cls', 'train.alpha=0' }, { 'train.accumulate=2' },
                         { 'model.kind=plain', 'mux.n=1', 'demux.read=cls', 'warmup.steps=0' } } do
      local kept, again = { unpack(o) }, { unpack(o) }
      kept[#kept + 1], again[#again + 1] = 'train.recompute=false', 'train.recompute=true'
      for stage = 1, o[1] == 'model.kind=plain' and 1 or 2 do
        local a, b = history(stage, unpack(kept)), history(stage, unpack(again))
        for step = 1, 3 do
          assert.is_true(a[step] == b[step],
            ('%s: stage %d differs at step %d'):format(table.concat(o, ' '), stage, step))
        end
      end
    end
  end)

  it('takes less memory', function()
    local function peak(word)
      local p = assert(io.popen(([[%s -e "local r = require 'datamux.recipe'.resolve({ task = 'synthetic', model = {
        layers = 8, width = 64, heads = 2, vocab = { size = 120 } }, mux = { n = 2 },
        data = { length = 32, fixed = true }, warmup = { steps = 1 }, train = { rows = 32 } },
        { overrides = { 'train.recompute=%s' } })
        local s = require 'datamux.train'.new(r, { log = require 'datamux.log'.new { mode = 'none' } })
        s:step(s.stages[2], 1) s:step(s.stages[2], 2)
        print(require 'datamux'.memory().peak)"]]):format(host.exe(), word)))
      local n = tonumber(p:read '*a')
      p:close()
      return n
    end
    local kept, again = peak 'false', peak 'true'
    assert.is_true(again < 0.5 * kept, ('%.1f MiB kept, %.1f MiB computed again'):format(kept / 2 ^ 20, again / 2 ^ 20))
  end)

  it('survives a refusal of each allocation, with no gradient left behind', function()
    local clean, hurt = session('train.recompute=true'), session('train.recompute=true')
    local n = 0
    repeat
      n = n + 1
      hurt.at.global = 0
      C.dm_arena_fail_every(n)
      local ok = pcall(hurt.step, hurt, hurt.stages[2], 1)
      C.dm_arena_fail_every(0)
    until ok
    assert.is_true(n > 50, n .. ' allocations')
    clean:step(clean.stages[2], 1)
    assert.is_true(bits(clean.model.block.p) == bits(hurt.model.block.p))
  end)

  it('is refused for images', function()
    local ok, e = pcall(recipe.resolve, { task = 'mnist', model = { kind = 'mlp' }, train = { recompute = true } }, {})
    assert.is_false(ok)
    assert.is_truthy(tostring(e):find 'train.recompute is true with images')
  end)
end)
