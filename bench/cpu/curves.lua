-- curves.lua -- how our programme's time changes: with the rows of a batch, with N and length, with multiplexing.
local measure = require 'cpu.measure'
local programs = require 'programs'
local list, median = programs.list, programs.median

local M = {}

local function shown(form, ...) return (...) and form:format(...) or '-' end

--- Time of a mixed row in a forward pass as rows grow, at each precision, and after which time the fewest are answered
--- first. The more rows, the fewer passes; 64 and more are timed once, after two that warm up: the second still takes
--- memory from the system.
function M.growth(o, name)
  local out, first = {}, {}
  local precisions = measure.precisions(o.precision, 'infer', o.lacks_bf16)
  print(('a mixed row in a forward pass, %s, %d thread%s: ms, wall (processor)'):format(name, o.threads[1],
    o.threads[1] == 1 and '' or 's'))
  print(('  %10s' .. (' %20s'):rep(#precisions)):format('', unpack(precisions)))
  for _, rows in ipairs(list(o.rows)) do
    local cells = {}
    for k, precision in ipairs(precisions) do
      local r, why = measure.ours(measure.sized(name, { rows = rows }), 'infer', { precision = precision,
        steps = math.max(1, math.min(o.steps, math.floor(64 / rows))), warmup = 1,
        threads = o.threads[1] }, true)
      if not r then io.stderr:write(('bench: %s rows, %s: %s'):format(rows, precision, why)) end
      cells[k] = r and { rows = r.rows, precision = precision, ms = r.ms / r.rows, cpu_ms = r.cpu_ms / r.rows,
                         first_ms = r.first_ms } or {}
      out[#out + 1] = r and cells[k]
      if r and rows == list(o.rows)[1] then first[#first + 1] = ('%s %.0f ms'):format(precision, r.first_ms) end
      cells[k] = shown('%.2f (%.2f)', cells[k].ms, cells[k].cpu_ms)
    end
    print(('  %5d rows' .. (' %20s'):rep(#cells)):format(rows, unpack(cells)))
    io.stdout:flush()
  end
  print(('  first answers (rows: %s) after opening the file of weights: %s\n'):format(list(o.rows)[1],
    table.concat(first, ', ')))
  return { growth = name, threads = o.threads[1], rows = out }
end

-- A point of the grid: medians of alternating rounds.
local function point(o, mode, size, precision, form)
  local mine, theirs, options = {}, {}, { steps = o.steps, threads = o.threads[1] }
  for _ = 1, o.rounds do
    options.precision, options.limit = precision, nil
    mine[#mine + 1] = measure.ours(size, mode, options)
    options.precision, options.limit = nil, o.limit
    theirs[#theirs + 1] = form and measure.peer(size, mode, form, options)
  end
  local r = { n = size.n, length = size.length, ms = median(mine, 'ms'), cpu_ms = median(mine, 'cpu_ms') }
  r.floor, r.cpu_floor = r.ms / median(mine, 'floor_ms'), r.cpu_ms / median(mine, 'floor_cpu_ms')
  if #theirs == o.rounds then
    r.peer_ms, r.peer_cpu_ms = median(theirs, 'ms'), median(theirs, 'cpu_ms')
    r.wall_ratio, r.cpu_ratio = r.peer_ms / r.ms, r.peer_cpu_ms / r.cpu_ms
  end
  return r
end

--- One line for each n and length: ours over the floor, and the first peer of the precision over ours.
function M.grid(o, mode, name, precision)
  local size, form, out = measure.sizes[name], measure.peers(o.peers, precision, mode)[1], {}
  print(('%s, %s: %d x %d, %d rows, %s; ms of wall (processor), %s as the peer'):format(
    mode == 'train' and 'training step' or 'forward pass', name, size.layers, size.width, size.rows, precision,
    form or 'none'))
  local line = '  %3s %4s %20s %8s %8s %20s %9s %9s'
  print(line:format('N', 'L', 'ours', 'floor', '(cpu)', 'peer', 'ours is', '(cpu)'))
  for _, n in ipairs(list(o.n)) do
    for _, length in ipairs(list(o.length)) do
      local r = point(o, mode, measure.sized(name, { n = tonumber(n), length = tonumber(length) }), precision, form)
      print(line:format(n, length, shown('%.1f (%.1f)', r.ms, r.cpu_ms), shown('%.2f', r.floor),
        shown('%.2f', r.cpu_floor), shown('%.1f (%.1f)', r.peer_ms, r.peer_cpu_ms), shown('%.2fx', r.wall_ratio),
        shown('%.2fx', r.cpu_ratio)))
      io.stdout:flush()
      out[#out + 1] = r
    end
  end
  print()
  return { grid = name, mode = mode, precision = precision, peer = form, rows = out }
end

local networks = { { 'plain', 1, { 1, 4, 16 } }, { 'index', 20, { 1, 2, 4 } }, { 'index', 40, { 1, 2, 4 } },
                   { 'unbind', 20, { 1, 2, 4 } }, { 'unbind', 40, { 1, 2, 4 } } }

--- What multiplexing gains: best texts/s over some numbers of rows, alternating rounds.
function M.gain(o, name, precision)
  local out, times, plain = {}, {}, nil
  for round = 1, o.rounds do
    for i, net in ipairs(networks) do
      for _, rows in ipairs(round == 1 and net[3] or { times[i].rows }) do
        local r = measure.ours(measure.sized(name, { n = net[2], rows = rows, length = 128 }), 'infer',
          { network = net[1], precision = precision, steps = o.steps, threads = o.threads[1] })
        local rate = 1e3 * rows * net[2] / r.ms
        if not times[i] or rate > times[i].rate then
          times[i] = { rate = rate, rows = rows, list = times[i] and times[i].rows == rows and times[i].list or {} }
        end
        if times[i].rows == rows then table.insert(times[i].list, { rate = rate }) end
      end
    end
  end
  local size = measure.sizes[name]
  print(('texts/s, forward pass, %s: %d x %d, 128 tokens, %s'):format(name, size.layers, size.width,
    precision))
  for i, net in ipairs(networks) do
    local n, rate = net[2], median(times[i].list, 'rate')
    plain = plain or rate
    local limit = net[1] == 'index' and n * 128 / (128 + n + 1) or n
    print(('  %-8s N = %-3d %9.2f texts/s   gain %6.2f   of the limit %.2f: %.2f   best of %d rows'):format(net[1], n,
      rate, rate / plain, limit, rate / plain / limit, times[i].rows))
    out[i] = { network = net[1], n = n, rate = rate, gain = rate / plain, limit = limit, rows = times[i].rows }
  end
  print()
  return { gain = name, precision = precision, rows = out }
end

return M
