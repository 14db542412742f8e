-- paper.lua -- the paper's main table, ours beside the published: every task and network at N = 1, 2, 5, 10, 20, 40,
-- and MNIST at 1, 2, 4, 8, 16. A cell of ours is the run that --train would make, or else the one trained for the most
-- steps; the table below gives its date and command. A cell that nobody ran is empty.
local analysis = require 'datamux.analysis'
local published = require 'datamux.published'

local M = { summary = 'the paper\'s table: ours beside the published, every task and N' }

local texts, images = { 1, 2, 5, 10, 20, 40 }, { 1, 2, 4, 8, 16 }

local function add(words, ...)
  for _, w in ipairs { ... } do words[#words + 1] = w end
end

-- The recipe that a task's multiplexed networks are trained by at N, and what differs from it. An update of few
-- instances gets more rows, so that a small N is not ten times the work of a large one; 40 instances do not fit in the
-- width of profile small, where retrieval ends at 0.47 however long it is trained, and in three times of it at 0.77.
local function by_recipe(task, n, profile)
  local words = {}
  if n ~= 20 and not (task == 'sst2' and n == 5) then add(words, 'mux.n=' .. n) end
  if n <= 2 then add(words, 'train.rows=' .. 64 / n) end
  if task == 'sst2' and n <= 5 then return 'sst2_n5.lua', words end
  if n == 5 then add(words, 'train.rows=16') end
  if n <= 5 then add(words, 'train.lr=5e-4') end
  if n == 40 then add(words, 'warmup.grow=0.7', 'train.grow=0.7') end    -- else it does not start (docs/method.md)
  if n == 40 and profile ~= 'paper' then
    add(words, 'model.width=768', 'model.heads=12', 'warmup.lr=7e-4', 'train.lr=5e-4')
  end
  if task == 'conll2003' and n <= 5 then add(words, 'train.epochs=10') end
  if task == 'conll2003' and (n == 2 or n == 5) then     -- better by seven points than after a warm-up, and sooner
    add(words, 'demux.rank=0', 'warmup.steps=0', 'train.alpha=0')
  elseif n <= 5 then
    add(words, 'warmup.steps=3000', 'warmup.rows=16', 'warmup.lr=1e-3')
    if task == 'conll2003' then add(words, 'warmup.stop=0.98', 'warmup.every=250') end
  end
  return (task == 'conll2003' and 'ner' or task) .. '_n20.lua', words
end

-- The plain network of a task, at a plain network's rows and rate.
local function plain(task)
  if task == 'sst2' then return 'sst2_n1.lua', {} end
  local recipe = by_recipe(task, 20, 'small')
  return recipe, { 'model.kind=plain', 'mux.n=1', 'warmup.steps=0', 'train.rows=64', 'train.lr=5e-4', 'train.alpha=0',
    'train.epochs=' .. (task == 'conll2003' and 10 or 4) }
end

-- The published separation and read-out on SST-2, by the schedule of the recipe at this N. By that, the small network
-- gives a constant answer from N = 5 on; it starts where texts join the row slowly: at N = 5 without a warm-up, which
-- makes it a network of retrieval first, at N = 10 while there are two or three.
local function published_network(n, profile)
  local recipe, words = by_recipe('sst2', n, profile)
  add(words, 'demux.kind=index', 'demux.key=mux', 'demux.read=cls', 'demux.retrieval=separate', 'demux.tied=false')
  if n >= 5 and profile ~= 'paper' then
    add(words, 'train.grow=0.7')
    if n == 5 then
      add(words, 'warmup.steps=0', 'train.epochs=16')
    else
      add(words, 'warmup.grow=0.7', 'warmup.rows=16', 'warmup.lr=5e-4', 'warmup.steps=5000',
        'train.rows=16', 'train.lr=5e-4', 'train.epochs=64')
    end
  end
  return recipe, words
end

--- Every cell: plain, then multiplexed at N = 1 (retrieval warm-up without mixing) to 40, on SST-2 also with the
--- published network; images with the CNN, and with the perceptron and four multiplexers.
function M.plan(o)
  local out = {}
  local function cell(task, n, kind, recipe, words)
    if not o.task or o.task == task then
      out[#out + 1] = { name = ('paper-%s-%s%d'):format(task, kind, n), recipe = recipe, words = words }
    end
  end
  for _, task in ipairs { 'sst2', 'conll2003', 'qnli', 'mnli', 'qqp' } do
    cell(task, 1, 'plain', plain(task))
    for _, n in ipairs { 20, 5, 2, 10, 40, 1 } do
      local recipe, words = by_recipe(task, n, o.profile)
      if task == 'sst2' and n == 20 and o.profile ~= 'paper' then     -- two points better than after a warm-up
        add(words, 'warmup.steps=0')
      end
      cell(task, n, 'n', recipe, words)
    end
    if task == 'sst2' then
      for _, n in ipairs { 2, 5, 20, 10 } do
        cell(task, n, 'published', published_network(n, o.profile))
      end
    end
  end
  cell('mnist', 1, 'plain', 'mnist_lenet.lua', {})
  for _, n in ipairs(images) do cell('mnist', n, 'n', 'mnist_cnn.lua', { 'mux.n=' .. n }) end
  cell('mnist', 1, 'plain-mlp', 'mnist_lenet.lua', { 'model.kind=mlp' })
  for _, kind in ipairs { 'identity', 'hadamard', 'so', 'matrix' } do
    for _, n in ipairs(images) do
      cell('mnist', n, 'mlp-' .. kind, 'mnist_mlp.lua', { 'mux.n=' .. n, 'mux.kind=' .. kind, 'train.steps=2000' })
    end
  end
  return out
end

local function columns(list, own)
  local out = { { 'task', 'task', '%s' }, { 'model', 'model', '%s' }, { 'from', 'from', '%s' } }
  for _, n in ipairs(list) do out[#out + 1] = { 'n' .. n, 'N = ' .. n, own } end
  out[#out + 1] = { 'mark', 'mark', '%s' }
  return out
end

M.columns = columns(texts, '%.4f')
local image_columns = columns(images, '%.4f')

-- Rows of published figures; marks: those of its cells, each with its N where they differ.
local function published_rows(list, ns, o)
  local rows = {}
  for _, p in ipairs(list) do
    if not o.task or o.task == p.task then
      local row, marks, of = { task = p.task, model = p.model, from = 'published', source = p.source }, {}, {}
      for _, n in ipairs(ns) do
        if p[n] then
          row['n' .. n] = p[n][1]
          local m = p[n][2]
          if not of[m] then
            of[m] = {}
            marks[#marks + 1] = m
          end
          table.insert(of[m], n)
        end
      end
      for i = 2, #marks do marks[i] = ('%s at N = %s'):format(marks[i], table.concat(of[marks[i]], ', ')) end
      row.mark = table.concat(marks, ', ')
      rows[#rows + 1] = row
    end
  end
  return rows
end

-- Adds our rows, one for each task and network, below the published of the same task; cells: what each figure is.
local function own_rows(rows, runs, cells)
  local at = {}
  for _, r in ipairs(runs) do
    local key = r.task .. '|' .. r.model
    if not at[key] then
      at[key] = { task = r.task, model = r.model, from = 'ours' }
      rows[#rows + 1] = at[key]
    end
    at[key]['n' .. r.n] = r.value
    cells[#cells + 1] = { task = r.task, model = r.model, n = r.n, metric = r.metric, value = r.value, std = r.std,
      scored = r.report.scored, total = r.report.total, steps = r.steps, seconds = r.seconds, date = r.date,
      command = r.command, run = r.dir }
  end
  local order = {}
  for i, r in ipairs(rows) do order[r] = i end
  table.sort(rows, function(a, b)
    if a.task ~= b.task then return a.task < b.task end
    return order[a] < order[b]
  end)
end

local cell_columns = { { 'task', 'task', '%s' }, { 'model', 'model', '%s' }, { 'n', 'N', '%d' },
  { 'metric', 'metric', '%s' }, { 'value', 'mean', '%.4f' }, { 'std', 'std', '%.4f' }, { 'scored', 'scored', '%d' },
  { 'total', 'of', '%d' }, { 'steps', 'steps', '%d' }, { 'seconds', 'seconds', '%.0f' }, { 'date', 'date', '%s' },
  { 'command', 'command', '%s' } }

function M.collect(o)
  local of_texts, of_images, cells = {}, {}, {}
  for _, r in ipairs(analysis.runs(o, function(r)
    return r.metric and r.task ~= 'synthetic' and r.task ~= 'own'
  end)) do
    table.insert(r.task == 'mnist' and of_images or of_texts, r)
  end
  local rows = published_rows(published.tasks, texts, o)
  local pictures = published_rows(published.images, images, o)
  own_rows(rows, of_texts, cells)
  own_rows(pictures, of_images, cells)
  local tables, shown = {}, nil
  if o.task == 'mnist' then
    rows, shown = pictures, image_columns
  elseif not o.task then
    tables[1] = { title = 'Images: test accuracy', columns = image_columns, rows = pictures }
  end
  tables[#tables + 1] = { title = 'Where our figures come from', columns = cell_columns, rows = cells }
  return rows, { columns = shown, tables = tables, notes = {
    'Score on the whole dev set (accuracy; conll2003: entity F1), ours the mean over random groupings. The published '
      .. 'scripts drop the tail that fills no batch.', 'Marks: ' .. published.marks } }
end

function M.picture(rows, _, o)
  local series, own = {}, {}
  for _, r in ipairs(rows) do
    if r.from == 'ours' then own[r.task] = true end
  end
  for _, r in ipairs(rows) do
    local from = r.from == 'published' and ' (published)' or ''
    local s = { label = ('%s: %s%s'):format(r.task, r.model, from), x = {}, y = {} }
    for _, n in ipairs(o.task == 'mnist' and images or texts) do
      if analysis.defined(r['n' .. n]) then s.x[#s.x + 1], s.y[#s.y + 1] = n, r['n' .. n] end
    end
    if #s.x > 0 and (own[r.task] or not next(own)) then series[#series + 1] = s end
  end
  return analysis.picture(series, { x = 'N', y = 'dev score', x_log = 2, title = 'Ours and the published', height = 700,
    width = 1300 })
end

return M
