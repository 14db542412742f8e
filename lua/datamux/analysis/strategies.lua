-- strategies.lua -- every multiplexer with every demultiplexer at N = 5, on SST-2, by a short schedule: which
-- combinations learn at all, and how fast. A small network (2 x 128), so that the whole table takes minutes.
local analysis = require 'datamux.analysis'
local compare = require 'datamux.analysis.compare'
local demux = require 'datamux.nn.demux'
local mux = require 'datamux.nn.mux'

local M = { summary = 'every multiplexer with every demultiplexer at N = 5, by a short schedule' }

local schedule = { 'mux.n=5', 'model.layers=2', 'model.width=128', 'model.heads=2', 'warmup.steps=600',
  'warmup.every=600', 'train.steps=600', 'train.every=300', 'demux.read=pool', 'eval.bootstrap=0' }

-- The demultiplexers, those with keys in both forms: { title, kind, key }.
local function separators()
  local out = {}
  for _, kind in ipairs(demux.names) do
    local keys = demux.get(kind).keys or {}
    out[#out + 1] = { kind, kind, 'mux' }
    if keys.own and keys.mux then out[#out + 1] = { kind .. ', own keys', kind, 'own' } end
  end
  return out
end

-- Whether the multiplexer has keys that the demultiplexer can share, where it asks for them.
local function fits(x, d)
  local shares = (demux.get(d[2]).keys or {}).mux and d[3] == 'mux'
  return not (shares and mux.matrices(x, { n = 5, width = 128, norm = 'sqrt', overlap = 0 }))
end

function M.plan()
  local out = {}
  for _, x in ipairs(mux.names) do
    for _, d in ipairs(separators()) do
      if fits(x, d) then
        local words = { unpack(schedule) }
        words[#words + 1], words[#words + 2] = 'mux.kind=' .. x, 'demux.kind=' .. d[2]
        words[#words + 1] = 'demux.key=' .. d[3]
        out[#out + 1] = { name = ('strategies-%s-%s'):format(x, d[1]:gsub(', own keys', '-own')),
          recipe = 'sst2_n5.lua', words = words, cell = { mux = x, demux = d[1] } }
      end
    end
  end
  return out
end

M.columns = compare.columns { { 'mux', 'multiplexer', '%s' }, { 'demux', 'demultiplexer', '%s' } }

-- The scores as a matrix, multiplexers down, demultiplexers across.
local function matrix(rows)
  local columns, out, at = { { 'mux', 'multiplexer', '%s' } }, {}, {}
  for _, d in ipairs(separators()) do columns[#columns + 1] = { d[1], d[1], '%.4f' } end
  for _, r in ipairs(rows) do
    if not at[r.mux] then
      at[r.mux] = { mux = r.mux }
      out[#out + 1] = at[r.mux]
    end
    at[r.mux][r.demux] = r.value
  end
  return { title = 'Dev accuracy', columns = columns, rows = out }
end

function M.collect(o)
  local rows, is = compare.rows(o), {}
  for _, e in ipairs(o.entries[1].list) do is[e.path] = e.value end
  local how = ('SST-2, %d x %d, %d steps of warm-up and %d of the task, %d rows: far from trained out. Matrices '
    .. '(ortho, lowrank) have no keys that unbind could share.'):format(is['model.layers'], is['model.width'],
    is['warmup.steps'], is['train.steps'], is['train.rows'])
  return rows, { tables = { matrix(rows) }, notes = { how, compare.note(o, 'strategies') } }
end

function M.picture(rows)
  return analysis.picture(analysis.bars(rows, function(r) return r.demux end, 'mux', 'value', 'std'), {
    kind = 'bars', y = 'dev accuracy', title = 'Strategies, SST-2, N = 5', limits = { { y = 0.509,
      label = 'constant answer' } } })
end

return M
