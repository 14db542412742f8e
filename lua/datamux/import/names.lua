-- import/names.lua -- published tensor names: their one form, and which a tensor of models/published.lua is made of.
local M = {}

-- What is left out, as { pattern, why }.
local ignored = {
  { 'position_ids$', 'whole numbers in order' },
  { 'token_type_ids$', 'zeros' },
  { '%f[%w]pooler%.', 'the pooler is a head of pre-training' },
  { '^lm_head%.', 'a head of pre-training' }, { '^cls%.', 'a head of pre-training' },
}

--- Why a tensor that nothing asks for may be left out, or nil. o: options of models/published.lua.
function M.ignored(name, o)
  for _, rule in ipairs(ignored) do
    if name:find(rule[1]) then return rule[2] end
  end
  local d = tonumber(name:match '^demux_module%.dense_(%d+)%.' or name:match '^demux_module%.layer_norm_(%d+)%.')
  if o.demux == 'index_pos' and d and d <= o.depth then return 'the published program does not use it' end
end

--- The one name of a tensor that has several: aliases of shared modules, names before the release, older endings, and
--- encoders without their prefix.
function M.canonical(name, o)
  name = name:gsub('LayerNorm%.gamma$', 'LayerNorm.weight'):gsub('LayerNorm%.beta$', 'LayerNorm.bias')
  if not o.demux then
    local bare = name:find '^embeddings%.' or name:find '^encoder%.' or name:find '^pooler%.'
    return bare and o.arch .. '.' .. name or name
  end
  name = name:gsub('^lm_head%.', 'demultiplexer.'):gsub('^sentence_embedding$', 'instance_embedding')
  name = name:gsub('^retrieval_head%.bias$', 'retrieval_head.decoder.bias')
  name = name:gsub('^demultiplexer%.bias$', 'demultiplexer.decoder.bias')
  if o.demux ~= 'index_pos' then return name end
  name = name:gsub('^demultiplexer%.demux_module%.', 'demux_module.')
  name = name:gsub('^retrieval_head%.demux_module%.', 'demux_module.')
  return (name:gsub('^retrieval_head%.decoder%.weight$', o.arch .. '.embeddings.word_embeddings.weight'))
end

--- The published tensors that our tensor `name` is made of: a list of names, one below the other, and which half of
--- their columns (1, 2, or nil: all).
function M.sources(name)
  local layer, ending = name:match '^(.*%.attention)%.qkv%.(%w+)$'
  if layer then
    local out = {}
    for i, part in ipairs { 'query', 'key', 'value' } do out[i] = ('%s.self.%s.%s'):format(layer, part, ending) end
    return out
  end
  local dense = name:match '^(.*)%.of_key%.weight$'
  if dense then return { dense .. '.weight' }, 1 end
  dense, ending = name:match '^(.*)%.of_state%.(%w+)$'
  if dense then return { dense .. '.' .. ending }, ending == 'weight' and 2 or nil end
  return { name }
end

return M
