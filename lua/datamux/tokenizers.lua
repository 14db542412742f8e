-- tokenizers.lua -- the tokenizer that a person names: a recipe, a finished model, a folder of vocabulary files, or a
-- vocabulary in the cache.
local errors = require 'datamux.errors'
local sys = require 'datamux.sys'

local M = {}

-- From the files of a folder, or nil. The config.json of a finished model says which kind; else the files do.
local function of_folder(dir)
  local text = require 'datamux.text'
  local function file(name) return sys.kind(dir .. '/' .. name) == 'file' and dir .. '/' .. name or nil end
  local ok, config = pcall(require('cjson').decode, sys.read(dir .. '/config.json') or '')
  local said = ok and type(config) == 'table' and type(config.tokenizer) == 'table' and config.tokenizer or {}
  if file 'vocab.json' and file 'merges.txt' then
    return text.load { kind = 'bpe', vocab = file 'vocab.json', merges = file 'merges.txt' }
  elseif file 'spm.model' then
    return text.load { kind = 'sentencepiece', model = file 'spm.model' }
  elseif file 'vocab.txt' then
    return text.load { kind = said.kind == 'words' and 'words' or 'wordpiece', vocab = file 'vocab.txt',
                       lower = said.lower ~= false }
  end
end

--- The tokenizer of `what`. Raises E303 where it names none.
function M.of(what)
  if what:find '%.lua$' then
    local recipe = require('datamux.launch').recipe { recipe = what }
    return require('datamux.assemble').data(recipe:resolve {}).tok
  end
  for _, dir in ipairs { what, what .. '/model' } do
    local tok = of_folder(dir)
    if tok then return tok end
  end
  local cache = require 'datamux.data.cache'
  for _, name in ipairs { 'vocab.json', 'vocab.txt' } do
    local path = cache.look('vocab/' .. what, name)
    if path then return of_folder(path:match '^(.*)/') end
  end
  errors.raise('E303', { what = ("no tokenizer '%s'"):format(what),
    why = 'it is neither a recipe, nor a folder with vocab.json and merges.txt, vocab.txt or spm.model, '
      .. 'nor a name under vocab/ in DATAMUX_DATA or the cache',
    fix = 'datamux tokenize recipes/quickstart.lua FILE' })
end

return M
