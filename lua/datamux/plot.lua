-- plot.lua -- pictures: lines, points and bars, drawn by gnuplot as SVG, PNG or text.
--
--   plot.draw { { label = 'N = 20', x = steps, y = losses, smooth = 0.95 }, { label = 'N = 1', x = .., y = .. },
--     kind = 'lines', x = 'step', y = 'loss (nats)', title = 'sst2', limits = { { y = 0.5, label = 'chance' } },
--     out = 'loss.svg' }
--
-- Series differ by colour (Okabe & Ito 2008: colour-blind readers can tell them apart), and by dash, mark or hatching,
-- so that a print without colour reads the same. gnuplot runs as a process: nothing is linked to it.
local host = require 'datamux.host'
local errors = require 'datamux.errors'
local sys = require 'datamux.sys'

local M = {}

local colours = { '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#8B6508' }
local marks = { 7, 5, 9, 11, 13, 6, 4, 8 }       -- filled circle, square, triangles, diamond; then open ones
local dashes = { '1', "'-'", "'.'", "'-.'", "'_'", "'-..'", "'_.'", "'_-'" }
local hatches = { 3, 1, 2, 4, 5, 6, 7, 0 }       -- fill patterns: solid first
local kinds = { lines = true, points = true, bars = true }
local formats = { svg = 'svg', png = 'png', txt = 'text', text = 'text' }
local MOST = 1500                                -- points of a line; longer ones are averaged down
local FEW = 40                                   -- up to here each point of a line is marked

local function fail(...)
  errors.raise('E202', { what = 'plot: ' .. string.format(...), fix = 'what it takes: ?plot.draw at the prompt' })
end

local function finite(v) return type(v) == 'number' and v == v and math.abs(v) < math.huge end

-- Text for gnuplot: single quotes take everything as it is.
local function quoted(s) return "'" .. tostring(s):gsub("'", "''"):gsub('[\r\n]', ' ') .. "'" end

-- -- checking -----------------------------------------------------------------------------------------------

local function check_series(s, i, kind)
  if type(s) ~= 'table' or type(s.y) ~= 'table' then
    fail('series %d is %s, expected { label, x = list, y = list }', i, type(s) == 'table' and 'without y' or type(s))
  end
  for _, k in ipairs { 'x', 'error', 'text' } do
    local list = s[k]
    if list and #list ~= #s.y then fail('series %d has %d values of %s, expected %d as of y', i, #list, k, #s.y) end
  end
  if s.kind and not kinds[s.kind] then fail("series %d is of kind '%s', expected lines, points or bars", i, s.kind) end
  if s.smooth and not (finite(s.smooth) and s.smooth >= 0 and s.smooth < 1) then
    fail('smooth of series %d is %s, expected a number from 0 to below 1', i, tostring(s.smooth))
  end
  for k, v in ipairs(s.x or {}) do
    if type(v) == 'string' and (s.kind or kind) ~= 'bars' then
      fail("x[%d] of series %d is '%s', expected a number (names are for bars)", k, i, v)
    end
  end
end

local function check(o)
  if #o == 0 then fail 'there is no series, expected at least one' end
  local kind = o.kind or 'lines'
  if not kinds[kind] then
    fail("kind is '%s', expected lines, points or bars.%s", tostring(kind), errors.suggest(tostring(kind),
      { 'lines', 'points', 'bars' }))
  end
  for i = 1, #o do check_series(o[i], i, kind) end
  local ending = o.out and o.out:match '%.(%w+)$'
  local format = formats[o.format or ending or (o.out and 'svg' or 'text')]
  if not format then fail("format is '%s', expected svg, png or text", tostring(o.format or ending)) end
  if format ~= 'text' and not o.out then fail('out is missing, expected the path of the %s file', format) end
  return kind, format
end

-- -- data -----------------------------------------------------------------------------------------------------

-- Rows { x, y, error, text } of a series, without what is not finite; names become 1, 2, ..
local function rows_of(s)
  local rows = {}
  for i, y in ipairs(s.y) do
    local x = s.x and s.x[i] or i
    if type(x) == 'string' then x = i end
    if finite(x) and finite(y) then
      rows[#rows + 1] = { x, y, s.error and finite(s.error[i]) and s.error[i] or 0, s.text and s.text[i] or '' }
    end
  end
  return rows
end

-- Means of neighbours, so that at most MOST rows are left.
local function thinned(rows)
  local by = math.ceil(#rows / MOST)
  if by <= 1 then return rows end
  local out = {}
  for i = 1, #rows, by do
    local n, x, y = math.min(by, #rows - i + 1), 0, 0
    for k = i, i + n - 1 do x, y = x + rows[k][1], y + rows[k][2] end
    out[#out + 1] = { x / n, y / n, 0, '' }
  end
  return out
end

-- Mean with weights factor^distance on both sides: no lag behind the values.
local function smoothed(rows, factor)
  local sums, weights = {}, {}
  for i = 1, #rows do sums[i], weights[i] = rows[i][2], 1 end
  for _, way in ipairs { { 1, #rows, 1 }, { #rows, 1, -1 } } do
    local sum, weight = 0, 0
    for i = way[1], way[2], way[3] do
      sums[i], weights[i] = sums[i] + sum, weights[i] + weight
      sum, weight = factor * (sum + rows[i][2]), factor * (weight + 1)
    end
  end
  local out = {}
  for i, r in ipairs(rows) do out[i] = { r[1], sums[i] / weights[i], 0, '' } end
  return out
end

local function block(out, name, rows, shift)
  out[#out + 1] = ('$%s << EOD'):format(name)
  for _, r in ipairs(rows) do
    out[#out + 1] = ('%.9g %.9g %.9g %s'):format(r[1] + (shift or 0), r[2], r[3],
      '"' .. tostring(r[4]):gsub('["\r\n]', ' ') .. '"')
  end
  if #rows == 0 then out[#out + 1] = 'NaN NaN 0 ""' end
  out[#out + 1] = 'EOD'
end

-- -- the script -------------------------------------------------------------------------------------------------

local function terminal(out, o, format, path)
  if format == 'text' then
    out[#out + 1] = ('set terminal dumb noenhanced size %d,%d'):format(o.columns or math.min(host.columns(), 100),
      o.lines or 24)
    return
  end
  local w, h = o.width or 860, o.height or 500
  if format == 'svg' then
    out[#out + 1] = ("set terminal svg noenhanced dynamic size %d,%d font 'Helvetica,Arial,sans-serif,14' "
      .. "background '#ffffff'"):format(w, h)
  else                                           -- twice the pixels: sharp on paper and on dense screens
    out[#out + 1] = ("set terminal pngcairo noenhanced size %d,%d font 'sans,14' fontscale 1.6 linewidth 2 "
      .. "pointscale 1.7 background '#ffffff'"):format(2 * w, 2 * h)
  end
  out[#out + 1] = 'set output ' .. quoted(path)
end

local function axis(out, name, o)
  local log, range, ticks = o[name .. '_log'], o[name .. '_range'], o[name .. '_ticks']
  if o[name] then out[#out + 1] = ('set %slabel %s'):format(name, quoted(o[name])) end
  out[#out + 1] = ("set format %s '%%g'"):format(name)
  if log then out[#out + 1] = ('set logscale %s %g'):format(name, log) end
  out[#out + 1] = ('set %srange [%.9g:%.9g]'):format(name, range[1], range[2])
  if ticks then
    local list = {}
    for i, t in ipairs(ticks) do
      list[i] = type(t) == 'table' and ('%s %.9g'):format(quoted(t[2]), t[1]) or ('%.9g'):format(t)
    end
    out[#out + 1] = ('set %stics (%s)'):format(name, table.concat(list, ', '))
  end
end

-- Different x values of all series, sorted; nil when there are more than `most`.
local function distinct(series, most)
  local seen, list = {}, {}
  for _, rows in ipairs(series) do
    for _, r in ipairs(rows) do
      if not seen[r[1]] then
        seen[r[1]] = true
        list[#list + 1] = r[1]
        if #list > most then return nil end
      end
    end
  end
  table.sort(list)
  return list
end

-- Names under the bars, where x are names; else nil.
local function names_of(o)
  local ticks
  for i = 1, #o do
    for k, x in ipairs(o[i].x or {}) do
      if type(x) == 'string' then
        ticks = ticks or {}
        ticks[k] = ticks[k] or { k, x }
      end
    end
  end
  return ticks
end

local function limit_lines(out, o, parts, text)
  for i, l in ipairs(o.limits or {}) do
    local at = l.y or l.x
    if not finite(at) then fail('limits[%d] has neither x nor y, expected a number in one', i) end
    local style = text and '' or " dt '-' lw 1.2 lc rgb '#666666'"
    if l.y then
      parts[#parts + 1] = ('%.9g with lines%s notitle'):format(at, style)
    else
      out[#out + 1] = ('set arrow from %.9g, graph 0 to %.9g, graph 1 nohead%s'):format(at, at, style)
    end
    if l.label then
      local where = l.y and ('graph 0.99, first %.9g right offset 0,0.5'):format(at)
        or ('first %.9g, graph 0.97 left offset 0.6,0'):format(at)
      out[#out + 1] = ('set label %s at %s%s front'):format(quoted(l.label), where,
        text and '' or " textcolor rgb '#444444' boxed")
    end
  end
end

-- The plot elements of one series; its data blocks go to `out`, its labels to `late`, above all lines.
local function elements(out, parts, late, o, i, rows, kind, text)
  local s, name = o[i], 's' .. i
  local k = (s.style or i) - 1
  local colour, mark = colours[k % #colours + 1], marks[k % #marks + 1]
  local dash, hatch = dashes[k % #dashes + 1], hatches[k % #hatches + 1]
  local title = s.label and 'title ' .. quoted(s.label) or 'notitle'
  local ink = text and '' or (" lc rgb '%s'"):format(colour)
  kind = s.kind or kind
  if kind == 'bars' then
    local width = 0.8 / #o
    block(out, name, rows, (i - (#o + 1) / 2) * width)
    parts[#parts + 1] = ('$%s using 1:2:(%.6g) with boxes fs pattern %d border%s %s'):format(name, width * 0.92, hatch,
      text and '' or (" lc rgb '%s'"):format(colour) .. ink, title)
    if s.error then
      parts[#parts + 1] = ('$%s using 1:($2-$3):(0):(2*$3) with vectors %s notitle'):format(name,
        text and 'nohead' or "heads size graph 0.006,90 lw 1.5 lc rgb '#000000'")
    end
    if o.values and not text and late.bars <= 40 then
      late[#late + 1] = ("$%s using 1:($2+$3):(sprintf('%s',$2)) with labels %s font ',11' notitle"):format(name,
        o.values, late.bars > 10 and 'left rotate by 90 offset 0,0.4' or 'center offset 0,0.6')
    end
  elseif kind == 'points' then
    block(out, name, rows)
    parts[#parts + 1] = ('$%s using 1:2%s with %s pt %d%s %s'):format(name, s.error and ':3' or '',
      s.error and 'yerrorbars' or 'points', text and i or mark, text and '' or ' ps 1.1 lw 1.5' .. ink, title)
  else
    local line = thinned(s.smooth and smoothed(rows, s.smooth) or rows)
    if s.smooth and not text then
      block(out, name .. 'raw', thinned(rows))
      parts[#parts + 1] = ("$%sraw using 1:2 with lines lw 0.7 lc rgb '#b0%s' notitle"):format(name, colour:sub(2))
    end
    block(out, name, line)
    local few = #line <= FEW and not s.smooth
    parts[#parts + 1] = ('$%s using 1:2%s with %s%s %s'):format(name, s.error and ':3' or '',
      s.error and 'yerrorlines' or few and 'linespoints' or 'lines',
      text and '' or (' dt %s lw 2%s%s'):format(dash, (few or s.error) and (' pt %d ps 0.8'):format(mark) or '', ink),
      title)
  end
  if s.text then
    late[#late + 1] = ('$%s using 1:2:4 with labels left offset %s notitle'):format(name, text and '1,0' or '0.9,0.5')
  end
end

-- Least and most of axis k (1: x, 2: y) over the rows and limits, widened by `margin` of their distance at each end;
-- with `zero`, zero is among them.
local function span(o, all, k, margin, zero)
  local least, most = zero and 0 or math.huge, zero and 0 or -math.huge
  local function see(lo, hi)
    least, most = math.min(least, lo), math.max(most, hi)
  end
  for _, rows in ipairs(all) do
    for _, r in ipairs(rows) do see(r[k] - (k == 2 and r[3] or 0), r[k] + (k == 2 and r[3] or 0)) end
  end
  for _, l in ipairs(o.limits or {}) do
    local at = k == 1 and l.x or k == 2 and not l.x and l.y
    if finite(at) then see(at, at) end
  end
  local log = o[k == 1 and 'x_log' or 'y_log']
  if least > most then least, most = log and 1 or 0, log and 2 or 1 end
  if log then
    if least <= 0 then
      fail('%s is %g, expected values above 0 on a logarithmic axis', k == 1 and 'x' or 'y', least)
    end
    local ratio = most > least and (most / least) ^ margin or 1.5
    return least / ratio, most * ratio
  end
  local room = most > least and margin * (most - least) or math.max(math.abs(most) * 0.1, 1e-6)
  local positive = least >= 0
  return positive and math.max(least - room, 0) or least - room, most + room
end

-- What the caller left open: ranges with room for marks and labels, a tick at each N or bar. Bars begin at zero: a
-- cut bar shows a ratio that is not there.
local function view_of(o, kind, all)
  local ranges = {}
  if kind == 'bars' then
    local x = distinct(all, math.huge)
    ranges.x_range = { (x[1] or 1) - 0.6, (x[#x] or 1) + 0.6 }
    ranges.y_range = { span(o, all, 2, o.values and 0.15 or 0.05, true) }
    ranges.x_ticks = names_of(o) or #x <= 40 and x or nil
  else
    local long, beside = false, false
    for i, rows in ipairs(all) do
      long = long or (kind == 'lines' and (#rows > FEW or o[i].smooth))
      beside = beside or o[i].text
    end
    local least, most = span(o, all, 1, long and 0 or 0.03)
    if beside then most = o.x_log and most * (most / least) ^ 0.1 or most + 0.1 * (most - least) end
    ranges.x_range, ranges.y_range = { least, most }, { span(o, all, 2, 0.05) }
    if o.x_log == 2 then ranges.x_ticks = distinct(all, 12) end
  end
  for _, name in ipairs { 'x', 'y' } do
    local given, own = o[name .. '_range'], ranges[name .. '_range']
    if given then ranges[name .. '_range'] = { given[1] or own[1], given[2] or own[2] } end
    ranges[name .. '_ticks'] = o[name .. '_ticks'] or ranges[name .. '_ticks']
    ranges[name], ranges[name .. '_log'] = o[name], o[name .. '_log']
  end
  return ranges
end

local function script(o, kind, format, path)
  local out, parts, all, labels = { 'set encoding utf8' }, {}, {}, 0
  local text = format == 'text'
  for i = 1, #o do
    all[i] = rows_of(o[i])
    if o[i].label then labels = labels + 1 end
  end
  terminal(out, o, format, path)
  if o.title then out[#out + 1] = 'set title ' .. quoted(o.title) end
  out[#out + 1] = labels == 0 and 'unset key' or labels > 4 and 'set key outside right center vertical'
    or 'set key outside bottom center horizontal height 1'
  if not text then
    out[#out + 1] = "set style textbox opaque noborder margins 0.4,0.2 fillcolor rgb '#ffffff'"
    out[#out + 1] = "set border 3 lc rgb '#444444'\nset tics nomirror\nset grid y lc rgb '#dddddd' lw 0.8 dt 1"
    if kind ~= 'bars' then out[#out + 1] = "set grid x lc rgb '#eeeeee' lw 0.8 dt 1" end
  end
  local view = view_of(o, kind, all)
  if text and o.y then
    out[#out + 1] = 'set title ' .. quoted((o.title and o.title .. ': ' or '') .. o.y .. ' (upwards)')
    view.y = nil
  end
  axis(out, 'x', view)
  axis(out, 'y', view)
  local late = { bars = 0 }
  for i = 1, #o do late.bars = late.bars + #all[i] end
  for i = 1, #o do elements(out, parts, late, o, i, all[i], kind, text) end
  limit_lines(out, o, parts, text)
  for _, part in ipairs(late) do parts[#parts + 1] = part end
  out[#out + 1] = 'plot ' .. table.concat(parts, ', \\\n  ')
  return table.concat(out, '\n') .. '\n'
end

-- -- drawing --------------------------------------------------------------------------------------------------------

-- Runs gnuplot on a script; returns what it printed. Raises (code 4) when it is not there or fails.
local function gnuplot(text)
  local file = os.tmpname()
  sys.write(file, text)
  local process = io.popen(('gnuplot %s 2>&1; echo "exit $?"'):format(sys.quoted(file)))
  local said = process:read '*a'
  process:close()
  os.remove(file)
  local printed, code = said:match '^(.*)exit (%d+)%s*$'
  if code == '0' then return printed end
  if code == '127' then
    errors.raise('E404', { what = 'gnuplot is not installed; it draws the pictures', fix = 'apt install gnuplot-nox' })
  end
  errors.raise('E405', 'gnuplot cannot draw this: ' .. (printed or said):gsub('^%s+', ''):gsub('%s+$', ''))
end

--- Draws one picture. o: the series in order, each { y = list, x = list (default 1, 2, ..; names for bars), label,
--- error = list (half heights), text = list (beside the points), kind (default: the picture's), smooth = 0.95 (a
--- running mean over pale raw values), style = k (look of the k-th series) }; and
---   kind     'lines' (default), 'points' or 'bars'; values = '%.3f' writes them above the bars
---   x, y     names of the axes, with units; title
---   x_log, y_log      base of a logarithmic axis; base 2 for x has a tick at each x (N)
---   x_range, y_range  { least, most }, nil: from the data; x_ticks, y_ticks: list of values or { value, name }
---   limits   { { y = 0.5, label = 'chance' }, { x = 800, label = 'task begins' }, .. }: dashed lines
---   out      path; format: 'svg', 'png' or 'text' (default: from the path's ending, else svg; text without a path)
---   width, height in pixels; columns, lines of text
--- Returns the path, or the text when there is no path. Values that are not finite are left out. The file appears
--- whole or not at all, in a folder that is made where it is missing. Raises E202 on series that do not fit, E404 when
--- gnuplot is absent, E405 when it fails, E401 when the file cannot be written.
function M.draw(o)
  local kind, format = check(o)
  local folder = o.out and o.out:match '^(.*)/[^/]*$'
  if folder and folder ~= '' then sys.mkdir(folder) end
  if format == 'text' then
    local text = gnuplot(script(o, kind, format)):gsub('\f', ''):gsub('[ \t]+\n', '\n'):gsub('^\n+', '')
    if not o.out then return text end
    sys.write(o.out, text)
    return o.out
  end
  if sys.kind(o.out) == 'directory' then errors.raise('E401', o.out .. ': cannot be written: it is a folder') end
  local temporary = ('%s.tmp-%d'):format(o.out, sys.pid())
  local f, why = io.open(temporary, 'wb')
  if not f then errors.raise('E401', ('%s: cannot be written: %s'):format(o.out, why:gsub('^.*: ', ''))) end
  f:close()
  local ok, e = pcall(gnuplot, script(o, kind, format, temporary))
  if not ok then
    os.remove(temporary)
    error(e, 0)
  end
  sys.rename(temporary, o.out)
  return o.out
end

return M
