-- published.lua -- the published figures of DataMUX and its relatives, each with its source and how sure it is.
--
-- Marks: C stored in the authors' repository; P the paper's abstract; G read off the authors' published figure (their
-- website), good to 0.1 points, or 0.1 times for speed; H the same where a marker lies partly under another; W text of
-- the website; S a secondary source that quotes the paper. What could not be obtained is absent: retrieval accuracy
-- against N, ablations of multiplexers and demultiplexers, 2-head results, spread over slots, memory, MUX-PLM by task,
-- the tables of MIMONets and RevMUX. Absent figures are empty cells, never guesses.
-- Sources: Murahari et al. 2022 (arXiv 2202.09318) and its website; Murahari et al. 2023 (arXiv 2302.12441).
local M = {}

local SITE = 'Murahari et al. 2022, website, main results figure'
local B1, B2 = '12 x 768, plain', '12 x 768, plain after retrieval warm-up'
local HADAMARD, ORTHO = '12 x 768, hadamard + index', '12 x 768, ortho + index'

--- Scores on the dev sets: { task, model, metric, source, [N] = { value, mark } }.
M.tasks = {}

-- One task: plain, plain after warm-up, then N = 2, 5, 10, 20, 40 of both multiplexers. hidden: N of marker H.
local function task(name, metric, b1, b2, hadamard, ortho, hidden)
  local function add(model, values)
    values.task, values.model, values.metric, values.source = name, model, metric, SITE
    M.tasks[#M.tasks + 1] = values
  end
  add(B1, { [1] = { b1, 'G' } })
  add(B2, { [1] = { b2, 'G' } })
  for model, list in pairs { [HADAMARD] = hadamard, [ORTHO] = ortho } do
    local values = {}
    for i, n in ipairs { 2, 5, 10, 20, 40 } do
      values[n] = { list[i], model == HADAMARD and hidden == n and 'H' or 'G' }
    end
    add(model, values)
  end
end

task('mnli', 'accuracy', 0.596, 0.645, { 0.634, 0.601, 0.593, 0.583, 0.560 }, { 0.613, 0.586, 0.563, 0.567, 0.560 }, 40)
task('qnli', 'accuracy', 0.609, 0.631, { 0.592, 0.594, 0.586, 0.591, 0.608 }, { 0.598, 0.581, 0.578, 0.579, 0.609 }, 40)
task('qqp', 'accuracy', 0.791, 0.828, { 0.813, 0.792, 0.779, 0.787, 0.769 }, { 0.790, 0.796, 0.781, 0.784, 0.769 }, 40)
task('sst2', 'accuracy', 0.814, 0.813, { 0.792, 0.797, 0.774, 0.788, 0.764 }, { 0.796, 0.771, 0.756, 0.767, 0.800 })
task('conll2003', 'f1', 0.787, 0.742, { 0.771, 0.793, 0.766, 0.757, 0.667 }, { 0.800, 0.767, 0.753, 0.750, 0.676 })
table.sort(M.tasks, function(a, b)
  if a.task ~= b.task then return a.task < b.task end
  local order = { [B1] = 1, [B2] = 2, [HADAMARD] = 3, [ORTHO] = 4 }
  return order[a.model] < order[b.model]
end)

--- Throughput as a multiple of the plain 12 x 768 network's, 20,000 MNLI pairs: { model, layers, width, source,
--- [N] = { value, mark } }; N = 1 is the plain network.
M.throughput = {
  { model = '12 x 768', layers = 12, width = 768, [1] = { 1.0, 'G' }, [2] = { 1.3, 'G' }, [5] = { 3.2, 'G' },
    [10] = { 6.1, 'G' }, [20] = { 11.1, 'G' }, [40] = { 18.3, 'G' } },
  { model = '4 x 768', layers = 4, width = 768, [1] = { 2.4, 'H' }, [2] = { 2.5, 'H' }, [5] = { 5.9, 'G' },
    [10] = { 11.1, 'G' }, [20] = { 19.6, 'G' } },
  { model = '12 x 384', layers = 12, width = 384, [1] = { 2.4, 'G' }, [2] = { 2.5, 'G' }, [5] = { 7.0, 'G' },
    [10] = { 13.1, 'G' }, [20] = { 23.9, 'G' } },
}
for _, r in ipairs(M.throughput) do r.source = 'Murahari et al. 2022, website, speed figure' end

--- Images, MNIST test accuracy, mean over the slots: { model, source, [N] = { value, mark, std over the slots } }.
M.images = {
  { task = 'mnist', model = 'cnn, plain', metric = 'accuracy', [1] = { 0.9761, 'C' } },
  { task = 'mnist', model = 'cnn, rotation', metric = 'accuracy', [1] = { 0.9795, 'C' } },
  { task = 'mnist', model = 'cnn, nonlinear', metric = 'accuracy', [2] = { 0.9357, 'C', 0.0199 } },
  { task = 'mnist', model = 'cnn, nonlinear x 8', metric = 'accuracy', [1] = { 0.9858, 'C', 0 },
    [2] = { 0.9738, 'C', 0.0088 }, [4] = { 0.9467, 'C', 0.0151 }, [8] = { 0.8365, 'C', 0.0380 },
    [16] = { 0.5330, 'C', 0.0415 } },
}
for _, r in ipairs(M.images) do r.source = 'Murahari et al. 2022, repository, vision notebook' end

--- Averages that a secondary source quotes from the MUX-PLM paper: GLUE and token tasks, mean over groupings.
M.mux_plm = {
  { model = 'BERT', n = 1, glue = 0.854, tokens = 0.958, throughput = 1.0, mark = 'S' },
  { model = 'ELECTRA', n = 1, glue = 0.821, tokens = 0.953, throughput = 1.0, mark = 'S' },
  { model = 'T-MUX', n = 2, glue = 0.604, tokens = 0.814, throughput = 1.9, mark = 'S' },
  { model = 'MUX-BERT', n = 2, glue = 0.825, tokens = 0.952, mark = 'S' },
}

--- What the marks mean, for the foot of a table.
M.marks = 'C: authors\' repository; P: abstract; G: read off the authors\' figure (0.1 points); H: the same, marker '
  .. 'partly hidden; S: quoted by a secondary source'

return M
