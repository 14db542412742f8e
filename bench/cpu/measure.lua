-- measure.lua -- starts one program of the CPU bench and gives back what it printed.
local programs = require 'programs'

local M = {}

M.sizes = {
  large = { layers = 12, width = 768, heads = 12, vocab = 50265, n = 20, length = 64, rows = 4 },
  small = { layers = 4, width = 256, heads = 4, vocab = 8000, n = 20, length = 20, rows = 8 },
}

M.forms = 'eager,compiled,onnx,eager-bf16,compiled-bf16,onnx-int8'

--- A size under a name, some of it replaced: sized('large', { rows = 1 }).
function M.sized(name, changes)
  local out = {}
  for k, v in pairs(M.sizes[name]) do out[k] = v end
  for k, v in pairs(changes or {}) do out[k] = v end
  return out
end

--- 'training step, large: 12 x 768, N = 20, 64 tokens, 4 rows'.
function M.title(mode, name)
  local s = M.sizes[name]
  return ('%s, %s: %d x %d, N = %d, %d tokens, %d rows'):format(mode == 'train' and 'training step' or 'forward pass',
    name, s.layers, s.width, s.n, s.length, s.rows)
end

--- The peers that compute in `precision` and can do `mode`; a form without -bf16 or -int8 computes in f32. Raises for a
--- name that is none.
function M.peers(text, precision, mode)
  local out = {}
  for _, form in ipairs(programs.list(text)) do
    if not programs.has(M.forms, form) then
      error(("bench: peers names '%s', expected some of %s"):format(form, M.forms), 0)
    end
    local able = mode == 'infer' or not form:find '^onnx'
    if able and (form:match '%-(%w+)$' or 'f32') == precision then out[#out + 1] = form end
  end
  return out
end

--- Which of the precisions 'f32,bf16,int8' this processor and `mode` have. Raises for a word that is none.
function M.precisions(text, mode, lacks_bf16)
  local out = {}
  for _, p in ipairs(programs.list(text)) do
    if not programs.has('f32,bf16,int8', p) then
      error(("bench: precision names '%s', expected some of f32, bf16, int8"):format(p), 0)
    end
    if not (p == 'bf16' and lacks_bf16) and not (p == 'int8' and mode == 'train') then out[#out + 1] = p end
  end
  return out
end

--- Ours (bench/cpu/ours.lua) with options as key = value. Raises where it fails, but nil and what it said with o.try.
function M.ours(size, mode, options, try)
  local row, why = programs.run(('%s bench/cpu/ours.lua mode=%s %s %s'):format(os.getenv 'DATAMUX', mode,
    programs.words(size, '%s=%s'), programs.words(options, '%s=%s')))
  if not row and not try then error('bench: ours failed:\n' .. tostring(why), 0) end
  return row, why
end

--- A peer (bench/cpu/peer.py); nil and why where it fails. options: threads, steps, limit.
function M.peer(size, mode, form, options)
  local row = programs.run(('%s bench/cpu/peer.py --mode %s --form %s --precision %s %s %s'):format(os.getenv 'PYTHON',
    mode, form:gsub('%-bf16$', ''), form:find '%-bf16$' and 'bf16' or 'f32', programs.words(size, '--%s %s'),
    programs.words(options, '--%s %s')))
  if row and not row.failed then return row end
  return nil, row and row.failed or 'could not run here'
end

return M
