-- commands/tokenize.lua -- ids or pieces of lines of text, and comparison with ids from elsewhere.
local M = { name = 'tokenize', summary = 'ids or pieces of lines of text; --against a file of ids' }

function M.configure(p, take)
  p:argument('model', 'a recipe, a finished model, a folder of vocabulary files, or a name such as roberta-base')
  p:argument('file', 'lines of text; - or nothing: standard input'):args '?'
  p:flag('--pieces', 'the text of each piece instead of its id')
  p:option('--max', 'at most so many tokens'):convert(require('datamux.commands.values').whole(1)):argname 'N'
  p:option('--against', 'compare with ids, a line for each line of text: numbers with blanks or commas, or JSON lists')
    :argname 'FILE'
  take(p, 'json offline trust')
end

local function piece(tok, id) return tok.token and tok.token[id] or tok:decode { id } end

local function numbers(line)
  local out = {}
  for v in line:gmatch '%-?%d+' do out[#out + 1] = tonumber(v) end
  return out
end

local function lines_of(path)
  if not path or path == '-' then return io.lines() end
  return require('datamux.data.reader').lines(path)
end

-- Compares the ids of each line with the next of `path`; prints the first differences. Raises E311 where there are any.
local function against(o, tok, path)
  local errors, json = require 'datamux.errors', require 'datamux.json'
  local reader = require 'datamux.data.reader'
  local want, n, wrong = {}, 0, 0
  for line in reader.lines(path) do want[#want + 1] = line end
  for line in lines_of(o.file) do
    n = n + 1
    local ids = tok:encode(line, o.max)
    local other = numbers(want[n] or '')
    if table.concat(ids, ' ') ~= table.concat(other, ' ') then
      wrong = wrong + 1
      if wrong <= 5 and not o.json then
        print(('line %d: %s\n  here   %s\n  there  %s'):format(n, line, table.concat(ids, ' '),
          table.concat(other, ' ')))
      end
    end
  end
  if #want ~= n then
    errors.raise('E311', { what = ('%s has %d lines of ids, the text has %d lines'):format(path, #want, n),
                           fix = 'one line of ids for each line of text' })
  end
  if o.json then print(json.encode { lines = n, differ = wrong }) end
  if wrong > 0 then
    errors.raise('E311', { what = ('%d of %d lines have other ids than %s'):format(wrong, n, path),
      fix = 'check that both name the same vocabulary, and whether special tokens are in both' })
  end
  if not o.json then print(('%s, the same ids in each'):format(require('datamux.plural').of(n, 'line'))) end
  return 0
end

function M.run(o)
  local json = require 'datamux.json'
  local tok = require('datamux.tokenizers').of(o.model)
  if o.against then return against(o, tok, o.against) end
  for line in lines_of(o.file) do
    local ids = tok:encode(line, o.max)
    local pieces
    if o.pieces or o.json then
      pieces = {}
      for i, id in ipairs(ids) do pieces[i] = piece(tok, id) end
    end
    if o.json then
      print(json.encode { text = line, ids = json.list(ids), pieces = json.list(pieces) })
    else
      print(table.concat(o.pieces and pieces or ids, ' '))
    end
  end
  return 0
end

return M
