-- cuda_emulation_spec.lua -- the emulator finds what it is there to find: planted faults fail, sound kernels pass.
local host = require 'datamux.host'

local program = host.exe():gsub('[^/]+$', '') .. 'emulation/planted'

-- What the program says of a case under one order of threads.
local function said(case, seed)
  local p = assert(io.popen(('DATAMUX_EMULATION_SEED=%d %s %s 2>&1'):format(seed, program, case)))
  local text = p:read '*a'
  p:close()
  return (text:gsub('%s+$', ''))
end

local function finds(case, pattern)
  for seed = 1, 5 do
    local text = said(case, seed)
    assert.is_truthy(text:find(pattern), ('seed %d: "%s"'):format(seed, text))
  end
end

describe('the emulation of CUDA', function()
  it('passes sound kernels', function()
    finds('sound', '^right$')
    finds('sound-warp', '^right$')
    finds('sound-copies', '^right$')
  end)

  it('computes the product of the tensor cores', function() finds('tensor-cores', '^right$') end)

  it('finds a missing barrier', function() finds('no-barrier', 'wrong value') end)
  it('finds a missing barrier within a warp', function() finds('no-warp-barrier', 'wrong value') end)
  it('finds a copy that is not waited for', function() finds('no-wait', 'wrong value') end)
  it('finds a copy that other threads do not wait for', function() finds('no-wait-barrier', 'wrong value') end)
  it('finds a copy to what others still read', function() finds('early-copy', 'wrong value') end)
  it('finds a copy between unaligned addresses', function() finds('unaligned-copy', 'no multiples') end)
  it('finds one row too many', function() finds('last-row', 'outside of') end)
  it('finds one column too many', function() finds('last-column', 'outside of') end)
  it('finds an element that was not written', function() finds('unwritten', 'wrong value') end)
  it('finds a read past the end', function() finds('reads-past', 'wrong value') end)
  it('finds a write to an input', function() finds('writes-input', 'a write to the input tensor 2 %[5, 67%]') end)
  it('finds a write past a shared array', function() finds('shared-past', 'outside of a shared array') end)
  it('finds a warp function that a lane does not reach', function()
    finds('lanes-missing', 'lane 3 of warp 0, which has left')
  end)
  it('finds a barrier that some threads miss', function() finds('barrier-missed', 'threads wait at a barrier') end)
end)
