-- commands/plot.lua -- datamux plot RUN...: pictures of runs, one folder of them or in the terminal.
local M = { name = 'plot', summary = 'draw loss, score, slots and comparisons of runs' }

function M.configure(p, take)
  p:argument('runs', 'folders of runs, NAME, NAME/latest, or ids; several are compared'):args '+'
  p:option('-m --metric', 'loss, score, retrieval, slots (score by index), n (score by N), frontier (score against '
    .. 'throughput), or any value that was recorded, as lr; repeat for several; default: all there is')
    :argname 'NAME':count '*'
  p:option('-O --output', 'a folder, or with one picture a file (default: RUN/plots; ./plots for several runs)')
    :argname 'PATH'
  p:option('--format', 'svg or png (default: by the file, else svg)'):choices { 'svg', 'png' }
  p:flag('--term', 'print the pictures as text instead')
  take(p, 'out json')
end

local function wanted(o, runs)
  local pictures = require 'datamux.pictures'
  if not o.metric or #o.metric == 0 then return pictures.all(runs) end
  local list = {}
  for i, name in ipairs(o.metric) do list[i] = { name = name, picture = pictures.picture(runs, name) } end
  return list
end

-- Where the picture `name` goes.
local function path_of(o, runs, name, count)
  local ending = o.output and o.output:match '%.(%w+)$'
  if ending == 'svg' or ending == 'png' then
    if count > 1 then
      require('datamux.errors').raise('E200', {
        what = ('%d pictures cannot go into the one file %s'):format(count, o.output),
        fix = '-m loss for one of them, or a folder' })
    end
    return o.output
  end
  local folder = o.output or #runs == 1 and runs[1].dir .. '/plots' or 'plots'
  return ('%s/%s.%s'):format(folder:gsub('/+$', ''), name, o.format or 'svg')
end

function M.run(o)
  local plot, json = require 'datamux.plot', require 'datamux.json'
  local pictures, rundir = require 'datamux.pictures', require 'datamux.rundir'
  local runs = {}
  for i, what in ipairs(o.runs) do runs[i] = pictures.read(rundir.locate(o.out, what)) end
  pictures.label(runs)
  local list, out = wanted(o, runs), json.list {}
  for _, e in ipairs(list) do                    -- all paths are good before anything is drawn
    if not o.term then e.picture.out = path_of(o, runs, e.name, #list) end
    e.picture.format = o.term and 'text' or o.format
  end
  for i, e in ipairs(list) do
    local drawn = plot.draw(e.picture)
    if not o.json then print(drawn) end
    out[i] = { name = e.name, path = e.picture.out, text = o.term and drawn or nil }
  end
  if o.json then print(json.encode(out, true)) end
  return 0
end

return M
