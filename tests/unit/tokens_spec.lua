-- The tokenised cache: what it gives back, when it makes again, and what it survives.
local ffi = require 'ffi'
local cache = require 'datamux.data.cache'
local lfs = require 'lfs'
local sys = require 'datamux.sys'
local text = require 'datamux.text'
local tokens = require 'datamux.data.tokens'

local dir, root

local function encoded(values)
  local set = { ids = ffi.new('int32_t[?]', #values + 1, values), offset = ffi.new('int32_t[3]', 0, 2, #values), n = 2,
                truncated = 1 }
  return set
end

local function list(array, n)
  local out = {}
  for i = 0, n - 1 do out[i + 1] = array[i] end
  return out
end

describe('the tokenised cache', function()
  before_each(function()
    dir = ('%s/datamux-tokens-%d'):format(os.getenv 'TMPDIR' or '/tmp', sys.pid())
    root = cache.root
    cache.root = function() return dir end
  end)
  after_each(function()
    cache.root = root
    sys.remove(dir)
  end)

  it('gives back what was made, without making it again', function()
    local made = 0
    local function make()
      made = made + 1
      return encoded { 5, 6, 7, 8, 9 }
    end
    local first, kept = tokens.of({ 'a', 'b' }, 2e6, make)
    assert.is_false(kept)
    local second
    second, kept = tokens.of({ 'a', 'b' }, 2e6, make)
    assert.is_true(kept)
    assert.are.equal(1, made)
    assert.are.same({ 5, 6, 7, 8, 9 }, list(second.ids, 5))
    assert.are.same({ 0, 2, 5 }, list(second.offset, 3))
    assert.are.equal(first.n, second.n)
    assert.are.equal(1, second.truncated)
    tokens.of({ 'a', 'c' }, 2e6, make)
    assert.are.equal(2, made)
    tokens.of({ 'little' }, 10, make)
    tokens.of({ 'little' }, 10, make)
    assert.are.equal(4, made)
  end)

  it('makes a damaged entry again', function()
    tokens.of({ 'x' }, 2e6, function() return encoded { 1, 2, 3 } end)
    local name = sys.list(tokens.folder())[1]
    sys.write(tokens.folder() .. '/' .. name, 'cut')
    local set, kept = tokens.of({ 'x' }, 2e6, function() return encoded { 1, 2, 4 } end)
    assert.is_false(kept)
    assert.are.equal(4, set.ids[2])
  end)

  it('does without a folder that cannot be made', function()
    sys.mkdir(dir)
    sys.write(dir .. '/tokens', 'a file in the way')
    local set, kept = tokens.of({ 'x' }, 2e6, function() return encoded { 1, 2, 3 } end)
    assert.is_false(kept)
    assert.are.equal(3, set.ids[2])
    assert.are.equal('file', lfs.attributes(dir .. '/tokens', 'mode'))
  end)

  it('tells tokenizers apart', function()
    local a = text.train { kind = 'words', lines = { 'a b c' }, vocab_size = 10 }
    local b = text.train { kind = 'words', lines = { 'a b d' }, vocab_size = 10 }
    assert.are_not.equal(tokens.tokenizer_key(a), tokens.tokenizer_key(b))
    assert.are.equal(tokens.tokenizer_key(a), tokens.tokenizer_key(a))
  end)
end)
