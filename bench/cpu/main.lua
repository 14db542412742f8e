-- main.lua -- the CPU bench: our programme and its peers, alternating, as medians with their ratios.
--   bench/cpu/run [mode=train,infer,gain,grid] [size=large,small] [rounds=3] [steps=6] [threads=0]
--                 [peers=eager,compiled,onnx,onnx-int8] [rows=1,4,16,64] [n=1,5,20,40] [length=32,64,128] [quick=1]
--                 [json=FILE]
-- large: 12 x 768, N = 20, 64 tokens, 4 rows, 50,265 words; small: 4 x 256, N = 20, 20 tokens, 8 rows, 8,000 words.
-- gain: texts/s of networks with N = 20 and 40 at 128 tokens against our own plain network at its best batch, in f32
-- and int8, and the limit N L / (L + prefix).
-- grid: training step and forward pass at every n and length, beside the first of the peers.
-- quick: the small size, one round, PyTorch alone. rows: a forward pass at these numbers of rows (none: rows=).
-- Each program prints wall and processor time of a step (ours.lua, peer.py); the ratios are taken of both, because on a
-- shared machine wall time is the neighbours' as well. Processor time compares fairly at threads=1 alone: with more,
-- PyTorch's waiting threads spin for long, ours shortly. The floor is measured beside ours: see ours.lua. Where the
-- time goes, op by op: DATAMUX_PROFILE=1 build/datamux bench/cpu/ours.lua.
package.path = 'bench/?.lua;' .. package.path
local programs = require 'programs'
local list, has, median, run, words = programs.list, programs.has, programs.median, programs.run, programs.words

local o = programs.options(arg, { mode = 'train,infer', size = 'large,small', rounds = 3, steps = 6, threads = 0,
  quick = 0, peers = 'eager,compiled,onnx,onnx-int8', rows = '1,4,16,64', n = '1,5,20,40', length = '32,64,128',
  json = '' })
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

-- One line for each n and length: ours over the floor, and the first peer over ours, from alternating rounds.
local function grid(mode, name)
  local size, form, out = {}, list(o.peers)[1], {}
  for k, v in pairs(sizes[name]) do size[k] = v end
  print(('%s, %s: %d x %d, %d rows, f32; ms of wall (processor), %s as the peer'):format(
    mode == 'train' and 'training step' or 'forward pass', name, size.layers, size.width, size.rows, form))
  local line = '  %3s %4s %20s %8s %8s %20s %9s %9s'
  print(line:format('N', 'L', 'ours', 'floor', '(cpu)', 'peer', 'ours is', '(cpu)'))
  for _, n in ipairs(list(o.n)) do
    for _, length in ipairs(list(o.length)) do
      size.n, size.length = tonumber(n), tonumber(length)
      local mine, theirs = {}, {}
      for round = 1, o.rounds do
        local row, why = ours(size, mode)
        if not row then error('bench: ours failed:\n' .. tostring(why), 0) end
        mine[round], theirs[round] = row, peer(size, mode, form, row.threads)
      end
      local ms, cpu = median(mine, 'ms'), median(mine, 'cpu_ms')
      local r = { n = size.n, length = size.length, ms = ms, cpu_ms = cpu, floor = ms / median(mine, 'floor_ms'),
                  cpu_floor = cpu / median(mine, 'floor_cpu_ms') }
      if #theirs == o.rounds then
        r.peer_ms, r.peer_cpu_ms = median(theirs, 'ms'), median(theirs, 'cpu_ms')
        r.wall_ratio, r.cpu_ratio = r.peer_ms / ms, r.peer_cpu_ms / cpu
      end
      local function shown(f, ...) return (...) and f:format(...) or '-' end
      print(line:format(n, length, shown('%.1f (%.1f)', ms, cpu), shown('%.2f', r.floor), shown('%.2f', r.cpu_floor),
        shown('%.1f (%.1f)', r.peer_ms, r.peer_cpu_ms), shown('%.2fx', r.wall_ratio), shown('%.2fx', r.cpu_ratio)))
      io.stdout:flush()
      out[#out + 1] = r
    end
  end
  print()
  return { grid = name, mode = mode, peer = form, rows = out }
end

-- What multiplexing gains: best texts/s over some numbers of rows, alternating rounds.
local function gain(name, int8)
  local size, out, plain = {}, {}, nil
  for k, v in pairs(sizes[name]) do size[k] = v end
  size.length = 128
  local nets = { { 'plain', 1, { 1, 4, 16 } }, { 'index', 20, { 1, 2, 4 } }, { 'index', 40, { 1, 2, 4 } },
                 { 'unbind', 20, { 1, 2, 4 } }, { 'unbind', 40, { 1, 2, 4 } } }
  local times = {}
  for round = 1, o.rounds do
    for i, net in ipairs(nets) do
      for _, rows in ipairs(round == 1 and net[3] or { times[i].rows }) do
        size.n, size.rows = net[2], rows
        local r, why = ours(size, 'infer', ('network=%s int8=%d'):format(net[1], int8))
        if not r then error('bench: ours failed:\n' .. tostring(why), 0) end
        local rate = 1e3 * rows * net[2] / r.ms
        if not times[i] or rate > times[i].rate then
          times[i] = { rate = rate, rows = rows, list = times[i] and times[i].rows == rows and times[i].list or {} }
        end
        if times[i].rows == rows then table.insert(times[i].list, { rate = rate }) end
      end
    end
  end
  print(('texts/s, forward pass, %s: %d x %d, 128 tokens%s'):format(name, size.layers, size.width,
    int8 == 1 and ', encoder in int8' or ', f32'))
  for i, net in ipairs(nets) do
    local n, rate = net[2], median(times[i].list, 'rate')
    plain = plain or rate
    local limit = net[1] == 'index' and n * 128 / (128 + n + 1) or n
    print(('  %-8s N = %-3d %9.2f texts/s   gain %6.2f   of the limit %.2f: %.2f   best of %d rows'):format(net[1], n,
      rate, rate / plain, limit, rate / plain / limit, times[i].rows))
    out[i] = { network = net[1], n = n, rate = rate, gain = rate / plain, limit = limit, rows = times[i].rows }
  end
  print()
  return { gain = name, int8 = int8, rows = out }
end

local results = {}
for _, name in ipairs(list(o.size)) do
  if not sizes[name] then error(("bench: size is '%s', expected large or small"):format(name), 0) end
  for _, mode in ipairs { 'train', 'infer' } do
    if has(o.mode, mode) then results[#results + 1] = compare(mode, name) end
  end
  if has(o.mode, 'grid') then
    for _, mode in ipairs { 'train', 'infer' } do results[#results + 1] = grid(mode, name) end
  end
  if has(o.mode, 'gain') then
    for int8 = 0, 1 do results[#results + 1] = gain(name, int8) end
  end
  if o.rows ~= '' then results[#results + 1] = { growth = name, rows = growth(name) } end
end
programs.save(o.json, results)
