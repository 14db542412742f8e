-- columns.lua -- rows of cells as aligned text, for the tables that commands print.
local M = {}

--- Columns that a text takes: its characters.
function M.width(cell) return select(2, cell:gsub('[^\128-\191]', '')) end

local width = M.width

--- Text of rows (lists of strings), columns aligned, two blanks between them; the last column is not padded.
function M.text(rows)
  local widths, out = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, width(cell)) end
  end
  for r, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      cells[i] = i == #row and cell or cell .. (' '):rep(widths[i] - width(cell))
    end
    out[r] = table.concat(cells, '  ')
  end
  return table.concat(out, '\n')
end

--- The same rows as a Markdown table, the first being the head. left: of each column, true to align it to the left
--- (default: to the right).
function M.markdown(rows, left)
  local widths, out = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 3, width(cell)) end
  end
  local function add(row)
    local cells = {}
    for i, cell in ipairs(row) do
      local room = (' '):rep(widths[i] - width(cell))
      cells[i] = left and left[i] and cell .. room or room .. cell
    end
    out[#out + 1] = '| ' .. table.concat(cells, ' | ') .. ' |'
  end
  for r, row in ipairs(rows) do
    add(row)
    if r == 1 then
      local marks = {}
      for i in ipairs(row) do
        marks[i] = left and left[i] and ('-'):rep(widths[i]) or ('-'):rep(widths[i] - 1) .. ':'
      end
      add(marks)
    end
  end
  return table.concat(out, '\n')
end

--- A number, `undefined` where it is none (a correlation with a constant), or - where nothing was measured.
function M.number(v, format)
  if type(v) ~= 'number' then return '-' end
  return v == v and (format or '%.4f'):format(v) or 'undefined'
end

--- A count, its thousands apart: 12,400,000.
function M.grouped(n)
  local text = ('%.0f'):format(n):reverse():gsub('(%d%d%d)', '%1,'):reverse()
  return (text:gsub('^,', ''))
end

--- Bytes as a person reads them: 512 B, 3.4 MB.
function M.bytes(n)
  if n < 1000 then return ('%d B'):format(n) end
  for _, unit in ipairs { 'kB', 'MB', 'GB' } do
    n = n / 1000
    if n < 1000 then return ('%.1f %s'):format(n, unit) end
  end
  return ('%.1f TB'):format(n / 1000)
end

--- Bytes in powers of two, as memory is counted: 31 MiB, 5.7 GiB.
function M.binary(n)
  local mib = n / 1048576
  if mib >= 1024 then return ('%.1f GiB'):format(mib / 1024) end
  return (mib < 10 and '%.1f MiB' or '%.0f MiB'):format(mib)
end

return M
