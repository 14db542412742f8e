-- commands/explain.lua -- what an error number means.
local M = { name = 'explain', summary = 'what an error number means, and how to fix it' }

function M.configure(p, take)
  p:argument('number', 'E203, or nothing for the list'):args '?'
  take(p, 'json')
end

function M.run(o)
  local errors, explain, json = require 'datamux.errors', require 'datamux.explain', require 'datamux.json'
  if not o.number then
    local out = json.list {}
    for _, id in ipairs(explain.numbers()) do out[#out + 1] = { number = id, title = explain.pages[id][1] } end
    if o.json then
      print(json.encode(out, true))
    else
      for _, e in ipairs(out) do print(e.number .. '  ' .. e.title) end
    end
    return 0
  end
  local id = o.number:upper():gsub('^E?(%d+)$', 'E%1')
  local text = explain.page(id)
  if not text then
    errors.raise('E200', { what = ("there is no error '%s'"):format(o.number),
      near = errors.nearest(id, explain.numbers()),
                           fix = 'datamux explain lists them' })
  end
  print(o.json and json.encode { number = id, title = explain.pages[id][1], text = explain.pages[id][2] } or text)
  return 0
end

return M
