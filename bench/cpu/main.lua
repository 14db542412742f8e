-- main.lua -- the CPU bench: our programme and its peers, alternating, as medians with their ratios.
--   bench/cpu/run [mode=train,infer,gain,grid] [size=large,small] [precision=f32,bf16,int8] [threads=0] [rounds=3]
--                 [steps=6] [peers=eager,compiled,onnx,eager-bf16,compiled-bf16,onnx-int8] [limit=900]
--                 [rows=1,4,16,64,256,1024] [n=1,5,20,40] [length=32,64,128] [quick=1] [json=FILE]
-- large: 12 x 768, N = 20, 64 tokens, 4 rows, 50,265 words; small: 4 x 256, N = 20, 20 tokens, 8 rows, 8,000 words.
-- train, infer: at each precision ours beside the peers that compute in it, the best of them and the floor; in training
-- the largest resident memory of each process. Several numbers of threads: a table for each, then the ratios of each
-- program's times; grid, gain and rows take the first. int8: inference alone; bf16: where the processor has it.
-- gain: texts/s of networks with N = 20 and 40 at 128 tokens against our own plain network at its best batch, and the
-- limit N L / (L + prefix). grid: training step and forward pass at every n and length, beside the first of the peers
-- of that precision. rows: a forward pass at these numbers of rows (none: rows=; it alone: mode=). quick: the small
-- size, f32, one round, PyTorch alone. limit: seconds that torch.compile may take (12 x 768 takes a quiet Zen 4 core 20
-- in inference and 30 in training); PyTorch keeps what it made, so that later rounds do not compile again.
-- Without words the bench takes 27 minutes on two Zen 4 cores, a third of it for the large size's rows up to 1,024.
-- Each program prints wall and processor time of a step (ours.lua, peer.py); the ratios are taken of both, because on a
-- shared machine wall time is the neighbours' as well. Processor time compares fairly at threads=1 alone: with more,
-- PyTorch's waiting threads spin for long, ours shortly. The floor is measured beside ours: see ours.lua. Where the
-- time goes, op by op: DATAMUX_PROFILE=1 build/datamux bench/cpu/ours.lua.
package.path = 'bench/?.lua;' .. package.path
local ffi = require 'ffi'
local scope = require 'datamux.scope'
local C = require('datamux.ffi').C
local programs = require 'programs'
local measure = require 'cpu.measure'
local compare = require 'cpu.compare'
local curves = require 'cpu.curves'
local list, has = programs.list, programs.has

local o = programs.options(arg, { mode = 'train,infer', size = 'large,small', precision = 'f32,bf16,int8',
  threads = '0', rounds = 3, steps = 6, limit = 900, quick = 0,
  peers = measure.forms, rows = '1,4,16,64,256,1024', n = '1,5,20,40',
  length = '32,64,128', json = '' })
if o.quick == 1 then o.size, o.precision, o.rounds, o.peers, o.rows = 'small', 'f32', 1, 'eager', '' end

-- '0' as the number of threads that the engine takes of itself.
local threads = {}
for k, word in ipairs(list(o.threads)) do
  threads[k] = tonumber(word) or error(("bench: threads names '%s', expected numbers"):format(word), 0)
  if threads[k] == 0 then threads[k] = C.dm_threads() end
end
o.threads = threads

o.lacks_bf16 = C.dm_device_computes(scope.device 'cpu', C.DM_BF16) ~= 0
if o.lacks_bf16 and has(o.precision, 'bf16') then
  print(('bf16 is left out: %s\n'):format(ffi.string(C.dm_last_error())))
end

local results = {}
local function add(t) results[#results + 1] = t end
for _, name in ipairs(list(o.size)) do
  if not measure.sizes[name] then error(("bench: size is '%s', expected large or small"):format(name), 0) end
  for _, mode in ipairs { 'train', 'infer' } do
    if has(o.mode, mode) then
      for _, t in ipairs(compare(o, mode, name)) do add(t) end
    end
    if has(o.mode, 'grid') then
      for _, p in ipairs(measure.precisions(o.precision, mode, o.lacks_bf16)) do add(curves.grid(o, mode, name, p)) end
    end
  end
  if has(o.mode, 'gain') then
    for _, p in ipairs(measure.precisions(o.precision, 'infer', o.lacks_bf16)) do add(curves.gain(o, name, p)) end
  end
  if o.rows ~= '' then add(curves.growth(o, name)) end
end
programs.save(o.json, results)
