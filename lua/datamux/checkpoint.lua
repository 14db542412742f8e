-- checkpoint.lua -- a run's checkpoints: written aside, synced, renamed; verified when they are read.
--
--   checkpoints/step-000420/{model.safetensors, optimizer.safetensors, state.json, SHA256SUMS}
--   checkpoints/last -> step-000420      checkpoints/best -> step-000400
local cjson = require 'cjson'
local errors = require 'datamux.errors'
local json = require 'datamux.json'
local safetensors = require 'datamux.safetensors'
local sys = require 'datamux.sys'

local M = {}

local FILES = { 'model.safetensors', 'optimizer.safetensors', 'state.json' }

local function folder(run) return run .. '/checkpoints' end

local function target(run, link)
  local lfs = require 'lfs'
  local path = folder(run) .. '/' .. link
  return lfs.symlinkattributes(path, 'mode') == 'link' and lfs.symlinkattributes(path, 'target') or nil
end

-- Removes the oldest step folders that neither link points at, beyond `keep`.
local function prune(run, keep)
  local best, last, old = target(run, 'best'), target(run, 'last'), {}
  for _, name in ipairs(sys.list(folder(run))) do
    if name:find '^step%-%d+$' and name ~= best and name ~= last then old[#old + 1] = name end
    if name:find '^%.tmp%-' then sys.remove(folder(run) .. '/' .. name) end
  end
  for i = 1, #old - keep do sys.remove(folder(run) .. '/' .. old[i]) end
end

--- Writes checkpoint number `step` of a run. parts: { model = name -> Tensor, optimiser = name -> Tensor, state =
--- table, reason (see Session:save), keep = older ones kept }. `last` always moves here, `best` with that reason.
--- Returns its name and bytes. Raises (code 4) when the disk refuses; what was there stays.
function M.save(run, step, parts)
  local name = ('step-%06d'):format(step)
  local dir, aside = folder(run) .. '/' .. name, folder(run) .. '/.tmp-' .. name
  sys.mkdir(folder(run))
  if sys.kind(dir) ~= 'directory' then
    sys.remove(aside)
    sys.mkdir(aside)
    safetensors.write(aside .. '/model.safetensors', parts.model)
    safetensors.write(aside .. '/optimizer.safetensors', parts.optimiser)
    sys.write(aside .. '/state.json', json.encode(parts.state, true) .. '\n')
    local sums = {}
    for _, f in ipairs(FILES) do sums[#sums + 1] = ('%s  %s'):format(sys.sha256_file(aside .. '/' .. f), f) end
    sys.write(aside .. '/SHA256SUMS', table.concat(sums, '\n') .. '\n')
    sys.rename(aside, dir)
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

--- Replaces the state of a written checkpoint, and its checksum.
function M.restate(dir, state)
  sys.write(dir .. '/state.json', json.encode(state, true) .. '\n')
  local sums = sys.read(dir .. '/SHA256SUMS') or ''
  sums = sums:gsub('%x+  state%.json', sys.sha256_file(dir .. '/state.json') .. '  state.json')
  sys.write(dir .. '/SHA256SUMS', sums)
end

-- nil where the checkpoint is whole, else what is wrong.
local function fault(dir)
  local sums = sys.read(dir .. '/SHA256SUMS')
  if not sums then return 'no SHA256SUMS' end
  local seen = 0
  for want, name in sums:gmatch '(%x+)  (%S+)' do
    local got, why = sys.sha256_file(dir .. '/' .. name)
    if got ~= want then return name .. ': ' .. (why or 'its checksum does not match') end
    seen = seen + 1
  end
  if seen < #FILES then return 'SHA256SUMS lists ' .. seen .. ' files, expected ' .. #FILES end
end

local function read(dir)
  return { model = safetensors.open(dir .. '/model.safetensors'),
           optimiser = safetensors.open(dir .. '/optimizer.safetensors'),
           state = cjson.decode(sys.read(dir .. '/state.json')), dir = dir }
end

--- Whether a run has saved a checkpoint, whole or not.
function M.any(run)
  for _, name in ipairs(sys.list(folder(run))) do
    if name:find '^step%-%d+$' then return true end
  end
  return false
end

--- The newest whole checkpoint of a run; broken ones are passed over, with note(text) for each. Raises (code 7) when
--- there is none.
function M.load(run, note)
  local names = sys.list(folder(run))
  for i = #names, 1, -1 do
    if names[i]:find '^step%-%d+$' then
      local dir = folder(run) .. '/' .. names[i]
      local why = fault(dir)
      if not why then return read(dir) end
      if note then note(('checkpoint %s is broken (%s): using the one before'):format(names[i], why)) end
    end
  end
  errors.raise('E701', run .. ': no usable checkpoint in it')
end

--- The best checkpoint of a run, or nil.
function M.load_best(run)
  local name = target(run, 'best')
  local dir = name and folder(run) .. '/' .. name
  if not dir or fault(dir) then return nil end
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
  local want = (sys.read(dir .. '/SHA256SUMS') or ''):match '(%x+)  model%.safetensors'
  if sys.sha256_file(dir .. '/model.safetensors') ~= want then
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
