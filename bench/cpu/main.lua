-- main.lua -- the CPU bench: our programme and its peers, alternating, as medians with their ratios.
--   bench/cpu/run [mode=train,infer] [size=large,small] [rounds=3] [steps=6] [threads=0] [peers=eager,compiled,onnx,
--                  onnx-int8] [rows=1,4,16,64] [quick=1] [json=FILE]
-- large: 12 x 768, N = 20, 64 tokens, 4 rows, 50,265 words; small: 4 x 256, N = 20, 20 tokens, 8 rows, 8,000 words.
-- quick: the small size, one round, PyTorch alone. rows: a forward pass at these numbers of rows (none: rows=).
-- Each program prints wall and processor time of a step (ours.lua, peer.py); the ratios are taken of both, because on a
-- shared machine wall time is the neighbours' as well. Processor time compares fairly at threads=1 alone: with more,
-- PyTorch's waiting threads spin for long, ours shortly. The floor is measured beside ours: see ours.lua. Where the
-- time goes, op by op: DATAMUX_PROFILE=1 build/datamux bench/cpu/ours.lua.
local json = require 'datamux.json'
package.path = 'bench/?.lua;' .. package.path
local programs = require 'programs'
local list, has, median, run, words = programs.list, programs.has, programs.median, programs.run, programs.words

local o = programs.options(arg, { mode = 'train,infer', size = 'large,small', rounds = 3, steps = 6, threads = 0,
  quick = 0, peers = 'eager,compiled,onnx,onnx-int8', rows = '1,4,16,64', json = '' })
if o.quick == 1 then o.size, o.rounds, o.peers, o.rows = 'small', 1, 'eager', '' end

local sizes = {
  large = { layers = 12, width = 768, heads = 12, vocab = 50265, n = 20, length = 64, rows = 4 },
  small = { layers = 4, width = 256, heads = 4, vocab = 8000, n = 20, length = 20, rows = 8 },
}

local function ours(size, mode, more)
  local exe = os.getenv 'DATAMUX'
  return run(('%s bench/cpu/ours.lua mode=%s steps=%d threads=%d %s %s'):format(exe, mode, o.steps, o.threads,
    words(size, '%s=%d'), more or ''))
end

local function peer(size, mode, form, threads)
  return run(('%s bench/cpu/peer.py --mode %s --form %s --steps %d --threads %d %s'):format(os.getenv 'PYTHON', mode,
    form, o.steps, threads, words(size, '--%s %d')))
end

local function title(mode, size, name)
  local what = mode == 'train' and 'training step' or 'forward pass'
  return ('%s, %s: %d x %d, N = %d, %d tokens, %d rows, f32'):format(what, name,
    size.layers, size.width, size.n, size.length,
    size.rows)
end

-- One table: alternating rounds of ours and the peers.
local function compare(mode, name)
  local size, mine, theirs = sizes[name], {}, {}
  local forms = {}
  for _, form in ipairs(list(o.peers)) do
    if mode == 'infer' or not form:find '^onnx' then forms[#forms + 1] = form end
  end
  local eight = {}
  for _ = 1, o.rounds do
    local row, why = ours(size, mode)
    if not row then error('bench: ours failed:\n' .. tostring(why), 0) end
    mine[#mine + 1] = row
    if mode == 'infer' then eight[#eight + 1] = ours(size, mode, 'int8=1') end
    for _, form in ipairs(forms) do
      local r = peer(size, mode, form, row.threads)
      theirs[form] = theirs[form] or {}
      if r then table.insert(theirs[form], r) end
    end
  end
  print(title(mode, size, name))
  local line = '  %-26s %9s %9s %7s %7s %9s %9s'
  print(line:format('program', 'wall ms', 'cpu ms', 'floor', 'floor', 'ours is', 'ours is'))
  print(line:format('', '', '', '(wall)', '(cpu)', '(wall)', '(cpu)'))
  local ms, cpu = median(mine, 'ms'), median(mine, 'cpu_ms')
  local floor, floor_cpu = median(mine, 'floor_ms'), median(mine, 'floor_cpu_ms')
  local out = { title = title(mode, size, name), mode = mode, size = name, rounds = #mine, threads = mine[1].threads,
                floor_ms = floor, floor_cpu_ms = floor_cpu, rows = {} }
  local function show(program, a, c, extra)
    print(('  %-26s %9.1f %9.1f %7.2f %7.2f %8.2fx %8.2fx%s'):format(program, a, c, a / floor, c / floor_cpu, a / ms,
      c / cpu, extra or ''))
    out.rows[#out.rows + 1] = { program = program, ms = a, cpu_ms = c, wall_ratio = a / ms, cpu_ratio = c / cpu }
  end
  show(mine[1].program, ms, cpu, mine[1].first_ms and
    ('   first answers %.0f ms after opening the file'):format(median(mine, 'first_ms')))
  if #eight > 0 then show(eight[1].program, median(eight, 'ms'), median(eight, 'cpu_ms')) end
  for _, form in ipairs(forms) do
    local rows = theirs[form]
    if #rows > 0 then
      show(rows[1].program, median(rows, 'ms'), median(rows, 'cpu_ms'))
    else
      print(('  %-26s could not run here'):format(form))
    end
  end
  print(('  %-26s %9.1f %9.1f   products at %.0f GFLOP/s\n'):format('floor', floor, floor_cpu, median(mine, 'gflops')))
  return out
end

-- Time of a mixed row as rows grow.
local function growth(name)
  local out, size = {}, {}
  for k, v in pairs(sizes[name]) do size[k] = v end
  print(('a mixed row in a forward pass, %s'):format(name))
  for _, rows in ipairs(list(o.rows)) do
    size.rows = tonumber(rows)
    local r = ours(size, 'infer')
    if r then
      print(('  %5d rows   %8.2f ms a row (wall)   %8.2f (cpu)'):format(size.rows, r.ms / size.rows,
        r.cpu_ms / size.rows))
      out[#out + 1] = { rows = size.rows, ms = r.ms / size.rows, cpu_ms = r.cpu_ms / size.rows }
    end
  end
  print()
  return out
end

local results = {}
for _, name in ipairs(list(o.size)) do
  if not sizes[name] then error(("bench: size is '%s', expected large or small"):format(name), 0) end
  for _, mode in ipairs { 'train', 'infer' } do
    if has(o.mode, mode) then results[#results + 1] = compare(mode, name) end
  end
  if o.rows ~= '' then results[#results + 1] = { growth = name, rows = growth(name) } end
end
if o.json ~= '' then
  local f = assert(io.open(o.json, 'w'))
  f:write(json.encode(results, true), '\n')
  f:close()
end
