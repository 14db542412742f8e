-- glue.lua -- the nine GLUE tasks' files: tab-separated, quotes are literal (Wang et al. 2019).
-- Labels in Hugging Face's order. CoLA's files have no header, but its test file has; some rows of QQP are cut off and
-- passed over, as Hugging Face's reader does; so are the few with an empty question.
local cache = require 'datamux.data.cache'
local errors = require 'datamux.errors'
local labelled = require 'datamux.data.labelled'

local M = {}

local binary = { '0', '1' }
local entailed = { 'entailment', 'not_entailment' }
local nli = { 'entailment', 'neutral', 'contradiction' }

--- What a task's files look like: folder, columns, label names in order (values: as the file spells them), the names of
--- files that are not SPLIT.tsv, `best` (the metric that chooses the best weights).
M.tasks = {
  sst2 = { folder = 'SST-2', text = 'sentence', label = 'label', labels = { 'negative', 'positive' }, values = binary,
           best = 'accuracy' },
  cola = { folder = 'CoLA', text = 4, label = 2, header = false, labels = { 'unacceptable', 'acceptable' },
           values = binary, best = 'mcc', test = { text = 'sentence', header = true } },
  mrpc = { folder = 'MRPC', text = '#1 String', pair = '#2 String', label = 'Quality',
           labels = { 'not_equivalent', 'equivalent' }, values = binary, best = 'f1' },
  qqp = { folder = 'QQP', text = 'question1', pair = 'question2', label = 'is_duplicate', corrupt = 'skip',
          labels = { 'not_duplicate', 'duplicate' }, values = binary, best = 'accuracy' },
  stsb = { folder = 'STS-B', text = 'sentence1', pair = 'sentence2', label = 'score', output = 'regress',
           best = 'pearson' },
  mnli = { folder = 'MNLI', text = 'sentence1', pair = 'sentence2', label = 'gold_label', labels = nli,
           best = 'accuracy', files = { dev = 'dev_matched.tsv', test = 'test_matched.tsv' } },
  mnli_mismatched = { folder = 'MNLI', text = 'sentence1', pair = 'sentence2', label = 'gold_label', labels = nli,
                      best = 'accuracy', files = { dev = 'dev_mismatched.tsv', test = 'test_mismatched.tsv' } },
  qnli = { folder = 'QNLI', text = 'question', pair = 'sentence', label = 'label', labels = entailed,
           best = 'accuracy' },
  rte = { folder = 'RTE', text = 'sentence1', pair = 'sentence2', label = 'label', labels = entailed,
          best = 'accuracy' },
  wnli = { folder = 'WNLI', text = 'sentence1', pair = 'sentence2', label = 'label',
           labels = { 'not_entailment', 'entailment' }, values = binary, best = 'accuracy' },
}

--- Names of the tasks, sorted.
function M.names()
  local names = {}
  for name in pairs(M.tasks) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- Reads a file of `task` from `path`; unlabelled: the form of its test file. Returns a set and raises as
--- labelled.read does.
function M.read_file(task, path, unlabelled)
  local t = M.tasks[task]
  local spec = { output = t.output or 'classify', text = t.text, pair = t.pair, label = t.label, labels = t.labels,
                 values = t.values, header = t.header, corrupt = t.corrupt, format = 'tsv' }
  if unlabelled then
    for k, v in pairs(t.test or {}) do spec[k] = v end
    spec.label = nil
  end
  return labelled.read(path, spec)
end

--- Reads a split ('train', 'dev', 'test') of a task, found by datamux.data.cache.
function M.read(task, split)
  local t = M.tasks[task]
  if not t then
    local near = errors.nearest(task, M.names())
    errors.raise('E219', { what = ("unknown task '%s', expected one of %s"):format(task, table.concat(M.names(), ', ')),
                           near = near, fix = near })
  end
  if split ~= 'train' and split ~= 'dev' and split ~= 'test' then
    errors.raise('E303', { what = ("'glue/%s:%s': no such split, expected train, dev or test"):format(task, split),
      fix = ('glue/%s:dev'):format(task) })
  end
  local path = cache.find(t.folder, t.files and t.files[split] or split .. '.tsv')
  return M.read_file(task, path, split == 'test')
end

return M
