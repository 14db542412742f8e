-- journal.lua -- reading metrics.jsonl, the truth of a run: what a continued run repeated is counted once.
local cjson = require 'cjson'
local sys = require 'datamux.sys'

local M = {}

local function number(v) return type(v) == 'number' and v or nil end

-- Takes out of `list` what the beginning of a stage at `from` supersedes: later steps of it, and the stages after it.
local function supersede(list, order, stage, from)
  local out = {}
  for _, r in ipairs(list) do
    local after = r.stage and order[r.stage] and order[r.stage] > order[stage]
    local again = r.stage == stage and number(r.step) and r.step > from
    if not after and not again then out[#out + 1] = r end
  end
  return out
end

--- The records of text (lines of JSON), in order, each step once. A torn last line is left out.
function M.clean(text)
  local list, order, stages = {}, {}, 0
  for line in text:gmatch '[^\n]+' do
    local ok, r = pcall(cjson.decode, line)
    if ok and type(r) == 'table' then
      if r.kind == 'event' and (r.event == 'stage' or r.event == 'resume') then
        if order[r.stage] then
          list = supersede(list, order, r.stage, number(r.from_step) or 0)
        else
          stages = stages + 1
          order[r.stage] = stages
        end
      end
      for k, v in pairs(r) do
        if v == cjson.null then r[k] = nil end
      end
      list[#list + 1] = r
    end
  end
  return list
end

--- The records of a run directory; an empty list where it has none.
function M.read(dir) return M.clean(sys.read(dir .. '/metrics.jsonl') or '') end

-- The keys of records, in the order first met.
local function keys(list)
  local names, seen = {}, {}
  for _, r in ipairs(list) do
    local own = {}
    for k in pairs(r) do own[#own + 1] = k end
    table.sort(own)
    for _, k in ipairs(own) do
      if not seen[k] then
        names[#names + 1] = k
        seen[k] = true
      end
    end
  end
  return names
end

--- Records as CSV: one row for each; missing values are empty. names: the columns (default: all keys, in the order
--- first met).
function M.csv(list, names)
  names = names or keys(list)
  local out = { table.concat(names, ',') }
  for _, r in ipairs(list) do
    local row = {}
    for i, k in ipairs(names) do
      local v = r[k]
      local s = v == nil and '' or type(v) == 'number' and ('%.12g'):format(v) or tostring(v)
      row[i] = s:find '[,"\n]' and '"' .. s:gsub('"', '""') .. '"' or s
    end
    out[#out + 1] = table.concat(row, ',')
  end
  return table.concat(out, '\n') .. '\n'
end

return M
