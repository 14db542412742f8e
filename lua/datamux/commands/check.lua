-- commands/check.lua -- everything about a recipe that can be found out without training it: values, files, labels,
-- lengths, repetitions, one step, its memory. No run directory is made.
local M = { name = 'check', summary = 'check recipe, data, tokenizer and memory; train one step; keep nothing' }

function M.configure(p, take)
  p:argument('recipe', 'a recipe'):args '?'
  p:argument('overrides', 'key=value (all keys: datamux help keys)'):args '*'
  p:option('--config', 'a Lua file that returns keys, above the recipe'):argname 'FILE':count '*'
  take(p, 'device threads seed json download offline trust')
end

-- Example number i (from 1) of a set as it was read, as one text; an image as its bytes.
local function key(raw, i)
  if raw.pixels then
    local size = raw.height * raw.width
    return require('ffi').string(raw.pixels + (i - 1) * size, size)
  end
  if raw.words then return table.concat(raw.words[i], ' ') end
  return raw.pairs and raw.texts[i] .. '\0' .. raw.pairs[i] or raw.texts[i]
end

-- Figures of a split (raw: as it was read): counts, labels, lengths in tokens, texts that repeat an earlier one, and
-- those that `seen` has. Returns them, and the texts.
local function split_facts(set, raw, seen)
  local f = require('datamux.data.facts').of(raw)
  f.texts, f.truncated, f.skipped, f.repeated, f.shared = set.n, set.truncated or 0, raw.skipped or 0, 0, 0
  local own, least, most = {}, math.huge, 0
  for i = 0, set.n - 1 do
    local n = set.offset and set.offset[i + 1] - set.offset[i] or 0
    least, most = math.min(least, n), math.max(most, n)
    local k = key(raw, i + 1)
    if own[k] then f.repeated = f.repeated + 1 end
    if seen and seen[k] then f.shared = f.shared + 1 end
    own[k] = true
  end
  f.tokens = set.offset and { min = least, mean = set.offset[set.n] / set.n, max = most }
  return f, own
end

-- Notices about the data: things that are allowed, and seldom meant. names: the labels; named: whether somebody named
-- them, and they are not just what follows from those that occur.
local function notices(train, dev, names, named)
  local out = {}
  local function add(...) out[#out + 1] = string.format(...) end
  if dev.shared > 0 then
    add('%d of %d dev texts are also in train (%.1f %%)', dev.shared, dev.texts, 100 * dev.shared / dev.texts)
  end
  for _, f in ipairs { { 'train', train }, { 'dev', dev } } do
    if f[2].skipped > 0 then add('%d rows of %s are cut off or half empty, and left out', f[2].skipped, f[1]) end
    local share = f[2].truncated / f[2].texts
    if share > 0.05 then add('%.1f %% of the %s texts are cut off: raise data.length', 100 * share, f[1]) end
  end
  for _, name in ipairs(names) do
    local expected = named or dev.labels[name]
    if next(train.labels) and expected and not train.labels[name] then add("no train text has the label '%s'", name) end
  end
  return out
end

function M.run(o)
  local columns, errors, json = require 'datamux.columns', require 'datamux.errors', require 'datamux.json'
  local core, launch, scope = require 'datamux.ffi', require 'datamux.launch', require 'datamux.scope'
  local facts, plural = require 'datamux.data.facts', require 'datamux.plural'
  local recipe = launch.recipe(o)
  local config, list = launch.resolve(recipe, o)
  local silent = require('datamux.log').new { mode = 'none' }
  local session = require('datamux.train').new(config, { log = silent })
  if #session.stages == 0 then
    errors.raise('E202', { what = "nothing is trained: 'warmup.steps' and 'train.steps' are 0",
                           fix = 'train.epochs=10' })
  end
  local d = session.data
  local kind = d.tok and 'text' or 'image'
  local names = d.label_names or {}
  local named = config.task ~= 'own' or config.own.labels ~= nil
  local train, seen = split_facts(d.train, d.task.train)
  local dev = split_facts(d.dev, d.task.dev, seen)
  local out = { recipe = recipe.file, name = config.name, task = config.task, device = scope.about(),
                parameters = session.model:count(), vocabulary = d.tok and d.tok.vocab_size, train = train, dev = dev,
                values = #list, stages = json.list {}, notices = json.list(notices(train, dev, names, named)) }
  for i, stage in ipairs(session.stages) do
    local t = core.C.dm_clock()
    local r = session:step(stage, 1)
    out.stages[i] = { name = stage.name, steps = stage.steps, texts_per_step = stage.loader.o.rows * config.mux.n,
                      loss = r.loss, seconds_per_step = core.C.dm_clock() - t }
  end
  out.peak = scope.memory().peak
  if o.json then
    print(json.encode(out, true))
    return 0
  end
  print(('recipe     %s: %s, N = %d, %.1f M parameters'):format(out.name, out.task, config.mux.n, out.parameters / 1e6))
  for _, s in ipairs { { 'train', train }, { 'dev', dev } } do
    local f = s[2]
    local sizes = f.tokens and (' · tokens %d to %d, mean %.1f · %d cut off at %d (%.1f %%)'):format(f.tokens.min,
      f.tokens.max, f.tokens.mean, f.truncated, config.data.length, 100 * f.truncated / f.texts) or ''
    print(('%-10s %s%s · %d repeated%s'):format(s[1], plural.of(f.texts, kind), sizes, f.repeated,
      s[1] == 'dev' and (' · %d also in train'):format(f.shared) or ''))
    if next(f.labels) or f.scores then print('           ' .. facts.text(f, names)) end
  end
  if d.tok then print(('tokenizer  %s, %d entries'):format(d.tok.kind, out.vocabulary)) end
  for _, s in ipairs(out.stages) do
    print(('%-10s %s of %s · one took %.2f s, loss %.4f'):format(s.name, plural.of(s.steps, 'step'),
      plural.of(s.texts_per_step, kind), s.seconds_per_step, s.loss))
  end
  print(('memory     %s after one step of each stage · %s'):format(columns.bytes(out.peak), out.device))
  for _, text in ipairs(out.notices) do print('notice     ' .. text) end
  print 'ready'
  return 0
end

return M
