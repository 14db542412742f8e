-- words.lua -- the smallest tokenizer: the commonest whitespace-separated words of a corpus.
-- For text that is tokenised already (SST-2, the built-in sentences). Ids: pad 0, unk 1, <s> 2, </s> 3, then words.
local errors = require 'datamux.errors'
local reader = require 'datamux.data.reader'
local lines = require 'datamux.text.lines'

local M = {}

local Words = {}
Words.__index = Words

local FIRST = 4

local function new(list)
  local self = setmetatable({ kind = 'words', words = list, id = {}, pad = 0, unk = 1, bos = 2, eos = 3,
                              vocab_size = #list + FIRST }, Words)
  for k, w in ipairs(list) do
    if self.id[w] then errors.raise('E309', ("vocabulary: '%s' is there twice (line %d)"):format(w, k)) end
    self.id[w] = k + FIRST - 1
  end
  return self
end

--- The `size` commonest words of `texts` (a list); of equals, the one that came first.
function M.train(texts, size)
  local count, list = {}, {}
  for _, line in ipairs(texts) do
    for w in line:gmatch '%S+' do
      if not count[w] then
        list[#list + 1] = w
        count[w] = 0
      end
      count[w] = count[w] + 1
    end
  end
  local first = {}
  for i, w in ipairs(list) do first[w] = i end
  table.sort(list, function(a, b)
    if count[a] ~= count[b] then return count[a] > count[b] end
    return first[a] < first[b]
  end)
  for i = #list, math.max(size, 0) + 1, -1 do list[i] = nil end
  return new(list)
end

--- A vocabulary file: one word a line.
function M.load(path)
  local list = {}
  for line, number in reader.lines(path) do
    if line == '' or line:find '%s' then
      errors.raise('E309', ("%s:%d: '%s', expected one word"):format(path, number, line))
    end
    list[#list + 1] = line
  end
  return new(list)
end

--- Ids of a text without specials.
function Words:ids(text)
  local ids = {}
  for w in text:gmatch '%S+' do ids[#ids + 1] = self.id[w] or self.unk end
  return ids
end

Words.encode, Words.encode_pair = lines.encode, lines.encode_pair
Words.encode_lines, Words.encode_sentences = lines.encode_lines, lines.encode_sentences

--- The words of a list of ids; specials in angle brackets.
function Words:decode(ids)
  local special = { [0] = '<pad>', '<unk>', '<s>', '</s>' }
  local out = {}
  for i, id in ipairs(ids) do out[i] = special[id] or self.words[id - FIRST + 1] or '<?>' end
  return table.concat(out, ' ')
end

--- The vocabulary file's text, for saving beside a model: file name -> bytes.
function Words:files() return { ['vocab.txt'] = table.concat(self.words, '\n') .. '\n' } end

return M
