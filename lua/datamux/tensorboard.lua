-- tensorboard.lua -- metrics as an event file that TensorBoard reads.
-- A record is its length (u64), the masked CRC-32C of the length, the bytes, their masked CRC-32C; the bytes are an
-- Event message in protocol-buffer form (TensorFlow's event.proto and summary.proto; CRC-32C: RFC 3720, appendix B.4).
local ffi = require 'ffi'
local bit = require 'bit'

local M = {}

-- -- CRC-32C ------------------------------------------------------------------------------------------------

local crc_table = ffi.new 'uint32_t[256]'
for i = 0, 255 do
  local c = i
  for _ = 1, 8 do
    c = bit.bxor(bit.rshift(c, 1), bit.band(c, 1) == 1 and 0x82f63b78 or 0)
  end
  crc_table[i] = bit.tobit(c)
end

--- CRC-32C of a string, as a number.
function M.crc32c(text)
  local c = bit.tobit(0xffffffff)
  for i = 1, #text do
    local k = bit.band(bit.bxor(c, text:byte(i)), 255)
    c = bit.bxor(bit.rshift(c, 8), bit.tobit(crc_table[k]))
  end
  return bit.bnot(c) % 4294967296
end

local function little(v, bytes)
  local out = {}
  for i = 1, bytes do
    out[i] = string.char(v % 256)
    v = math.floor(v / 256)
  end
  return table.concat(out)
end

-- Rotated right by 15 and added to, so that the sum of bytes that hold their own sum stays a good sum.
local function masked(text)
  local c = M.crc32c(text)
  return little((bit.ror(bit.tobit(c), 15) % 4294967296 + 0xa282ead8) % 4294967296, 4)
end

--- A record around bytes.
function M.record(bytes)
  local length = little(#bytes, 8)
  return length .. masked(length) .. bytes .. masked(bytes)
end

-- -- messages -----------------------------------------------------------------------------------------------

local function varint(v)
  local out = {}
  while v >= 128 do
    out[#out + 1] = string.char(v % 128 + 128)
    v = math.floor(v / 128)
  end
  out[#out + 1] = string.char(v)
  return table.concat(out)
end

local function raw(kind, v) return ffi.string(ffi.new(kind .. '[1]', v), ffi.sizeof(kind)) end

local function field(number, wire, body) return varint(number * 8 + wire) .. body end
local function text_field(number, body) return field(number, 2, varint(#body) .. body) end

-- Event { double wall_time = 1; int64 step = 2; ... }
local function event(time, step, body)
  return field(1, 1, raw('double', time)) .. (step and step ~= 0 and field(2, 0, varint(step)) or '') .. body
end

--- The event that opens a file.
function M.version(time) return event(time, nil, text_field(3, 'brain.Event:2')) end

--- An event of scalars, name -> number. Summary { repeated Value { string tag = 1; float simple_value = 2 } }
function M.scalars(time, step, values)
  local names, out = {}, {}
  for name in pairs(values) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    out[i] = text_field(1, text_field(1, name) .. field(2, 5, raw('float', values[name])))
  end
  return event(time, step, text_field(5, table.concat(out)))
end

-- -- files ----------------------------------------------------------------------------------------------------

local skip = { t = true, step = true, global = true }

--- The scalars of a line of metrics.jsonl, by tag: "train/loss", "dev/accuracy"; nil where it has none.
function M.of(line)
  if line.kind == 'event' then return nil end
  local out, any = {}, false
  local group = (line.stage and line.stage .. '/' or '') .. (line.kind == 'eval' and 'eval/' or '')
  for k, v in pairs(line) do
    if not skip[k] and type(v) == 'number' then out[group .. k], any = v, true end
  end
  return any and out or nil
end

local Writer = {}
Writer.__index = Writer

--- A new event file at `path`. time: seconds since 1970 (default now). Raises E401.
function M.open(path, time)
  local file, why = io.open(path, 'wb')
  if not file then
    require('datamux.errors').raise('E401', { what = why, fix = 'free space on the disk, or --out another folder' })
  end
  file:write(M.record(M.version(time or os.time())))
  return setmetatable({ file = file, path = path }, Writer)
end

--- The event file of a run, made anew from its metrics.jsonl; what comes later is added to it.
function M.of_run(dir)
  local sys, journal = require 'datamux.sys', require 'datamux.journal'
  local folder = dir .. '/tb'
  sys.mkdir(folder)
  for _, name in ipairs(sys.list(folder)) do
    if name:find '^events%.out%.tfevents%.%d+%.datamux$' then os.remove(folder .. '/' .. name) end
  end
  local self = M.open(('%s/events.out.tfevents.%d.datamux'):format(folder, os.time()))
  for _, line in ipairs(journal.read(dir)) do self:add(line) end
  return self
end

--- Adds the scalars of a line of metrics.jsonl.
function Writer:add(line)
  local values = M.of(line)
  if values then
    self.file:write(M.record(M.scalars(line.t, line.step, values)))
    self.file:flush()
  end
end

function Writer:close() self.file:close() end

return M
