-- checkpoint.lua -- a run's checkpoints: written aside, synced, renamed; verified when they are read.
--
--   checkpoints/step-000420/{model.safetensors, optimizer.safetensors, state.json, SHA256SUMS}
--   checkpoints/last -> step-000420      checkpoints/best -> step-000400
local cjson = require 'cjson'
local errors = require 'datamux.errors'
local json = require 'datamux.json'
local safetensors = require 'datamux.safetensors'
local sums = require 'datamux.sums'
local sys = require 'datamux.sys'

local M = {}

local WEIGHTS = { 'model.safetensors', 'optimizer.safetensors' }
local FILES = { WEIGHTS[1], WEIGHTS[2], 'state.json' }

local function folder(run) return run .. '/checkpoints' end

local function target(run, link) return sys.target(folder(run) .. '/' .. link) end

-- The checkpoints of a run, oldest first: { name, step }.
local function steps(run)
  local out = {}
  for _, name in ipairs(sys.list(folder(run))) do
    local step = tonumber(name:match '^step%-(%d+)$')
    if step then out[#out + 1] = { name = name, step = step } end
  end
  table.sort(out, function(a, b) return a.step < b.step end)
  return out
end

-- Removes the oldest step folders that neither link points at, beyond `keep`, and what a killed program left.
local function prune(run, keep)
  local best, last, old = target(run, 'best'), target(run, 'last'), {}
  for _, s in ipairs(steps(run)) do
    if s.name ~= best and s.name ~= last then old[#old + 1] = s.name end
  end
  for i = 1, #old - keep do sys.remove(folder(run) .. '/' .. old[i]) end
  for _, name in ipairs(sys.list(folder(run))) do
    if name:find '^%.tmp%-' then sys.remove(folder(run) .. '/' .. name) end
  end
end

-- nil where the checkpoint is whole, else what is wrong. The state may have no sum: see restate.
local function fault(dir)
  local list, listed = sums.read(dir), {}
  if not list then return 'no SHA256SUMS' end
  for _, e in ipairs(list) do listed[e[1]] = true end
  for _, name in ipairs(WEIGHTS) do
    if not listed[name] then return 'SHA256SUMS does not list ' .. name end
  end
  if sys.kind(dir .. '/state.json') ~= 'file' then return 'no state.json' end
  local name, why = sums.fault(dir, list)
  return name and ('%s: %s'):format(name, why)
end

-- Writes a checkpoint aside and puts it at `dir`, in the place of a broken one.
local function write(dir, aside, parts)
  sys.remove(aside)
  sys.mkdir(aside)
  safetensors.write(aside .. '/model.safetensors', parts.model)
  safetensors.write(aside .. '/optimizer.safetensors', parts.optimiser)
  sys.write(aside .. '/state.json', json.encode(parts.state, true) .. '\n')
  sums.write(aside, FILES)
  sys.remove(dir)
  sys.rename(aside, dir)
end

--- Writes checkpoint number `step` of a run. parts: { model = name -> Tensor, optimiser = name -> Tensor, state =
--- table, reason (see Session:save), keep = older ones kept }. `last` always moves here, `best` with that reason.
--- Returns its name and bytes. Raises (code 4) when the disk refuses; what was there stays.
function M.save(run, step, parts)
  local name = ('step-%06d'):format(step)
  local dir = folder(run) .. '/' .. name
  sys.mkdir(folder(run))
  if sys.kind(dir) ~= 'directory' or fault(dir) then
    write(dir, ('%s/.tmp-%s'):format(folder(run), name), parts)
    sys.sync_folder(folder(run))
  else                                           -- the same step was saved before: only its state can differ
    M.restate(dir, parts.state)
  end
  sys.link(name, folder(run) .. '/last')
  if parts.reason == 'best' then sys.link(name, folder(run) .. '/best') end
  prune(run, parts.keep)
  local bytes = 0
  for _, f in ipairs(FILES) do bytes = bytes + require('lfs').attributes(dir .. '/' .. f, 'size') end
  return name, bytes
end

--- Replaces the state of a written checkpoint, and its checksum. Between the two files the state has no sum, so that
--- one that is cut off there is whole, with the old state or the new.
function M.restate(dir, state)
  local list = {}
  for _, e in ipairs(sums.read(dir)) do
    if e[1] ~= 'state.json' then list[#list + 1] = e end
  end
  sys.write(dir .. '/' .. sums.FILE, sums.text(list))
  sys.write(dir .. '/state.json', json.encode(state, true) .. '\n')
  list[#list + 1] = sums.of(dir, { 'state.json' })[1]
  sys.write(dir .. '/' .. sums.FILE, sums.text(list))
end

local function read(dir)
  return { model = safetensors.open(dir .. '/model.safetensors'),
           optimiser = safetensors.open(dir .. '/optimizer.safetensors'),
           state = cjson.decode(sys.read(dir .. '/state.json')), dir = dir }
end

--- Whether a run has saved a checkpoint, whole or not.
function M.any(run) return #steps(run) > 0 end

--- The newest whole checkpoint of a run; broken ones are passed over, with note(text) for each. Raises (code 7) when
--- there is none.
function M.load(run, note)
  local list = steps(run)
  for i = #list, 1, -1 do
    local dir = folder(run) .. '/' .. list[i].name
    local why = fault(dir)
    if not why then return read(dir) end
    if note then note(('checkpoint %s is broken (%s): using the one before'):format(list[i].name, why)) end
  end
  errors.raise('E701', run .. ': no usable checkpoint in it')
end

--- The best checkpoint of a run; nil where there is none, or where it is broken, and then why.
function M.load_best(run)
  local name = target(run, 'best')
  local dir = name and folder(run) .. '/' .. name
  if not dir then return nil end
  local why = fault(dir)
  if why then return nil, ('checkpoint %s is broken (%s)'):format(name, why) end
  return read(dir)
end

--- The weights of one checkpoint of a run: { dir, step, file (an open safetensors file) }. which: 'best', 'last' or
--- 'step-N'. Raises (code 7) where it is not there or its checksum does not match.
function M.weights(run, which)
  local number = which:match '^step%-(%d+)$'
  local name = number and ('step-%06d'):format(tonumber(number)) or target(run, which)
  local dir = name and folder(run) .. '/' .. name
  if not dir or sys.kind(dir) ~= 'directory' then
    local there = sys.list(folder(run))
    errors.raise('E701', ("%s: there is no checkpoint '%s', expected %s"):format(run, which,
      #there > 0 and 'one of ' .. table.concat(there, ', ') or 'one that a run has saved: there is none yet'))
  end
  local want
  for _, e in ipairs(sums.read(dir) or {}) do want = e[1] == 'model.safetensors' and e[2] or want end
  if not want or sys.sha256_file(dir .. '/model.safetensors') ~= want then
    errors.raise('E702', dir .. '/model.safetensors: its checksum does not match SHA256SUMS beside it (damaged?)\n'
      .. '  fix: use another checkpoint: ' .. table.concat(sys.list(folder(run)), ', '))
  end
  return { dir = dir, step = tonumber(name:match '%d+'), file = safetensors.open(dir .. '/model.safetensors') }
end

--- Copies an open safetensors file into name -> Tensor; every tensor must be there, fit, and be wanted. Raises
--- (code 7) naming the first that is not.
function M.copy(file, tensors, what)
  for name in pairs(tensors) do
    if not file.tensors[name] then errors.raise('E704', ("%s: tensor '%s' is missing"):format(what, name)) end
  end
  for name, entry in pairs(file.tensors) do
    if not tensors[name] then errors.raise('E704', ("%s: unexpected tensor '%s'"):format(what, name)) end
    local ok, why = safetensors.copy(entry, tensors[name])
    if not ok then errors.raise('E704', ("%s: tensor '%s' is %s"):format(what, name, why)) end
  end
end

return M
