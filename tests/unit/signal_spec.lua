-- signal_spec.lua -- signals that arrive while the engine computes.
local sys = require 'datamux.sys'
local command = require 'tests.cli.command'

-- Fills the heap with blocks of a pattern, then computes products while the profiler's timer sends signals; the size of
-- the heap moves by a block each time, so that some block lies right below what the product takes. Sums of 256 terms:
-- oneDNN's kernels differ with their number.
local script = [[
  jit.off()                    -- compiled, the loop below would not see what the timer's function counts
  local ffi = require 'ffi'
  local dm = require 'datamux'
  local C = require('datamux.ffi').C
  ffi.cdef 'void *malloc(size_t n);'
  local SIZE, PATTERN = 1000, 0x5a
  local blocks, signals, changed = {}, 0, 0
  local function add()
    local p = ffi.cast('uint8_t *', ffi.C.malloc(SIZE))
    ffi.fill(p, SIZE, PATTERN)
    blocks[#blocks + 1] = p
  end
  for _ = 1, 200 do add() end
  local a, b, y = dm.randn(64, 256), dm.randn(256, 256), dm.zeros(64, 256)
  require('jit.profile').start('i1', function(_, samples) signals = signals + samples end)
  for k = 1, 6 do
    add()
    local limit = C.dm_clock() + 10
    while signals < 15 * k and C.dm_clock() < limit do C.dm_matmul_fwd(y.c, a.c, b.c, 0, 0) end
    for _, p in ipairs(blocks) do
      for i = 0, SIZE - 1 do changed = changed + (p[i] == PATTERN and 0 or 1) end
    end
  end
  print(signals >= 90, changed)
]]

describe('a signal during a product', function()
  it('leaves the heap as it was', function()
    local dir = command.scratch()
    sys.write(dir .. '/script', script)
    local code, out, err = command.run(dir .. '/script', { env = 'DATAMUX_DEVICE=cpu' })
    sys.remove(dir)
    assert.are.same({ 0, 'true\t0\n' }, { code, out }, err)
  end)
end)
