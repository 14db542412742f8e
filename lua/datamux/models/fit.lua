-- fit.lua -- which tasks, multiplexers, demultiplexers, read-outs and sizes fit together, in the words of a recipe.
local mux = require 'datamux.nn.mux'
local demux = require 'datamux.nn.demux'
local imagemux = require 'datamux.nn.imagemux'

local M = {}

-- Multiplexers whose keys an unbinding demultiplexer can share: those with keys [N, C].
local function with_vectors(x)
  local list = {}
  for _, name in ipairs(mux.names) do
    if not mux.matrices(name, x) then list[#list + 1] = name end
  end
  return table.concat(list, ', ')
end

-- The largest divisor of n that is at most k.
local function divisor(n, k)
  for d = math.min(n, k), 2, -1 do
    if n % d == 0 then return d end
  end
  return 1
end

-- What tasks are of images, and which models read them.
local image_task, image_model = { mnist = true }, { cnn = true, mlp = true }

--- Whether a configuration's model reads images.
function M.images(c) return image_model[c.model.kind] or false end

--- Whether a configuration's training asks for retrieval, in the warm-up or beside the task: else the score of it says
--- nothing.
function M.retrieves(c) return c.model.kind == 'tmux' and (c.warmup.steps > 0 or c.train.alpha > 0) end

--- The strategies of a configuration that are not the library's: { key, name, registered (whether a recipe here did) }
--- each. Of a part that is missing there are none.
function M.own(c)
  local out = {}
  local function look(part, room)
    local name = c[part] and c[part].kind
    local whose = name and room.whose(name)
    if name and whose ~= 'library' then
      out[#out + 1] = { key = part .. '.kind', name = name, registered = whose == 'recipe' }
    end
  end
  look('mux', c.model and M.images(c) and imagemux or mux)
  look('demux', demux)
  return out
end

local function refuse_images(c)
  if c.warmup.steps > 0 then
    return ('warmup.steps is %d with images, expected 0'):format(c.warmup.steps), 'warmup.steps=0'
  end
  if c.train.grow > 0 then return ('train.grow is %g with images, expected 0'):format(c.train.grow), 'train.grow=0' end
  if c.train.recompute then return 'train.recompute is true with images, expected false', 'train.recompute=false' end
  if c.precision ~= 'f32' then
    return ("precision is '%s' with images, expected f32"):format(c.precision), 'precision=f32'
  end
  return imagemux.refuse(c.mux.kind, { n = c.mux.n, height = 20, width = 20 })
end

-- Why the multiplexer is none of those that suit the model, or nil.
local function refuse_kind(c, names)
  for _, name in ipairs(names) do
    if name == c.mux.kind then return nil end
  end
  return ("mux.kind is '%s' with model.kind '%s', expected one of %s"):format(c.mux.kind, c.model.kind,
    table.concat(names, ', '))
end

-- Ids that a text should have room for: RoBERTa's four specials of a pair, and a token of each.
local SHORT = 6

-- Why a text and the `prefix` in front of it need more positions than there are, and what to say instead; or nil.
local function refuse_positions(c, prefix)
  local length, positions = c.data.length, c.model.positions
  local twice = c.model.embed_twice and 2 or 0
  local need = length + prefix + twice
  if need <= positions then return nil end
  local with = prefix > 0 and ('with the prefix %d positions, '):format(need)
    or twice > 0 and ('embedded twice %d positions, '):format(need)
  local instead, room = ('model.positions=%d'):format(need), positions - prefix - twice
  local n = c.mux.n - (need - positions)                          -- the index tokens are as many as the instances
  if room >= SHORT then
    instead = ('data.length=%d, or %s'):format(room, instead)
  elseif prefix > 1 and n >= 1 then
    instead = ('mux.n=%d, or %s'):format(n, instead)
  end
  return ('data.length is %d%sexpected at most model.positions = %d'):format(length, with and ': ' .. with or ', ',
    positions), instead
end

--- Why the parts of a configuration (task, model, mux, demux, data.length) do not fit together, and what to say instead
--- where one thing is clear; nil where they do.
function M.refuse(c)
  local m, x, d = c.model, c.mux, c.demux
  if (image_task[c.task] or false) ~= M.images(c) then
    return ("model.kind is '%s' with task '%s', expected %s"):format(m.kind, c.task,
      image_task[c.task] and 'cnn or mlp' or 'tmux or plain'), image_task[c.task] and 'model.kind=cnn' or nil
  end
  local other = refuse_kind(c, M.images(c) and imagemux.names or mux.names)
  if other then return other end
  if M.images(c) then return refuse_images(c) end
  if m.width % m.heads ~= 0 then
    return ('model.heads is %d, expected a divisor of model.width = %d'):format(m.heads, m.width),
      ('model.heads=%d'):format(divisor(m.width, m.heads))
  end
  if m.kind == 'plain' then
    if x.n ~= 1 then return ("mux.n is %d with model.kind 'plain', expected 1"):format(x.n), 'mux.n=1' end
    if c.data.length > m.positions then
      return ('data.length is %d, expected at most model.positions = %d'):format(c.data.length, m.positions),
        ('data.length=%d'):format(m.positions)
    end
    return nil
  end
  local keys = { n = x.n, width = m.width, norm = x.norm, overlap = x.overlap, learn = x.learn }
  local why, instead = mux.refuse(x.kind, keys)
  if not why then why, instead = demux.refuse(d.kind, { key = d.key, rank = d.rank, width = m.width }) end
  if why then return why, instead end
  local shares = (demux.get(d.kind).keys or {}).mux and d.key == 'mux'
  if shares and mux.matrices(x.kind, keys) then
    return ("demux.key is 'mux' with mux.kind '%s', whose keys are matrices, expected 'own', or one of %s"):format(
      x.kind, with_vectors(keys)), 'demux.key=own'
  end
  return refuse_positions(c, demux.positions(d.kind, x.n, d.read))
end

--- Why a read-out does not suit an output ('classify', 'regress' or 'tag'), and what to say instead; or nil.
function M.read(read, output)
  if output == 'tag' and read ~= 'pool' and read ~= 'token' then
    return ("demux.read is '%s' with labels for each token, expected 'token'"):format(read), 'demux.read=token'
  elseif output ~= 'tag' and read == 'token' then
    return "demux.read is 'token' with one answer for each text, expected cls, first, pool or mean", 'demux.read=pool'
  end
end

return M
