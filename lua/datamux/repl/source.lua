-- repl/source.lua -- what is typed at the prompt, seen as Lua source: tokens, locals that last, open braces.
local M = {}

local openers = { ['function'] = 1, ['if'] = 1, ['do'] = 1, ['repeat'] = 1 }
local closers = { ['end'] = 1, ['until'] = 1 }

-- The end of a long bracket that opens at i, or nil where none opens there; #s where it is never closed.
local function long_end(s, i)
  local eq = s:match('^%[(=*)%[', i)
  if not eq then return nil end
  local _, e = s:find(']' .. eq .. ']', i, true)
  return e or #s, e == nil
end

-- The end of a quoted string that opens at i; #s, true where it is not closed.
local function string_end(s, i)
  local quote, k = s:sub(i, i), i + 1
  while k <= #s do
    local c = s:sub(k, k)
    if c == '\\' then
      k = k + 1
    elseif c == quote then
      return k
    end
    k = k + 1
  end
  return #s, true
end

--- The tokens of s: a list of { kind = 'name' | 'string' | 'number' | 'comment' | 'sign', text, from, to, open (a
--- string or comment without its end) }.
function M.tokens(s)
  local out, i = {}, 1
  local function put(kind, to, open)
    out[#out + 1] = { kind = kind, text = s:sub(i, to), from = i, to = to, open = open or false }
    i = to + 1
  end
  while i <= #s do
    local c = s:sub(i, i)
    local long, torn = long_end(s, i)
    if c:find '%s' then
      i = i + 1
    elseif s:sub(i, i + 1) == '--' then
      local e, unclosed = long_end(s, i + 2)
      put('comment', e or (s:find('\n', i, true) or #s + 1) - 1, unclosed)
    elseif long then
      put('string', long, torn)
    elseif c == '"' or c == "'" then
      put('string', string_end(s, i))
    elseif c:find '[%a_]' then
      put('name', select(2, s:find('^[%w_]+', i)))
    elseif c:find '%d' then
      put('number', select(2, s:find('^[%w.]+', i)))
    else
      put('sign', i)
    end
  end
  return out
end

-- Where the names of a local statement end, and whether values follow: index of the last name's token, boolean.
local function name_list(t, k)
  while t[k + 1] and t[k + 1].text == ',' and t[k + 2] and t[k + 2].kind == 'name' do k = k + 2 end
  return k, t[k + 1] ~= nil and t[k + 1].text == '='
end

--- s with the `local` of its outermost statements taken away, so that they become variables of the prompt.
function M.lasting(s)
  local t, depth, out, at = M.tokens(s), 0, {}, 1
  local code = {}
  for _, e in ipairs(t) do
    if e.kind ~= 'comment' then code[#code + 1] = e end
  end
  for k, e in ipairs(code) do
    if e.kind == 'name' then
      depth = depth + (openers[e.text] or 0) - (closers[e.text] or 0)
      local next = code[k + 1]
      if e.text == 'local' and depth == 0 and next and next.kind == 'name' then
        out[#out + 1] = s:sub(at, e.from - 1)
        at = e.to + 1
        if next.text ~= 'function' then
          local last, values = name_list(code, k + 1)
          if not values then
            out[#out + 1] = s:sub(at, code[last].to) .. ' = nil'
            at = code[last].to + 1
          end
        end
      end
    end
  end
  out[#out + 1] = s:sub(at)
  return table.concat(out)
end

--- Where s ends, for completion: { string = the text of the open string or nil, keys = the names that lead to the
--- innermost open brace (a table in a list has ''), call = what stands before the outermost brace ("dm.recipe"),
--- key = the name before the last `=` }.
function M.place(s)
  local t, stack = M.tokens(s), {}
  local open = t[#t] and t[#t].open and t[#t].kind == 'string' and t[#t] or nil
  local key, before = nil, ''
  for _, e in ipairs(t) do
    if e.text == '{' and e.kind == 'sign' then
      stack[#stack + 1] = { key = key or '', call = before }
      key = nil
    elseif e.text == '}' and e.kind == 'sign' then
      table.remove(stack)
      key = nil
    elseif e.text == ',' or e.text == ';' then
      key = nil
    elseif e.text == '=' then
      key = before:match '[%w_]+$'
    end
    if e.kind == 'name' or e.text == '.' or e.text == ':' then
      before = (e.kind == 'name' and not before:find '[.:]$') and e.text or before .. e.text
    elseif e.kind ~= 'comment' and not (e.text == '(' or e.text == '{') then
      before = ''
    end
  end
  local keys = {}
  for i, e in ipairs(stack) do keys[i] = e.key end
  return { string = open and open.text:gsub('^%[=*%[', ''):gsub('^["\']', '') or nil, keys = keys, key = key,
           call = stack[1] and stack[1].call or before }
end

return M
