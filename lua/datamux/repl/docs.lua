-- repl/docs.lua -- help at the prompt, from the sources' own comments: --- above Lua functions, the blocks of
-- src/datamux.h above C functions, and the lines of the recipe schema.
local host = require 'datamux.host'
local schema = require 'datamux.schema'

local M = {}

--- Text of a source file (datamux/tensor.lua, datamux.h): from the tree of DATAMUX_LUA, or compiled in, or a file of
--- the person's own; nil where there is none.
function M.source(name)
  local tree = os.getenv 'DATAMUX_LUA'
  local f = tree and io.open(tree .. '/' .. name)
  if not f then
    local text = host.source(name)
    if text then return text end
    f = io.open(name)
  end
  if not f then return nil end
  local text = f:read '*a'
  f:close()
  return text
end

-- Calls fn(head, block, line) for each function of Lua text with a --- comment.
local function each_block(text, fn)
  local block, number = {}, 0
  for line in (text .. '\n'):gmatch '([^\n]*)\n' do
    number = number + 1
    if line:find '^%s*%-%-%-' then
      block[#block + 1] = line:gsub('^%s*%-%-%- ?', '')
    else
      local head = line:match '^%s*function%s+(.*)$' or line:match '^%s*local%s+function%s+(.*)$'
      if #block > 0 and head then fn(head:match '^[^)]*%)' or head, block, number) end
      block = {}
    end
  end
end

-- The name a reader uses: M.draw of datamux/plot.lua is plot.draw, linear.fwd of an op is linear.
local function public(head, file)
  local name = head:match '^[%w_.:]+'
  local module = file:match '([%w_]+)/init%.lua$' or file:match '([%w_]+)%.lua$'
  name = name:gsub('%.fwd$', '')
  if file:find '/ops/' then return (name:gsub('^M%.', '')) end
  if file == 'datamux/init.lua' then return (name:gsub('^M%.', 'dm.')) end
  return (name:gsub('^M([.:])', module .. '%1'))
end

local index

--- All documented things: a list of { name, head, text (lines), where, file, line, key (whether a recipe's) }.
function M.entries()
  if index then return index end
  index = {}
  local files = host.sources()
  table.sort(files)
  for _, file in ipairs(files) do
    local text = M.source(file)
    if file:find '%.lua$' then
      each_block(text, function(head, block, line)
        local name = public(head, file)
        index[#index + 1] = { name = name, head = name .. (head:match '%(.*$' or ''), text = block, file = file,
                              line = line, where = ('%s:%d'):format(file, line) }
      end)
    elseif file == 'datamux.h' then
      for block, prototype in text:gmatch '/%*%s*([^/]-)%s*%*/%s*\n([^;{}/]-%b()%s*;)' do
        local lines = {}
        for line in (block .. '\n'):gmatch '([^\n]*)\n' do lines[#lines + 1] = (line:gsub('^%*%* ?', '')) end
        local name = prototype:match '(dm_[%w_]+)%s*%('
        if name then
          index[#index + 1] = { name = name, head = prototype:gsub('%s+', ' '), text = lines, where = 'src/datamux.h' }
        end
      end
    end
  end
  schema.each(function(path, e)
    local text = { e.doc, ('%s, default %s'):format(e.kind, e.default == nil and 'none' or tostring(e.default)) }
    if e.choice then text[#text + 1] = 'one of ' .. table.concat(e.choice, ', ') end
    index[#index + 1] = { name = path, head = path .. '   (a key of recipes)', text = text, key = true,
                          where = 'datamux/schema.lua' }
  end)
  return index
end

local function page(e)
  return ('%s\n  %s\n  %s'):format(e.head, table.concat(e.text, '\n  '), e.where)
end

-- The entry of a Lua function by where it was defined, also in a file of the person's own.
local function defined(fn)
  local info = debug.getinfo(fn, 'S')
  if info.what == 'C' or info.source:sub(1, 1) ~= '@' then return nil end
  local path = info.source:sub(2)
  local file = path:match 'datamux/.*$'
  for _, e in ipairs(M.entries()) do
    if file and e.file == file and e.line == info.linedefined then return e end
  end
  local text, found = M.source(path), nil
  if text then
    each_block(text, function(head, block, line)
      if line == info.linedefined then
        found = { head = head, text = block, where = ('%s:%d'):format(path, line) }
      end
    end)
  end
  return found
end

-- How well the entry's name fits what was asked: 0 for not at all.
local function fit(name, asked)
  local a, b = name:gsub(':', '.'), asked:gsub(':', '.'):gsub('^dm%.', '')
  if a == b or a:gsub('^dm%.', '') == b then return 4 end
  if a:sub(-#b - 1) == '.' .. b then return 3 end
  if a == 'dm_' .. b or a == 'dm_' .. b .. '_fwd' then return 2 end
  if a:match '[%w_]+$' == b:match '[%w_]+$' then return 1 end
  return 0
end

--- The help on `name` (dm.linear, Tensor:fill, dm_mux_fwd, train.lr), or nil. value: what the name stands for at the
--- prompt, if anything.
function M.help(name, value)
  local e = type(value) == 'function' and defined(value)
  if e then return page(e) end
  local best, least = nil, 0
  for _, candidate in ipairs(M.entries()) do
    local f = fit(candidate.name, name)
    if f > least then best, least = candidate, f end
  end
  return best and page(best)
end

--- Documented things whose name or text has `word`: a list of { name, line }, names first.
function M.search(word)
  local names, texts = {}, {}
  word = word:lower()
  for _, e in ipairs(M.entries()) do
    local all = table.concat(e.text, ' ')
    local hit = { name = e.name .. (e.key and '=' or ''), line = (all:match '^(.-%.)%s' or all) }
    if e.name:lower():find(word, 1, true) then
      names[#names + 1] = hit
    elseif all:lower():find(word, 1, true) then
      texts[#texts + 1] = hit
    end
  end
  for _, hit in ipairs(texts) do names[#names + 1] = hit end
  return names
end

--- Forgets what was read, so that reloaded sources are read again.
function M.forget() index = nil end

return M
