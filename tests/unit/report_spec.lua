-- report_spec.lua -- the report of a run: what the recipe expects beside what was reached, speed and price, Markdown.
local report = require 'datamux.report'

local config = { name = 'mine', task = 'sst2', seed = 42, precision = 'f32', mux = { n = 2, kind = 'hadamard' },
                 model = { kind = 'tmux', layers = 1, width = 32 }, data = { length = 64 },
                 expect = { accuracy = { at_least = 0.78 }, f1 = { at_least = 0.9 }, mcc = {},
                            pearson = { at_least = 0.5 } } }

local function results()
  return { metric = 'accuracy', value = 0.8, accuracy = 0.8, std = 0.01, min = 0.79, max = 0.81,
    groupings = { 0.79, 0.81 }, metrics = { accuracy = 0.8, f1 = 0.75 }, scored = 872, total = 872,
    interval = { low = 0.77, high = 0.83 },
    per_index = { 0.8, 0.8 }, flips = 0.03, label_names = { 'negative', 'positive' },
    tables = { grouping = 1, value = 0.79 }, confusion = { { 359, 69 }, { 61, 383 } }, per_class = {
      { precision = 0.8548, recall = 0.8388, f1 = 0.8467, support = 428 },
      { precision = 0.8473, recall = 0.8626, f1 = 0.8549, support = 444 } },
    best_step = 5880, best_epoch = 34.8, parameters = 1234567, seconds = 178, peak = 5 * 2 ^ 20, device = 'cpu (x)',
    examples_per_second = 1000, notices = {} }
end

local function has(text, ...)
  for _, want in ipairs { ... } do
    assert(text:find(want, 1, true), ('no "%s" in\n%s'):format(want, text))
  end
end

describe('a report', function()
  it('holds the scores against what the recipe expects', function()
    local r = report.complete(results(), config)
    has(report.text(r, config, 'runs/mine/x'), 'best weights (step 5880, epoch 34.80)',
      '\n  expected   accuracy at least 0.78   OK\n  expected   f1 at least 0.9   MISSED\n'
      .. '  expected   pearson at least 0.5   NOT SCORED\n', '\nconfiguration, log and metrics in runs/mine/x')
    local t = report.table(r, config)
    assert.are.equal(1, t.schema)
    assert.are.same({ metric = 'accuracy', at_least = 0.78, value = 0.8, met = true }, t.expected[1])
    assert.are.same({ false, false, 3 }, { t.expected[2].met, t.expected[3].met, #t.expected })
  end)

  it('has a price where an hour has one', function()
    local plain, priced = report.complete(results(), config), report.complete(results(), config, 3.6)
    assert.is_nil(report.text(plain, config):find('$', 1, true))
    assert.is_near(1, priced.dollars_per_million, 1e-9)
    has(report.text(priced, config), '\nspeed 1000 texts/s scoring, from tokens to answers (up to 64 tokens) · $1.0000 '
      .. 'per million at $3.60/h\n')
  end)

  it('is Markdown, too, with every table', function()
    local r = results()
    r.notices = { 'IOB1 input converted to IOB2' }
    local text = report.markdown(report.complete(r, config), config, 'runs/mine/x')
    has(text, '# mine\n\nsst2 · N = 2, 1 layer of 32 · 1.23 M parameters · precision f32 · seed 42\n',
      '\nDev: scored 872/872 in each of 2 random groupings, best weights (step 5880, epoch 34.80).\n',
      '\nNotice: IOB1 input converted to IOB2.\n', '\n| negative |    0.8548 | 0.8388 | 0.8467 |     428 |\n')
    for _, line in ipairs { 'accuracy +| +0%.8000', '95 %% bootstrap +| +0%.7700 to 0%.8300', 'f1 +| +0%.7500',
                            'accuracy expected +| +at least 0%.78: OK',
                            'answers that other neighbours change +| +3%.00 %%',
                            'is, answered as | negative | positive', 'negative +| +359 | +69' } do
      assert.is_truthy(text:find('\n| ' .. line .. ' |\n'), line .. '\n' .. text)
    end
  end)

  it('says which grouping its tables are of, where the scores are means over several', function()
    local r = report.complete(results(), config)
    has(report.text(r, config), '\n\n  of the first grouping, accuracy 0.7900\n  class ')
    has(report.markdown(r, config), '\n## Labels (first grouping, accuracy 0.7900)\n',
      '\n## Confusion (first grouping, accuracy 0.7900)\n')
    assert.are.same({ grouping = 1, value = 0.79 }, report.table(r, config).tables)
    r.groupings = { 0.79 }
    assert.is_nil(report.text(r, config):find('first grouping', 1, true))
  end)

  it('names the worst and the best slot where they differ', function()
    local r = report.complete(results(), config)
    has(report.text(r, config), '\n  by slot    all 0.800\n')
    r.per_index = { 0.7, 0.9 }
    has(report.text(r, config), '\n  by slot    min 0.700 (slot 1)  max 0.900 (slot 2)\n             0.700 0.900\n')
  end)

  it('names an undefined score as such, and nothing nan', function()
    local r, none = results(), 0 / 0
    r.metric, r.value, r.std, r.min, r.max, r.interval, r.accuracy = 'pearson', none, none, none, none, nil, nil
    r.metrics, r.per_index = { pearson = none, spearman = none, mse = 1 }, { none, none }
    r.by_length, r.ensemble = { { from = 1, n = 872, value = none } }, { k = 2, value = none }
    r.tables, r.confusion, r.per_class = nil, nil, nil
    r = report.complete(r, config)
    local text, paper = report.text(r, config), report.markdown(r, config)
    has(text, '\n  pearson    undefined   (', 'mse 1.0000   spearman undefined\n',
      '\n  by length  1 and more: undefined (872)\n', '\n  ensemble   undefined   (', 'pearson at least 0.5   MISSED')
    for _, t in ipairs { text, paper } do assert.is_nil(t:find('nan', 1, true), t) end
    assert.is_truthy(paper:find '| pearson +| +undefined |')
    r.value, r.std, r.min, r.max, r.per_index = 0.5, 0, 0.5, 0.5, { none, 0.5 }
    has(report.text(r, config), '\n  by slot    min 0.500 (slot 2)  max 0.500 (slot 2)\n             undefined 0.500\n')
    r.per_index = { none, none }
    has(report.text(r, config), '\n  by slot    undefined\n')
  end)

  it('says that nothing was scored, and expects nothing then', function()
    local r = report.complete({ no_eval = true, parameters = 1e6, seconds = 3, peak = 1e6, device = 'cpu (x)',
                                best_step = 7, notices = {} }, config)
    for _, text in ipairs { report.text(r, config, 'runs/mine/x'), report.markdown(r, config, 'runs/mine/x') } do
      has(text, 'not scored (--no-eval); datamux eval runs/mine/x does it')
      assert.is_nil(text:find('expected', 1, true))
    end
  end)
end)
