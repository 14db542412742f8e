-- interference.lua -- how far a text's demultiplexed state depends on the others in its row.
--
-- A few texts (anchors) are each read many times, beside other random texts each time; z is what the head sees of an
-- anchor. Compared are cosines of z: within an anchor (beside different neighbours), between anchors, and between the
-- instances of one row. The published program has the same analysis; its cosines divide by the elementwise product of
-- two lists of norms, so that all but the diagonal are mis-scaled, and its anchors sit in the first slot only. Here
-- each cosine has its own two norms, and anchors go through all slots.
local ffi = require 'ffi'
local analysis = require 'datamux.analysis'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local loader = require 'datamux.data.loader'
local plural = require 'datamux.plural'
local scope = require 'datamux.scope'
local C = core.C

local M = { summary = 'cosines within and between texts, and a plane of their states' }

local ANCHORS, SETTINGS, SEED = 8, 30, 7300           -- as many anchors as a picture has marks

M.columns = { { 'task', 'task', '%s' }, { 'model', 'model', '%s' }, { 'n', 'N', '%d' },
              { 'within', 'within a text', '%.4f' }, { 'between', 'between texts', '%.4f' },
              { 'row', 'between instances of a row', '%.4f' }, { 'margin', 'within - between', '%.4f' },
              { 'explained', 'variance in the plane', '%.3f' } }

-- Rows of N texts: anchor a beside random others, in slot r mod N. Returns the order, rows, places[a] = { place, .. }.
local function arrange(set, N)
  local rows, places = ANCHORS * SETTINGS, {}
  local order, others = ffi.new('int32_t[?]', rows * N), ffi.new('int32_t[?]', set.n - ANCHORS)
  for a = 1, ANCHORS do places[a] = {} end
  local row = 0
  for r = 0, SETTINGS - 1 do
    for a = 1, ANCHORS do
      core.check(C.dm_shuffle(others, set.n - ANCHORS, SEED, 351, row))
      for s = 0, N - 1 do order[row * N + s] = ANCHORS + others[s] end
      order[row * N + r % N] = a - 1
      places[a][r + 1] = row * N + r % N
      row = row + 1
    end
  end
  return order, rows, places
end

-- The states of all places, each divided by its norm: double[places * C], C.
local function states(item, order, rows)
  local N, o = item.n, item.options
  local batches = loader.new(item.set, { rows = ANCHORS, group = N, length = o.length, pad = o.pad,
    multiple = o.multiple, fixed = o.fixed, bucket = false, shuffle = false, drop_last = false, order = order,
    places = rows * N })
  local out, width
  item.net:train(false)
  for k = 1, batches:steps_per_epoch() do
    scope.step(function()
      local q = item.net:prepare(batches:batch(0, k - 1), { seed = SEED, step = k, task = true })
      local z = item.net:read(q, item.net:states(q))
      local v = z:real():host()
      width = z:cols()
      out = out or ffi.new('double[?]', rows * N * width)
      local at = (k - 1) * ANCHORS * N
      for i = 0, z:rows() - 1 do
        local square = 0
        for c = 0, width - 1 do square = square + v[i * width + c] ^ 2 end
        local norm = square > 0 and 1 / math.sqrt(square) or 0
        for c = 0, width - 1 do out[(at + i) * width + c] = v[i * width + c] * norm end
      end
    end)
  end
  return out, width
end

local function dot(z, width, i, j)
  local sum = 0
  for c = 0, width - 1 do sum = sum + z[i * width + c] * z[j * width + c] end
  return sum
end

-- Means of the cosines within, between, and in a row.
local function cosines(z, width, places, N)
  local within, between, row = { 0, 0 }, { 0, 0 }, { 0, 0 }
  local function add(sum, i, j) sum[1], sum[2] = sum[1] + dot(z, width, i, j), sum[2] + 1 end
  for a = 1, ANCHORS do
    for r = 1, SETTINGS do
      local i = places[a][r]
      for t = r + 1, SETTINGS do add(within, i, places[a][t]) end
      for b = a + 1, ANCHORS do
        for t = 1, SETTINGS, 3 do add(between, i, places[b][t]) end
      end
      local first = i - i % N
      for s = first, first + N - 1 do
        if s ~= i then add(row, i, s) end
      end
    end
  end
  return within[1] / within[2], between[1] / between[2], row[1] / row[2]
end

-- The two directions of most variance of n points of `width` channels (power iteration on the centred points):
-- coordinates { x, y } of each, and the part of the variance they hold.
function M.plane(points, n, width)
  local x, total = ffi.new('double[?]', n * width), 0
  for c = 0, width - 1 do
    local mean = 0
    for i = 0, n - 1 do mean = mean + points[i * width + c] / n end
    for i = 0, n - 1 do
      x[i * width + c] = points[i * width + c] - mean
      total = total + x[i * width + c] ^ 2
    end
  end
  local coordinates, held = { {}, {} }, 0
  for axis = 1, 2 do
    local d, y = ffi.new('double[?]', width), ffi.new('double[?]', n)
    for c = 0, width - 1 do d[c] = math.sin(axis + c) end              -- some direction
    local strength = 0
    for _ = 1, 200 do
      local square = 0
      for i = 0, n - 1 do
        y[i] = 0
        for c = 0, width - 1 do y[i] = y[i] + x[i * width + c] * d[c] end
      end
      for c = 0, width - 1 do
        local sum = 0
        for i = 0, n - 1 do sum = sum + x[i * width + c] * y[i] end
        d[c], square = sum, square + sum * sum
      end
      local norm = math.sqrt(square)
      if norm == 0 then break end
      for c = 0, width - 1 do d[c] = d[c] / norm end
      if math.abs(norm - strength) <= 1e-10 * norm then break end
      strength = norm
    end
    for i = 0, n - 1 do
      local sum = 0
      for c = 0, width - 1 do sum = sum + x[i * width + c] * d[c] end
      coordinates[axis][i + 1], held = sum, held + sum * sum
      for c = 0, width - 1 do x[i * width + c] = x[i * width + c] - sum * d[c] end
    end
  end
  return coordinates, total > 0 and held / total or 0
end

-- The number of an error and why a model has no states to compare; nil where it has.
local function refuse(item)
  if item.saved.images then return 'E215', 'it reads images, expected a model of texts' end
  if item.saved.output == 'tag' then return 'E215', 'it tags words, expected a model with one answer for a text' end
  if item.set.n < ANCHORS + item.n then
    return 'E306', ('%s has %s, expected at least %d'):format(item.set.name, plural.of(item.set.n, 'text'),
      ANCHORS + item.n)
  end
end

--- Raises E215, E306 for a named model without states to compare; of all runs, those are left out with a note.
function M.collect(o)
  local rows, planes, without = {}, {}, {}
  analysis.each(o, true, function(item)
    local id, why = refuse(item)
    if why and #o.paths > 0 then
      errors.raise(id, { what = ('%s: %s'):format(item.path, why), fix = 'name another, or none to see all that fit' })
    elseif why then
      without[#without + 1] = ('%s (%s)'):format(item.path, why)
      return
    end
    local order, count, places = arrange(item.set, item.n)
    local z, width = states(item, order, count)
    local within, between, row = cosines(z, width, places, item.n)
    local points = ffi.new('double[?]', count * width)
    for a = 1, ANCHORS do
      for r = 1, SETTINGS do
        ffi.copy(points + ((a - 1) * SETTINGS + r - 1) * width, z + places[a][r] * width, 8 * width)
      end
    end
    local coordinates, explained = M.plane(points, count, width)
    planes[#planes + 1] = { model = item.words, n = item.n, x = coordinates[1], y = coordinates[2] }
    rows[#rows + 1] = { task = item.task, model = item.words, n = item.n, within = within, between = between, row = row,
      margin = within - between, explained = explained }
  end)
  return rows, { planes = planes, notes = { ('%d texts, each beside %d choices of neighbours. What a head needs: '
    .. '1 within a text; the rest of the distance to 1 is interference. The picture: states of the first model, one '
    .. 'colour a text.'):format(ANCHORS, SETTINGS), #without > 0 and 'Left out: ' .. table.concat(without, '; ')
    or nil } }
end

function M.picture(_, more)
  local plane = more.planes[1]
  if not plane then return nil end
  local series = {}
  for a = 1, ANCHORS do
    local s = { label = 'text ' .. a, x = {}, y = {} }
    for r = 1, SETTINGS do
      s.x[r], s.y[r] = plane.x[(a - 1) * SETTINGS + r], plane.y[(a - 1) * SETTINGS + r]
    end
    series[a] = s
  end
  return analysis.picture(series, { kind = 'points', x = 'first component', y = 'second component',
    title = ('%s, N = %d: %d texts beside %d choices of neighbours'):format(plane.model, plane.n, ANCHORS, SETTINGS) })
end

return M
