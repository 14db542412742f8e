-- synthetic.lua -- a small grammar of opinions: the built-in data set, so that a first run needs no file.
--
-- A sentence praises or blames something; "not" turns an adjective round, and after "but" the last clause decides.
-- So no single word gives the answer away. Sentences are drawn with Philox and are all different; dev and train
-- share none.
local ffi = require 'ffi'
local core = require 'datamux.ffi'
local C = core.C

local M = {}

local function words(text)
  local list = {}
  for w in text:gmatch '%S+' do list[#list + 1] = w end
  return list
end

local G = {
  subject = words [[film movie story plot cast script camera music ending dialogue meal soup bread coffee service waiter
    kitchen room bed view hotel pool staff breakfast museum garden town beach walk market book novel chapter author
    song album band concert phone screen battery keyboard]],
  owner = words 'the this that our their my his her',
  good = words [[wonderful charming delightful brilliant moving clever fresh warm lovely superb gentle funny honest
    graceful elegant rich vivid splendid tender bright tasty cosy crisp generous inspired]],
  bad = words [[dull boring awful clumsy bland noisy rude stale cold ugly shallow messy weak tired broken cheap bitter
    lifeless dirty slow grim hollow tedious dreadful careless]],
  degree = words 'very really quite rather truly so',
  verb = words 'was seemed felt looked is remained',
  filler = words [[yesterday tonight again somehow overall honestly frankly indeed today apparently once actually]],
  setting = { 'in the end', 'for the price', 'on a rainy day', 'with my friends', 'after a long week', 'at night',
              'as far as i can tell', 'from the first minute', 'for an hour', 'in this old town' },
}

-- Draws for sentence number `index`: a function giving whole numbers below n.
local counter, key, bits = ffi.new 'uint32_t[4]', ffi.new 'uint32_t[2]', ffi.new 'uint32_t[4]'
local function stream(index)
  local used = 0
  return function(n)
    if used % 4 == 0 then
      counter[0], counter[1], counter[2], counter[3] = used / 4, index, 601, 0
      key[0], key[1] = 20221, 0
      C.dm_philox(bits, counter, key)
    end
    used = used + 1
    return math.floor(bits[(used - 1) % 4] / 4294967296 * n)
  end
end

local function pick(draw, list) return list[draw(#list) + 1] end

-- "the soup was not very tasty": a clause of the given sentiment (true is praise).
local function clause(draw, positive)
  local negated = draw(3) == 0
  local adjective = pick(draw, positive ~= negated and G.good or G.bad)
  local out = { pick(draw, G.owner), pick(draw, G.subject), pick(draw, G.verb) }
  if negated then out[#out + 1] = 'not' end
  if draw(2) == 0 then out[#out + 1] = pick(draw, G.degree) end
  out[#out + 1] = adjective
  return table.concat(out, ' ')
end

local function sentence(index)
  local draw = stream(index)
  local positive = draw(2) == 1
  local text = clause(draw, positive)
  if draw(3) == 0 then text = clause(draw, not positive) .. ' but ' .. text end
  if draw(3) == 0 then text = pick(draw, G.filler) .. ' ' .. text end
  if draw(3) == 0 then text = text .. ' ' .. pick(draw, G.setting) end
  return text, positive and 1 or 0
end

local sizes = { train = 12000, dev = 800 }
local made

local function make()
  local sets, seen, index = {}, {}, 0
  for _, split in ipairs { 'dev', 'train' } do
    local n = sizes[split]
    local set = { n = n, texts = {}, labels = ffi.new('int32_t[?]', n), label_names = { 'negative', 'positive' },
                  path = 'built in' }
    local k = 0
    while k < n do
      index = index + 1
      local text, label = sentence(index)
      if not seen[text] then
        seen[text] = true
        k = k + 1
        set.texts[k], set.labels[k - 1] = text, label
      end
    end
    sets[split] = set
  end
  return sets
end

--- A split, 'train' (12,000 sentences) or 'dev' (800): { n, texts, labels = int32[n], label_names, path }.
function M.read(split)
  made = made or make()
  return assert(made[split], 'synthetic: split is ' .. tostring(split) .. ', expected train or dev')
end

return M
