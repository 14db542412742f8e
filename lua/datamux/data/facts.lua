-- facts.lua -- what a set says of its labels: how often each occurs, or the range of its scores.
local M = {}

--- Of a set as it was read: { labels = name -> count (of words for taggers), labelled = their sum, scores = { min,
--- max } or nil }.
function M.of(set)
  local f = { labels = {}, labelled = 0 }
  local function count(label)
    local name = set.label_names[label + 1]
    f.labels[name], f.labelled = (f.labels[name] or 0) + 1, f.labelled + 1
  end
  for i = 0, set.labels and set.n - 1 or -1 do count(set.labels[i]) end
  for _, tags in ipairs(set.gold or {}) do
    for _, tag in ipairs(tags) do count(tag) end
  end
  if set.scores then
    f.scores = { min = math.huge, max = -math.huge }
    for i = 0, set.n - 1 do
      f.scores.min, f.scores.max = math.min(f.scores.min, set.scores[i]), math.max(f.scores.max, set.scores[i])
    end
  end
  return f
end

--- Facts as text, labels in the order of `names`: "negative 44.2 %, positive 55.8 %", or "scores 0 to 5". counted: with
--- the counts.
function M.text(f, names, counted)
  local out = {}
  if f.scores then return ('scores %g to %g'):format(f.scores.min, f.scores.max) end
  for _, name in ipairs(names) do
    local n = f.labels[name]
    local share = n and ('%.1f %%'):format(100 * n / f.labelled)
    if n then out[#out + 1] = counted and ('%s %d (%s)'):format(name, n, share) or ('%s %s'):format(name, share) end
  end
  return table.concat(out, ', ')
end

return M
