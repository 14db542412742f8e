-- fit.lua -- which multiplexers, demultiplexers, read-outs and sizes fit together, in the words of a recipe.
local mux = require 'datamux.nn.mux'
local demux = require 'datamux.nn.demux'

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

--- Why a configuration (model, mux, demux, data.length) cannot be a text model, and what to say instead where that is
--- clear; nil where it can.
function M.refuse(c)
  local m, x, d = c.model, c.mux, c.demux
  if m.kind ~= 'tmux' and m.kind ~= 'plain' then return nil end
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
  local prefix = demux.positions(d.kind, x.n, d.read)
  local need = c.data.length + prefix + (m.embed_twice and 2 or 0)
  if need > m.positions then
    return ('data.length is %d: with the prefix %d positions, expected at most model.positions = %d'):format(
      c.data.length, need, m.positions), ('data.length=%d, or model.positions=%d'):format(
      math.max(1, m.positions - need + c.data.length), need)
  end
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
