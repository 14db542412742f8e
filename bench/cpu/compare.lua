-- compare.lua -- our programme beside its peers: alternating rounds, a table for each number of threads.
local measure = require 'cpu.measure'
local programs = require 'programs'
local median = programs.median

local LINE = '  %-5s %-30s %9s %9s %7s %7s %9s %9s %9s'

-- What is run: at each precision ours, then the peers that compute in it.
local function entries(o, mode)
  local out = {}
  for _, precision in ipairs(measure.precisions(o.precision, mode, o.lacks_bf16)) do
    out[#out + 1] = { precision = precision, runs = {} }
    for _, form in ipairs(measure.peers(o.peers, precision, mode)) do
      out[#out + 1] = { precision = precision, form = form, runs = {} }
    end
  end
  return out
end

-- One more run of an entry; a peer that could not is not tried again.
local function run(e, o, mode, size, threads)
  local list = e.runs[threads] or {}
  e.runs[threads] = list
  if not e.form then
    list[#list + 1] = measure.ours(size, mode, { steps = o.steps, threads = threads, precision = e.precision })
  elseif not e.why then
    list[#list + 1], e.why = measure.peer(size, mode, e.form, { steps = o.steps, threads = threads, limit = o.limit })
  end
end

-- The medians of an entry; nil where there are none.
local function middle(e, threads)
  local runs = e.runs[threads]
  if #runs == 0 then return nil end
  return { program = runs[1].program, precision = e.precision, form = e.form, ms = median(runs, 'ms'),
           cpu_ms = median(runs, 'cpu_ms'), peak_mib = median(runs, 'peak_mib'),
           first_ms = runs[1].first_ms and median(runs, 'first_ms') }
end

local function line(...) print((LINE:format(...):gsub(' +$', ''))) end

local function shown(form, value) return value and form:format(value) or '' end

-- The lines of one precision: ours, its peers, the floor, and how ours compares with the best peer.
local function section(list, mode, threads, rows)
  local runs, mine = list[1].runs[threads], middle(list[1], threads)
  local floor, floor_cpu, best = median(runs, 'floor_ms'), median(runs, 'floor_cpu_ms'), nil
  local function row(program, ms, cpu, peak, ratio)
    line(mine.precision, program, ('%.1f'):format(ms), ('%.1f'):format(cpu), ('%.2f'):format(ms / floor),
      ('%.2f'):format(cpu / floor_cpu), shown('%.2fx', ratio and ms / mine.ms),
      shown('%.2fx', ratio and cpu / mine.cpu_ms), shown('%.0f', mode == 'train' and peak))
  end
  for _, e in ipairs(list) do
    local r = middle(e, threads)
    if r then
      if e.form then
        r.wall_ratio, r.cpu_ratio = r.ms / mine.ms, r.cpu_ms / mine.cpu_ms
        best = (not best or r.ms < best.ms) and r or best
      end
      row(r.program, r.ms, r.cpu_ms, r.peak_mib, e.form)
      r.floor_ms, r.floor_cpu_ms, r.gflops = floor, floor_cpu, median(runs, 'gflops')
      rows[#rows + 1] = r
    else
      print(('  %-5s %-30s %s'):format(e.precision, e.form, e.why))
    end
  end
  row(('floor, products at %.0f GFLOP/s'):format(median(runs, 'gflops')), floor, floor_cpu)
  if best then
    print(('  %-5s ours against the best peer, %s: %.2fx (wall), %.2fx (cpu)'):format(mine.precision, best.program,
      best.wall_ratio, best.cpu_ratio))
  end
  if mine.first_ms then
    print(('  %-5s first answers %.0f ms after opening the file of weights'):format(mine.precision, mine.first_ms))
  end
  print()
end

-- How much faster each program is with another number of threads than with the first.
local function scaling(list, threads, title)
  for k = 2, #threads do
    print(('%s: %d threads to %d (wall)'):format(title, threads[k], threads[1]))
    for _, e in ipairs(list) do
      local one, more = middle(e, threads[1]), middle(e, threads[k])
      if one and more then
        print(('  %-5s %-30s %7.2fx'):format(e.precision, one.program, one.ms / more.ms))
      end
    end
    print()
  end
end

--- Prints the tables of a mode at a size ('large', 'small'); o: the bench's options. Returns them, one for each number
--- of threads.
return function(o, mode, name)
  local list, title, out = entries(o, mode), measure.title(mode, name), {}
  for _ = 1, o.rounds do
    for _, threads in ipairs(o.threads) do
      for _, e in ipairs(list) do run(e, o, mode, measure.sizes[name], threads) end
    end
  end
  for _, threads in ipairs(o.threads) do
    print(('%s, %d thread%s'):format(title, threads, threads == 1 and '' or 's'))
    line('', 'program', 'wall ms', 'cpu ms', 'floor', 'floor', 'ours is', 'ours is',
      mode == 'train' and 'peak MiB' or '')
    line('', '', '', '', '(wall)', '(cpu)', '(wall)', '(cpu)', '')
    local rows, from = {}, 1
    for k = 1, #list do
      if not list[k + 1] or not list[k + 1].form then
        section({ unpack(list, from, k) }, mode, threads, rows)
        from = k + 1
      end
    end
    out[#out + 1] = { title = title, mode = mode, size = name, rounds = o.rounds, threads = threads, rows = rows }
  end
  scaling(list, o.threads, title)
  return out
end
