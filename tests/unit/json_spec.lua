-- json_spec.lua -- what is written is read back: nulls, lists, texts, numbers; and the order of an object's keys.
local cjson = require 'cjson'
local json = require 'datamux.json'

describe('json', function()
  it('writes null for null, no number and infinity, also inside', function()
    local t = cjson.decode '{"a": null, "b": [1, null, {"c": null}]}'
    assert.are.equal('{"a":null,"b":[1,null,{"c":null}]}', json.encode(t))
    assert.are.same({ 'null', 'null', 'null', '[null]' }, { json.encode(cjson.null), json.encode(0 / 0),
      json.encode(-math.huge), json.encode { math.huge } })
  end)

  it('writes what is read back as it was', function()
    local t = { list = { 1, 0.1, 1e300, -7 }, text = 'a "b" \\ \n\t\1 ä', yes = true, no = false, empty = {} }
    assert.are.same(t, cjson.decode(json.encode(t)))
    assert.are.same(t, cjson.decode(json.encode(t, true)))
    assert.are.equal('[]', json.encode(json.list {}))
  end)

  it('knows the keys of an object in the order of its text', function()
    assert.are.same({ 'b', 'a', 'c"' }, json.keys '{"b": {"x": 1}, "a": ["y", "z"], "c\\"": "d: e"}')
  end)
end)
