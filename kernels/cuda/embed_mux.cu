/* embed_mux.cu -- the mixed embedding on CUDA: gather, norm, dropout, bind and sum over N in one pass.
**
** Forward: a block takes one (row, position), its warps share the N instances. Backward: two sums of each token first;
** then every gradient is a sum over tokens of a function of (token, column), recomputed from the tables. */
#include "segment.cuh"

enum {
  WARPS = 4,                             /* instances of a block, or tokens, side by side */
  PACK4 = 4,                             /* columns a lane takes at a time: one draw of Philox */
  STRIDE = WARP * PACK4
};

/* The op's arguments, unpacked. */
template <class T> struct mixed {
  const T *word, *pos, *type, *g, *c, *key;
  const float *weight;
  const int32_t *ids, *posid;
  int B, N, S, C, words, positions;
  float scale;
  int pad;
  dropout drop;

  __device__ int position(int row) const { return posid ? posid[row] : row % S; }

  /* scale * weight of the token's instance; 0 where the token is left out. */
  __device__ float share(int row) const {
    const int id = ids[row], at = position(row);
    if (id == pad || id < 0 || id >= words || at < 0 || at >= positions) return 0;
    return weight ? scale * weight[row / S] : scale;
  }

  /* word + position (+ type) of a token that is not left out. */
  __device__ float embedding(int row, int j) const {
    return to_float(word[(size_t)ids[row] * C + j]) + to_float(pos[(size_t)position(row) * C + j])
           + (type ? to_float(type[j]) : 0.0f);
  }

  template <int K> __device__ void keep(float (&f)[K], int row, int j) const {
    for (int i = 0; i < K; i++) f[i] = 1.0f;
    if (drop.below) keep_factors(f, keeper_of(drop), (size_t)row * C + j);
  }
};

template <class T>
static mixed<T> mixed_of(dm_device *d, const dm_tensor *ids, const dm_tensor *posid, const dm_tensor *word,
                         const dm_tensor *pos, const dm_tensor *type, const dm_tensor *g, const dm_tensor *c,
                         const dm_tensor *key, const dm_tensor *weight, float scale, int32_t pad, float p,
                         uint32_t site) {
  return { data<T>(word), data<T>(pos), data<T>(type), data<T>(g), data<T>(c), data<T>(key), data<float>(weight),
           data<int32_t>(ids), data<int32_t>(posid), ids->shape[0], ids->shape[1], ids->shape[2], dm_cols(word),
           dm_rows(word), dm_rows(pos), scale, pad, dropout_of(d, p, site) };
}

/* A block mixes the N instances of one (b, s): a warp takes every WARPS-th instance and keeps its sum and the
** embedding at hand in shared memory, each lane its own columns; the warps' sums are added in order. Reads N rows of
** the table, writes one row of y and two floats for each token. */
template <class T> __global__ void embed_mux_fwd_kernel(T *y, float *stat, mixed<T> m, float eps) {
  DM_DYNAMIC_SHARED(float, room);
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n = m.C, b = blockIdx.x / m.S, s = blockIdx.x % m.S;
  float *sum = room + (size_t)warp * 2 * n, *v = sum + n;
  for (int j = lane * PACK4; j < n; j += STRIDE) {
    for (int c = j; c < n && c < j + PACK4; c++) sum[c] = 0;
  }
  for (int i = warp; i < m.N; i += WARPS) {
    const int row = (b * m.N + i) * m.S + s;
    const float f = m.share(row);
    float mean = 0, rstd = 0;
    if (f != 0) {
      float total = 0, square = 0;
      for (int j = lane * PACK4; j < n; j += STRIDE) {
        for (int c = j; c < n && c < j + PACK4; c++) total += v[c] = m.embedding(row, c);
      }
      mean = warp_sum(total) / n;
      for (int j = lane * PACK4; j < n; j += STRIDE) {
        for (int c = j; c < n && c < j + PACK4; c++) square += (v[c] - mean) * (v[c] - mean);
      }
      rstd = 1.0f / sqrtf(warp_sum(square) / n + eps);
      for (int j = lane * PACK4; j < n; j += STRIDE) {
        float keep[PACK4];
        m.keep(keep, row, j);
        for (int k = 0; k < PACK4 && j + k < n; k++) {
          const float e = (v[j + k] - mean) * rstd * to_float(m.g[j + k]) + to_float(m.c[j + k]);
          sum[j + k] += e * keep[k] * to_float(m.key[(size_t)i * n + j + k]) * f;
        }
      }
    }
    if (lane == 0) {
      stat[2 * (size_t)row] = mean;
      stat[2 * (size_t)row + 1] = rstd;
    }
  }
  __syncthreads();
  for (int j = threadIdx.x; j < n; j += WARPS * WARP) {
    float total = 0;
    for (int w = 0; w < WARPS; w++) total += room[(size_t)w * 2 * n + j];
    y[(size_t)blockIdx.x * n + j] = from_float<T>(total);
  }
}

dm_status cuda_embed_mux_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *ids, const dm_tensor *posid,
                             const dm_tensor *word, const dm_tensor *pos, const dm_tensor *type, const dm_tensor *g,
                             const dm_tensor *c, const dm_tensor *key, const dm_tensor *weight, float scale,
                             int32_t pad,
                             float p, uint32_t site, float eps) {
  return by_type(y, [&](auto zero) {
    using T = decltype(zero);
    const mixed<T> m = mixed_of<T>(d, ids, posid, word, pos, type, g, c, key, weight, scale, pad, p, site);
    return launch(d, embed_mux_fwd_kernel<T>, m.B * m.S, WARPS * WARP, (size_t)WARPS * 2 * m.C * sizeof(float),
                  data<T>(y), data<float>(stat), m, eps);
  });
}

/* -- backward ------------------------------------------------------------------------------------------------------ */

/* What the gradients are made of at (token, column). */
struct at_token {
  float x, keep, dy, de;                 /* normed embedding, dropout factor, dy, d loss / d (norm's output) */
};

template <class T> struct mixed_grad {
  mixed<T> m;
  const T *dy;
  const float *stat;
  float *means;                          /* [tokens, 2]: means over the columns of de g and of de g x */

  __device__ at_token at(int row, int j, float f, float keep) const {
    const int i = row / m.S % m.N, b = row / m.S / m.N, s = row % m.S;
    at_token t;
    t.x = (m.embedding(row, j) - stat[2 * (size_t)row]) * stat[2 * (size_t)row + 1];
    t.keep = keep;
    t.dy = to_float(dy[((size_t)b * m.S + s) * m.C + j]) * f;
    t.de = t.dy * keep * to_float(m.key[(size_t)i * m.C + j]);
    return t;
  }

  __device__ at_token at(int row, int j, float f) const {
    float keep[1];
    m.keep(keep, row, j);
    return at(row, j, f, keep[0]);
  }

  /* d loss / d (word + position + type). */
  __device__ float operator()(int row, int j) const {
    const float f = m.share(row);
    if (f == 0) return 0;
    const at_token t = at(row, j, f);
    return (t.de * to_float(m.g[j]) - means[2 * (size_t)row] - t.x * means[2 * (size_t)row + 1])
           * stat[2 * (size_t)row + 1];
  }
};

/* A warp takes one token: the two means of its columns. */
template <class T> __global__ void token_means_kernel(mixed_grad<T> q, int tokens) {
  const int row = blockIdx.x * WARPS + threadIdx.x / WARP, n = q.m.C;
  if (row >= tokens) return;
  const float f = q.m.share(row);
  float sum = 0, dot = 0;
  for (int j = threadIdx.x % WARP * PACK4; f != 0 && j < n; j += STRIDE) {
    float keep[PACK4];
    q.m.keep(keep, row, j);
    for (int k = 0; k < PACK4 && j + k < n; k++) {
      const at_token t = q.at(row, j + k, f, keep[k]);
      sum += t.de * to_float(q.m.g[j + k]);
      dot += t.de * to_float(q.m.g[j + k]) * t.x;
    }
  }
  sum = warp_sum(sum);
  dot = warp_sum(dot);
  if (threadIdx.x % WARP) return;
  q.means[2 * (size_t)row] = sum / n;
  q.means[2 * (size_t)row + 1] = dot / n;
}

/* By instance: dg, dc and the instance's dkey. */
template <class T> struct by_instance {
  enum { K = 3 };
  mixed_grad<T> q;
  __device__ int row(int i, int k) const { return (k / q.m.S * q.m.N + i) * q.m.S + k % q.m.S; }
  __device__ void operator()(float (&sum)[K], int row, int, int j) const {
    const float f = q.m.share(row);
    if (f == 0) return;
    const at_token t = q.at(row, j, f);
    sum[0] += t.de * t.x;
    sum[1] += t.de;
    sum[2] += (t.x * to_float(q.m.g[j]) + to_float(q.m.c[j])) * t.keep * t.dy;
  }
};

/* By place in the sequence: dtype, and dpos where positions are places. */
template <class T> struct by_place {
  enum { K = 1 };
  mixed_grad<T> q;
  __device__ int row(int s, int k) const { return k * q.m.S + s; }
  __device__ void operator()(float (&sum)[K], int row, int, int j) const { sum[0] += q(row, j); }
};

template <class T>
static dm_status instance_grads(dm_device *d, dm_tensor *dg, dm_tensor *dc, dm_tensor *dkey, const mixed_grad<T> &q,
                                float *part, uint32_t acc) {
  const int N = q.m.N, C = q.m.C, members = q.m.B * q.m.S, runs = member_runs(members);
  const size_t each = member_part(1, N, members, C);
  dm_status s = dg || dc || dkey ? member_sums(d, part, N, members, C, by_instance<T>{ q }) : DM_OK;
  if (!s && dg) s = column_finish(d, data<float>(dg), part, runs * N, C, C, acc >> 3 & 1);
  if (!s && dc) s = column_finish(d, data<float>(dc), part + each, runs * N, C, C, acc >> 4 & 1);
  if (!s && dkey) s = column_finish(d, data<float>(dkey), part + 2 * each, runs, (size_t)N * C, N * C, acc >> 5 & 1);
  return s;
}

template <class T>
static dm_status place_grads(dm_device *d, dm_tensor *dpos, dm_tensor *dtype, const mixed_grad<T> &q, float *part,
                             uint32_t acc) {
  const int S = q.m.S, C = q.m.C, members = q.m.B * q.m.N, runs = member_runs(members);
  dm_status s = dpos || dtype ? member_sums(d, part, S, members, C, by_place<T>{ q }) : DM_OK;
  if (!s && dpos && !(acc >> 1 & 1)) s = cuda_zero(d, dpos);
  if (!s && dpos) s = column_finish(d, data<float>(dpos), part, runs, (size_t)S * C, S * C, true);
  if (!s && dtype) s = column_finish(d, data<float>(dtype), part, runs * S, C, C, acc >> 2 & 1);
  return s;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

dm_status cuda_embed_mux_bwd(dm_device *d, dm_tensor *dword, dm_tensor *dpos, dm_tensor *dtype, dm_tensor *dg,
                             dm_tensor *dc, dm_tensor *dkey, const dm_tensor *dy, const dm_tensor *stat,
                             const dm_tensor *ids, const dm_tensor *posid, const dm_tensor *order,
                             const dm_tensor *word, const dm_tensor *pos, const dm_tensor *type, const dm_tensor *g,
                             const dm_tensor *c, const dm_tensor *key, const dm_tensor *weight, float scale,
                             int32_t pad, float p, uint32_t site, uint32_t acc) {
  const int B = ids->shape[0], N = ids->shape[1], S = ids->shape[2], C = dm_cols(dy), tokens = B * N * S;
  const size_t for_part = larger(segment_edge(tokens, C),
                                 larger(member_part(3, N, B * S, C), member_part(1, S, B * N, C)));
  void *room;
  dm_status s = scratch(d, (for_part + 3 * (size_t)tokens + dm_rows(pos)) * sizeof(float), &room);
  if (s) return s;
  float *part = (float *)room, *means = part + for_part;
  int32_t *at = (int32_t *)(means + 2 * (size_t)tokens);
  return by_type(dy, [&](auto zero) {
    using T = decltype(zero);
    const mixed_grad<T> q = { mixed_of<T>(d, ids, posid, word, pos, type, g, c, key, weight, scale, pad, p, site),
                              data<T>(dy), data<float>(stat), means };
    dm_status t = launch(d, token_means_kernel<T>, blocks(tokens, WARPS), WARPS * WARP, 0, q, tokens);
    if (!t && dword) t = segment_sum(d, dword, data<int32_t>(order), data<int32_t>(ids), tokens, acc & 1, part, q);
    if (!t) t = instance_grads(d, dg, dc, dkey, q, part, acc);
    if (!t) t = place_grads(d, posid ? NULL : dpos, dtype, q, part, acc);
    if (t || !posid || !dpos) return t;
    t = order_by(d, at, at + tokens, data<int32_t>(posid), tokens, dm_rows(dpos));
    return t ? t : segment_sum(d, dpos, at, data<int32_t>(posid), tokens, acc >> 1 & 1, part, q);
  });
}
