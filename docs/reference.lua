-- reference.lua -- the reference as Markdown: a page for each public module of Lua, one for the engine's header and one
-- for the keys of recipes, from the comments in the sources. Run by the command: datamux docs/reference.lua FOLDER.
--
-- A module's page is the comment at the head of its file and every function with a --- comment. A public function
-- without one is named, and nothing is written; a method with a -- comment is the module's own affair.
local docs = require 'datamux.repl.docs'
local sys = require 'datamux.sys'

-- Public modules by heading: { module, how `dm` names it }.
local groups = {
  { 'The table `dm`', { { 'datamux', 'dm' } } },
  { 'Tensors', { { 'datamux.tensor', 'dm.Tensor' }, { 'datamux.scope', 'dm.scope' }, { 'datamux.tape', 'dm.tape' } } },
  { 'Ops', { { 'datamux.ops.linear' }, { 'datamux.ops.norm' }, { 'datamux.ops.attn' }, { 'datamux.ops.embed' },
    { 'datamux.ops.mux' }, { 'datamux.ops.conv' }, { 'datamux.ops.point' }, { 'datamux.ops.shape' },
    { 'datamux.ops.loss' } } },
  { 'Modules', { { 'datamux.nn.module', 'dm.nn.Module' }, { 'datamux.nn.linear', 'dm.nn.Linear' },
    { 'datamux.nn.norm', 'dm.nn.LayerNorm' }, { 'datamux.nn.encoder', 'dm.nn.Encoder' },
    { 'datamux.nn.embedding', 'dm.nn.MuxEmbedding' }, { 'datamux.nn.mux' }, { 'datamux.nn.demux', 'dm.nn.Demux' },
    { 'datamux.nn.coupling', 'dm.nn.Coupling' }, { 'datamux.nn.head', 'dm.nn.Head' },
    { 'datamux.nn.conv', 'dm.nn.Conv' }, { 'datamux.nn.imagemux', 'dm.nn.imagemux' },
    { 'datamux.nn.imagemux.mixer', 'dm.nn.Mixer' } } },
  { 'Models', { { 'datamux.models.tmux', 'dm.models.TMux' }, { 'datamux.models.plain', 'dm.models.Plain' },
    { 'datamux.models.cnn', 'dm.models.Cnn' }, { 'datamux.models.mlp', 'dm.models.Mlp' } } },
  { 'Data', { { 'datamux.data.glue', 'dm.data.glue' }, { 'datamux.data.images', 'dm.data.images' },
    { 'datamux.data.synthetic', 'dm.data.synthetic' }, { 'datamux.data.corpus', 'dm.data.corpus' },
    { 'datamux.data.loader', 'dm.data.loader' }, { 'datamux.data.cache', 'dm.data.cache' },
    { 'datamux.data.records' }, { 'datamux.data.task' }, { 'datamux.text', 'dm.text' } } },
  { 'Training', { { 'datamux.recipe', 'dm.recipe' }, { 'datamux.train', 'dm.train' }, { 'datamux.optim', 'dm.optim' },
    { 'datamux.schedule', 'dm.schedule' }, { 'datamux.evaluate', 'dm.evaluate' }, { 'datamux.metrics' },
    { 'datamux.checkpoint', 'dm.checkpoint' }, { 'datamux.testing' }, { 'datamux.plot', 'dm.plot' } } },
  { 'Finished models', { { 'datamux.saved', 'dm.load' }, { 'datamux.predict' }, { 'datamux.infer', 'dm.infer' },
    { 'datamux.assemble', 'dm.assemble' }, { 'datamux.import', 'dm.import' },
    { 'datamux.safetensors', 'dm.safetensors' } } },
}

local function lines_of(text)
  local out = {}
  for line in (text .. '\n'):gmatch '([^\n]*)\n' do out[#out + 1] = line end
  return out
end

-- Path of a module among the sources, and its text.
local function source(module)
  local path = module:gsub('%.', '/')
  for _, file in ipairs { path .. '.lua', path .. '/init.lua' } do
    local text = docs.source(file)
    if text then return file, text end
  end
  error('no module ' .. module)
end

-- Comment lines as Markdown: what is indented further stays as it stands.
local function prose(lines)
  local out, verbatim = {}, false
  for _, line in ipairs(lines) do
    local indented = line:find '^%s%s' ~= nil
    if indented ~= verbatim and line ~= '' then
      if not verbatim and out[#out] ~= '' then out[#out + 1] = '' end
      out[#out + 1] = '```'
      if verbatim then out[#out + 1] = '' end
      verbatim = indented
    end
    out[#out + 1] = line
  end
  if verbatim then out[#out + 1] = '```' end
  return table.concat(out, '\n')
end

-- The comment at the head of a file, without its name.
local function head(text)
  local out = {}
  for _, line in ipairs(lines_of(text)) do
    if not line:find '^%-%-' then break end
    out[#out + 1] = line:gsub('^%-%- ?', '')
  end
  out[1] = out[1]:gsub('^[%w_/.]+ %-%- ', ''):gsub('^%l', string.upper)
  return out
end

-- Public functions of a file without a comment, as file:line: name. Derivatives belong to the op above them; methods of
-- lower-case tables are nobody's but the file's.
local function bare(file, text, out)
  local before = ''
  for number, line in ipairs(lines_of(text)) do
    local name = line:match '^function ([%w_]+[.:][%w_]+)%('
    if name and (name:find '^%u' or name:find '%.fwd$') and not name:find '[.:]__' then
      local told = before:find '^%-%-%-' or before:find '^%-%- ' and not name:find '^M%.'
      if not told then out[#out + 1] = ('lua/%s:%d: %s'):format(file, number, name) end
    end
    before = line
  end
end

-- The page of a module.
local function page(module, as, missing)
  local file, text = source(module)
  bare(file, text, missing)
  local out = { ('# %s\n\n%s\n'):format(module, prose(head(text))) }
  if as and as ~= 'dm' then out[#out + 1] = ('At the prompt and in recipes: `%s`.\n'):format(as) end
  for _, e in ipairs(docs.entries()) do
    if e.file == file then
      out[#out + 1] = ('## %s\n\n%s\n\n[lua/%s](../../lua/%s#L%d)\n'):format(e.head, prose(e.text), file, file, e.line)
    end
  end
  return table.concat(out, '\n')
end

-- The page of the engine: each comment of the header with what it stands above.
local function engine(missing)
  local text = docs.source 'datamux.h'
  local region = text:match '#pragma GCC visibility push%(default%)\n(.-)#pragma GCC visibility pop'
  local out, top = {}, {}
  for _, line in ipairs(lines_of(text:match '^/%* (.-)%*/')) do top[#top + 1] = (line:gsub('^%*%*? ?', '')) end
  top[1] = top[1]:gsub('^datamux%.h %-%- ', ''):gsub('^%l', string.upper)
  out[1] = '# The engine: src/datamux.h\n\n' .. prose(top) .. '\n'
  for block in (region .. '\n'):gsub('\n%s*\n+', '\0'):gmatch '[^%z]+' do
    local title = block:match '^%s*/%* %-%- (.-) %-+ %*/%s*$'
    local comment, code = block:match '^%s*/%*%s*(.-)%s*%*/\n?(.*)$'
    if title then
      out[#out + 1] = '## ' .. title:gsub('^%l', string.upper) .. '\n'
    else
      local lines = {}
      for _, line in ipairs(comment and lines_of(comment) or {}) do lines[#lines + 1] = (line:gsub('^%*%* ?', '')) end
      code = (code or block):gsub('^\n+', '')
      if not comment then
        for name in code:gmatch '(dm_[%w_]+)%(' do missing[#missing + 1] = 'src/datamux.h: ' .. name end
      end
      if #lines > 0 then out[#out + 1] = prose(lines) .. '\n' end
      if code ~= '' then out[#out + 1] = '```c\n' .. code .. '\n```\n' end
    end
  end
  return table.concat(out, '\n')
end

-- The keys of recipes as a table.
local function keys()
  local override, schema = require 'datamux.override', require 'datamux.schema'
  local out = { '# Keys of a recipe\n', '| key | default | takes | meaning |', '|---|---|---|---|' }
  schema.each(function(path, e)
    local default = e.default == nil and '' or tostring(e.default)
    out[#out + 1] = ('| `%s` | %s | %s | %s |'):format(path, default, override.expectation(e), e.doc)
  end)
  return table.concat(out, '\n') .. '\n'
end

local function all()
  local pages, missing = {}, {}
  local index = { '# Reference\n', 'Made by `make docs` from the comments in the sources.\n',
    '- [Keys of a recipe](keys.md)', '- [The engine, src/datamux.h](engine.md)\n' }
  for _, group in ipairs(groups) do
    index[#index + 1] = '## ' .. group[1] .. '\n'
    for _, m in ipairs(group[2]) do
      pages[m[1] .. '.md'] = page(m[1], m[2], missing)
      index[#index + 1] = ('- [%s](%s.md): %s'):format(m[2] or m[1], m[1], head(select(2, source(m[1])))[1])
    end
    index[#index + 1] = ''
  end
  pages['engine.md'], pages['keys.md'], pages['README.md'] = engine(missing), keys(), table.concat(index, '\n')
  -- What `dm` gives must have a page.
  for module in docs.source('datamux/init.lua'):gmatch "'(datamux%.[%w_.]+%w)'" do
    if not pages[module .. '.md'] then missing[#missing + 1] = 'docs/reference.lua: no page of ' .. module end
  end
  return pages, missing
end

local folder = arg and arg[1]
if not folder then
  io.stderr:write 'usage: datamux docs/reference.lua FOLDER\n'
  os.exit(2)
end
local pages, missing = all()
if #missing > 0 then
  io.stderr:write('no comment:\n  ', table.concat(missing, '\n  '), '\n')
  os.exit(1)
end
sys.mkdir(folder)
for name, text in pairs(pages) do sys.write(folder .. '/' .. name, text) end
