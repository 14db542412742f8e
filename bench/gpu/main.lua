-- main.lua -- the GPU bench: T-MUX 12 x 768 on one card, ours and PyTorch alternating, as medians.
--   bench/gpu/run [mode=train,infer] [n=1,20,40] [rounds=3] [steps=20] [group=4] [peers=eager,compiled]
--                 [rows=8,16,32,64,128,256] [length=128 layers=12 width=768 heads=12 vocab=50265] [precision=bf16]
--                 [device=cuda] [square=8192] [profile=1] [quick=1] [json=FILE]
-- n: instances a row; 1 is the plain Transformer. rows: tried in this order by ours and by PyTorch, each for itself, as
-- long as more rows a second are answered (torch.compile takes PyTorch's). quick: N = 20 alone, 32 rows, one round.
-- "of products": the matrix products that a step needs, at the rate of one product of square matrices measured in
-- the same run, over the step's time: the part of the tensor cores' reachable rate that is used. Then: texts a second
-- by N with the limit N L / (L + prefix), the time of one row, and where a step's time goes, by moments on the
-- device around each op (profile=0 leaves it out). Tried without a card by sizes such as device=cpu precision=f32
-- layers=2 width=64 heads=2 vocab=500 length=12 rows=1,2 square=256. Ours replays recorded steps (datamux.capture), but
-- not where ops are timed. Both are timed alike, after as many steps that do not count: see bench/cpu/ours.lua. A group
-- of several steps has one wait at its end, so that neither's host work shows where it hides behind the device's. The
-- time of one row hides none: each pass goes from ids on the host to logits on the host before the next one begins.
local errors = require 'datamux.errors'
local json = require 'datamux.json'
package.path = 'bench/?.lua;' .. package.path
local programs = require 'programs'
local list, median = programs.list, programs.median
io.stdout:setvbuf 'line'                         -- what was measured stays where the bench is cut off

local o = programs.options(arg, { mode = 'train,infer', n = '1,20,40', rounds = 3, steps = 20, group = 4,
  peers = 'eager,compiled', rows = '8,16,32,64,128,256', length = 128, layers = 12, width = 768, heads = 12,
  vocab = 50265, precision = 'bf16', device = 'cuda', square = 8192, profile = 1, quick = 0, json = '' })
if o.quick == 1 then o.n, o.rounds, o.rows, o.steps = '20', 1, '32', 12 end
o.group = math.min(o.group, o.steps)
local WARMUP = 10                                -- steps: by then ours are recorded, for both places of their inputs
local exe, python = os.getenv 'DATAMUX', os.getenv 'PYTHON'

local function size(n, rows)
  return { layers = o.layers, width = o.width, heads = o.heads, vocab = o.vocab, length = o.length, n = n, rows = rows,
           warmup = WARMUP, steps = o.steps, group = o.group, device = o.device, precision = o.precision }
end

local function ours(mode, n, rows, more, environment)
  local row, why = programs.run(('%s %s bench/cpu/ours.lua mode=%s square=%d %s %s'):format(environment or '', exe,
    mode, o.square, programs.words(size(n, rows), '%s=%s'), more or ''))
  if not row then error('bench: ours failed:\n' .. why, 0) end
  return row
end

local function peer(mode, n, rows, form)
  return (programs.run(('%s bench/cpu/peer.py --mode %s --form %s --threads 1 %s'):format(python, mode, form,
    programs.words(size(n, rows), '--%s %s'))))
end

-- A device that is not there: one sentence and the exit code of the environment.
local said = os.tmpname()
if os.execute(([[%s -e "require('datamux').scope.device '%s'" 2> %s]]):format(exe, o.device, said)) ~= 0 then
  local f = io.open(said)
  local why = f:read '*l'
  f:close()
  os.remove(said)
  errors.raise('E402', { what = 'bench: ' .. (why or o.device .. ' cannot be used'):gsub('^error[^:]*: ', '') })
end
os.remove(said)

local line = '  %-22s %5d %10.2f %11.0f %11.2f %9s'
local function show(r, mine, rate)
  r.texts_per_second, r.of_products = 1e3 * r.rows * r.n / r.ms, r.floor_ms / r.ms
  print(line:format(r.program, r.rows, r.ms, r.texts_per_second, r.of_products,
    rate and ('%.2fx'):format(mine / rate) or ''))
end

-- One table: alternating rounds, each program at its best number of rows.
local function compare(mode, n)
  local first = ours(mode, n, o.rows)
  local best, tried = { datamux = first.rows }, { datamux = first.tried }
  local runs, names, why = { datamux = {} }, { 'datamux' }, {}
  for _, form in ipairs(list(o.peers)) do
    local r
    if not best.eager then r, why[form] = peer(mode, n, o.rows, 'eager') end
    if r then best.eager, tried.eager = r.rows, r.tried end
    best[form] = best.eager
    names[#names + 1], runs[form] = form, {}
  end
  for _ = 1, o.rounds do
    for _, name in ipairs(names) do
      local r, reason
      if name == 'datamux' then r = ours(mode, n, best[name])
      elseif best[name] then r, reason = peer(mode, n, best[name], name) end
      if r then table.insert(runs[name], r) end
      why[name] = reason or why[name]
    end
  end
  print(('%s, N = %d, %d tokens, %s'):format(mode == 'train' and 'training step' or 'forward pass', n, o.length,
    o.precision))
  print(('  %-22s %5s %10s %11s %11s %9s'):format('program', 'rows', 'ms', 'texts/s', 'of products', 'ours is'))
  local out = { mode = mode, n = n, rounds = o.rounds, tried = tried, why = why, programs = json.list {} }
  local floor, mine                              -- of a row; texts a second
  for _, name in ipairs(names) do
    local rows = runs[name]
    if #rows > 0 then
      floor = floor or median(rows, 'floor_ms') / best.datamux
      local r = { program = rows[1].program, n = n, rows = best[name], ms = median(rows, 'ms'),
                  floor_ms = floor * best[name], peak_mib = median(rows, 'peak_mib') }
      show(r, mine, mine and 1e3 * r.rows * n / r.ms)
      mine = mine or r.texts_per_second
      out.gflops, out.device = out.gflops or median(rows, 'gflops'), out.device or rows[1].device
      out.programs[#out.programs + 1] = r
    else
      print(('  %-22s could not run here: %s'):format(name, why[name] and why[name]:match '([^\n]+)%s*$' or ''))
    end
  end
  print(('  products of %d x %d: %.1f TFLOP/s · %s\n'):format(o.square, o.square, out.gflops / 1e3, out.device))
  return out
end

local results = { tables = json.list {}, growth = json.list {}, one_row = json.list {}, ops = json.list {} }
for _, n in ipairs(list(o.n)) do
  for _, mode in ipairs(list(o.mode)) do
    table.insert(results.tables, compare(mode, tonumber(n)))
    programs.save(o.json, results)
  end
end

-- Texts a second against N.
local base = {}
print(('texts a second against N, ours; the limit is N L / (L + N + 1), L = %d'):format(o.length))
print(('  %-14s %4s %11s %8s %8s'):format('', 'N', 'texts/s', 'times', 'limit'))
for _, t in ipairs(results.tables) do
  local rate = t.programs[1].texts_per_second
  base[t.mode] = base[t.mode] or t.n == 1 and rate
  local r = { mode = t.mode, n = t.n, texts_per_second = rate, times = base[t.mode] and rate / base[t.mode] or nil,
              limit = t.n == 1 and 1 or t.n * o.length / (o.length + t.n + 1) }
  print(('  %-14s %4d %11.0f %8s %8.2f'):format(t.mode, t.n, rate, r.times and ('%.2f'):format(r.times) or '', r.limit))
  table.insert(results.growth, r)
end

print '\none row, forward pass, from ids on the host to logits on the host'
for _, n in ipairs(list(o.n)) do
  local r = ours('infer', tonumber(n), 1, 'ahead=0 group=1')
  print(('  N = %-4d %8.3f ms'):format(n, r.ms))
  table.insert(results.one_row, { n = tonumber(n), ms = r.ms })
end

if o.profile == 1 then
  for _, t in ipairs(results.tables) do
    local r = ours(t.mode, t.n, t.programs[1].rows, nil, 'DATAMUX_PROFILE=1')
    local total = 0
    for _, op in ipairs(r.ops) do total = total + op.ms end
    print(('\nwhere the device\'s time goes: %s, N = %d, %d rows, %.2f ms in ops'):format(t.mode, t.n, r.rows, total))
    for k, op in ipairs(r.ops) do
      if k <= 8 then
        print(('  %-18s %4d calls %9.3f ms %5.1f %%'):format(op.name, op.calls, op.ms, 100 * op.ms / total))
      end
    end
    table.insert(results.ops, { mode = t.mode, n = t.n, rows = r.rows, ops = r.ops })
  end
end
programs.save(o.json, results)
