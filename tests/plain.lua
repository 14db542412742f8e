-- plain.lua -- the plain, unfused definitions that op cases compare with: Lua numbers (doubles), ten lines each.
local M = {}

--- op(a) op(b) of two host matrices.
function M.matmul(a, b, ta, tb)
  local ar, ac, br, bc = a.shape[1], a.shape[2], b.shape[1], b.shape[2]
  local m, k, n = ta and ac or ar, ta and ar or ac, tb and br or bc
  local y = {}
  for i = 0, m - 1 do
    for j = 0, n - 1 do
      local s = 0
      for l = 0, k - 1 do
        s = s + a[(ta and l * ac + i or i * ac + l) + 1] * b[(tb and j * bc + l or l * bc + j) + 1]
      end
      y[#y + 1] = s
    end
  end
  return y
end

--- erf by its Maclaurin series, or the continued fraction of erfc for large arguments: double precision.
function M.erf(x)
  if math.abs(x) > 3 then
    local a, f = math.abs(x), 0
    for k = 60, 1, -1 do f = k / 2 / (a + f) end
    local e = 1 - math.exp(-a * a) / (math.sqrt(math.pi) * (a + f))
    return x < 0 and -e or e
  end
  local term, sum, n = x, x, 0
  while math.abs(term) > 1e-18 and n < 200 do
    n = n + 1
    term = -term * x * x / n
    sum = sum + term / (2 * n + 1)
  end
  return 2 / math.sqrt(math.pi) * sum
end

function M.act(x, name)
  if name == 'gelu' then return 0.5 * x * (1 + M.erf(x / math.sqrt(2))) end
  if name == 'relu' then return math.max(x, 0) end
  if name == 'tanh' then return 2 / (1 + math.exp(-2 * x)) - 1 end
  return x
end

--- LN of one row v[1..n] * w + b.
function M.layernorm(v, w, b, eps)
  local n, mean, var = #v, 0, 0
  for j = 1, n do mean = mean + v[j] / n end
  for j = 1, n do var = var + (v[j] - mean) ^ 2 / n end
  local y = {}
  for j = 1, n do y[j] = (v[j] - mean) / math.sqrt(var + eps) * w[j] + b[j] end
  return y
end

--- Row r (from 0) of a host matrix with n columns, as a list.
function M.row(a, r, n)
  local v = {}
  for j = 1, n do v[j] = a[r * n + j] end
  return v
end

function M.append(y, v)
  for j = 1, #v do y[#y + 1] = v[j] end
end

--- Mean cross-entropy of rows of K logits.
function M.xent(logits, label, K, ignore)
  local sum, kept = 0, 0
  for r = 0, #label - 1 do
    if label[r + 1] ~= ignore then
      local top, e = -math.huge, 0
      for j = 1, K do top = math.max(top, logits[r * K + j]) end
      for j = 1, K do e = e + math.exp(logits[r * K + j] - top) end
      sum, kept = sum + top + math.log(e) - logits[r * K + label[r + 1] + 1], kept + 1
    end
  end
  return { kept > 0 and sum / kept or 0 }
end

return M
