/* embed_mux.cu -- the mixed embedding on CUDA: gather, norm, dropout, bind and sum over N in one pass.
**
** A block is as many threads as a row has packs of 8 columns, two draws of Philox: a thread keeps its columns of all
** that does not change from token to token, and takes some tokens side by side. Forward: a block sums the N instances
** of one (row, position). Backward: a block takes tokens of one instance and sums what belongs to the instance and to
** the places; the gradient of each token's embedding is written down once where sums of it by word, or by positions
** that are given, are wanted. */
#include "segment.cuh"

enum {
  WIDEST = 512,                          /* threads of a block at most: 128 registers for each */
  FORTH = 4,                             /* tokens side by side, forward: their loads and sums overlap */
  BACK = 2,                              /* and backward, where each takes more registers */
  RUN = 64,                              /* tokens of one table in shared memory, and of one partial sum */
  COLUMNS = 128                          /* columns, and threads, of a block that ends the instances' sums */
};

/* The columns of this thread. A thread beyond the row takes part in sums over the block, with 0. */
struct pack {
  int j, left;                           /* the first, 0 beyond the row; how many of the row follow */
  bool mine;
};

__device__ static inline pack pack_of(int n) {
  const int j = threadIdx.x * PACK8;
  return { j < n ? j : 0, j < n ? n - j : 0, j < n };
}

/* Moves of a pack. whole: every pack lies in its row and may be moved as one. */
template <bool whole, class T> __device__ static inline void take(float (&v)[PACK8], const T *row, const pack &at) {
  fetch(v, row + at.j, whole ? (int)PACK8 : at.left, whole);
}

template <bool whole, class T> __device__ static inline void give(T *row, const float (&v)[PACK8], const pack &at) {
  if (at.mine) put(row + at.j, v, whole ? (int)PACK8 : at.left, whole);
}

/* v[k] = finish(the block's sum of v[k]), for every thread. K, a power of two, sums in the steps of one: half a warp
** goes on with half of the values. part [warps, K]: not used again before another barrier. */
template <int K, class F> __device__ static inline void block_sums(float (&v)[K], float *part, F finish) {
  const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
#pragma unroll
  for (int half = K / 2; half; half /= 2) {
    const bool upper = lane & half * (WARP / K);
#pragma unroll
    for (int k = 0; k < half; k++) {
      const float other = __shfl_xor_sync(0xffffffffu, upper ? v[k] : v[k + half], half * (WARP / K));
      v[k] = (upper ? v[k + half] : v[k]) + other;
    }
  }
#pragma unroll
  for (int with = WARP / K / 2; with; with /= 2) v[0] += __shfl_xor_sync(0xffffffffu, v[0], with);
  if (lane % (WARP / K) == 0) part[threadIdx.x / (WARP / K)] = v[0];
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < warps; w++) sum += part[w * K + lane % K];
  sum = finish(sum);
#pragma unroll
  for (int k = 0; k < K; k++) v[k] = __shfl_sync(0xffffffffu, sum, k);
}

/* A token, found out once for all threads of a block. */
template <class T> struct alignas(16) token {
  const T *word, *pos;                   /* rows of the tables; any row where it is left out */
  const T *other;                        /* what it is bound with or to: a row of key, forward, or of dy */
  float share;                           /* scale * weight of its instance; 0 where it is left out */
  int row;                               /* -1: there is none */
  float shift, rstd;                     /* backward: its normed embedding is embedding * rstd + shift */
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

  /* A token that is left out; row < 0: that there is none. */
  __device__ token<T> nobody(int row) const { return { g, g, g, 0, row, 0, 0 }; }

  __device__ token<T> token_at(int row, const T *other) const {
    token<T> t = nobody(row);
    const int id = ids[row], at = posid ? posid[row] : row % S;
    if (id == pad || id < 0 || id >= words || at < 0 || at >= positions) return t;
    t.word = word + (size_t)id * C;
    t.pos = pos + (size_t)at * C;
    t.other = other;
    t.share = weight ? scale * weight[row / S] : scale;
    return t;
  }

  /* What the embeddings of all tokens at place s have in common. */
  template <bool whole> __device__ void common(float (&v)[PACK8], int s, const pack &at) const {
    float u[PACK8] = {};
    for (int i = 0; i < PACK8; i++) v[i] = 0;
    if (!posid) take<whole>(v, pos + (size_t)s * C, at);
    if (type) take<whole>(u, type, at);
    for (int i = 0; i < PACK8; i++) v[i] += u[i];
  }

  /* The embeddings of K tokens. */
  template <bool whole, int K>
  __device__ void embeddings(float (&v)[K][PACK8], const token<T> *t, const float (&common)[PACK8],
                             const pack &at) const {
#pragma unroll
    for (int k = 0; k < K; k++) take<whole>(v[k], t[k].word, at);
    if (posid) {
#pragma unroll
      for (int k = 0; k < K; k++) {
        float u[PACK8];
        take<whole>(u, t[k].pos, at);
        for (int i = 0; i < PACK8; i++) v[k][i] += u[i];
      }
    }
#pragma unroll
    for (int k = 0; k < K; k++) {
      for (int i = 0; i < PACK8; i++) v[k][i] += common[i];
    }
  }

  /* share times the dropout factors of a token. */
  template <bool whole>
  __device__ void shares(float (&f)[PACK8], keeper k, const token<T> &t, const pack &at) const {
    k.scale *= t.share;
    if (!k.below) {
      for (int i = 0; i < PACK8; i++) f[i] = t.share;
    } else if (whole) {
      keep_factors(f, k, ((size_t)t.row * (C / PACK8) + at.j / PACK8) * PACK8);
    } else {
      keep_factors(f, k, (size_t)t.row * C + at.j);
    }
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

/* Threads of a block, one to a pack. */
static dm_status threads_of(dm_device *d, int *threads, int n) {
  *threads = (int)blocks(n, PACK8 * WARP) * WARP;
  return *threads <= WIDEST ? DM_OK : fail(DM_EARG, "%s: %d columns, expected at most %d", cuda_of(d)->op, n,
                                           WIDEST * PACK8);
}

/* Whether the rows that a pass reads and writes are moved in whole packs. */
template <class T, class... A> static bool in_packs(const mixed<T> &m, A... rest) {
  return m.C % PACK8 == 0 && packable(m.C, m.word, m.pos, m.type, m.g, m.c, m.key, rest...);
}

/* A block mixes the N instances of one (b, s). Reads N rows of the table, writes one row of y and two floats for each
** token. */
template <class T, bool whole>
__global__ void __launch_bounds__(WIDEST) embed_mux_fwd_kernel(T *y, float *stat, mixed<T> m, float eps) {
  DM_SHARED(token<T>, tokens, RUN);
  DM_SHARED(float, part, 2 * FORTH * WIDEST / WARP);
  const int b = blockIdx.x / m.S, s = blockIdx.x % m.S;
  const pack at = pack_of(m.C);
  const keeper keeper = keeper_of(m.drop);
  const float each = 1.0f / m.C;
  float common[PACK8], with_x[PACK8] = {}, alone[PACK8] = {};          /* sums of share * key * x, of share * key */
  m.template common<whole>(common, s, at);
  for (int first = 0; first < m.N; first += RUN) {
    __syncthreads();
    for (int k = threadIdx.x; k < RUN; k += blockDim.x) {
      const int i = first + k;
      tokens[k] = i < m.N ? m.token_at((b * m.N + i) * m.S + s, m.key + (size_t)i * m.C) : m.nobody(-1);
    }
    __syncthreads();
    for (int k = 0; k < RUN && first + k < m.N; k += FORTH) {
      float v[FORTH][PACK8], mean[FORTH], rstd[FORTH];
      m.template embeddings<whole>(v, tokens + k, common, at);
#pragma unroll
      for (int t = 0; t < FORTH; t++) {
        mean[t] = 0;
        for (int i = 0; i < PACK8; i++) mean[t] += v[t][i];            /* 0 beyond the row */
        if (!at.mine) mean[t] = 0;
      }
      block_sums(mean, part, [=](float total) { return total * each; });
#pragma unroll
      for (int t = 0; t < FORTH; t++) {
        rstd[t] = 0;
        for (int i = 0; i < PACK8; i++) {
          v[t][i] -= mean[t];
          if (whole || i < at.left) rstd[t] += v[t][i] * v[t][i];
        }
        if (!at.mine) rstd[t] = 0;
      }
      block_sums(rstd, part + FORTH * WIDEST / WARP, [=](float total) { return rsqrtf(total * each + eps); });
#pragma unroll
      for (int t = 0; t < FORTH; t++) {
        const token<T> &own = tokens[k + t];
        if (threadIdx.x == 0 && own.row >= 0) {
          stat[2 * (size_t)own.row] = own.share != 0 ? mean[t] : 0.0f;
          stat[2 * (size_t)own.row + 1] = own.share != 0 ? rstd[t] : 0.0f;
        }
        if (own.share == 0) continue;
        float share[PACK8], key[PACK8];
        take<whole>(key, own.other, at);
        m.template shares<whole>(share, keeper, own, at);
        for (int i = 0; i < PACK8; i++) {
          key[i] *= share[i];
          with_x[i] += key[i] * (v[t][i] * rstd[t]);
          alone[i] += key[i];
        }
      }
    }
  }
  float g[PACK8], c[PACK8];
  take<whole>(g, m.g, at);
  take<whole>(c, m.c, at);
  for (int i = 0; i < PACK8; i++) g[i] = g[i] * with_x[i] + c[i] * alone[i];
  give<whole>(y + (size_t)blockIdx.x * m.C, g, at);
}

dm_status cuda_embed_mux_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *ids, const dm_tensor *posid,
                             const dm_tensor *word, const dm_tensor *pos, const dm_tensor *type, const dm_tensor *g,
                             const dm_tensor *c, const dm_tensor *key, const dm_tensor *weight, float scale,
                             int32_t pad, float p, uint32_t site, float eps) {
  int threads;
  dm_status s = threads_of(d, &threads, dm_cols(y));
  if (s) return s;
  return by_type(y, [&](auto zero) {
    using T = decltype(zero);
    const mixed<T> m = mixed_of<T>(d, ids, posid, word, pos, type, g, c, key, weight, scale, pad, p, site);
    return launch(d, in_packs(m, data<T>(y)) ? embed_mux_fwd_kernel<T, true> : embed_mux_fwd_kernel<T, false>,
                  m.B * m.S, threads, 0, data<T>(y), data<float>(stat), m, eps);
  });
}

/* -- backward ------------------------------------------------------------------------------------------------------
** Of a token of instance i, with x its normed embedding and u = dy * share: de = u * key_i * g is d loss / dx, and that
** of the embedding is (de - mean(de) - x mean(de x)) rstd. Sums over the tokens of u and of u x, by instance, give dg,
** dc and dkey. */

template <class T> struct mixed_grad {
  mixed<T> m;
  const T *dy;
  const float *stat;
  T *dx;                                 /* [tokens, C]: gradients of the embeddings; NULL: not wanted */
  float *by_place;                       /* [N * runs, S, C]: their sums; NULL: not wanted */
  float *by_instance;                    /* [tiles, 2, N, C]: sums of u x, and of u */
  int runs, places;                      /* of B, of RUN rows at most; of a block */

  __device__ token<T> token_at(int row, int b, int s) const {
    token<T> t = m.token_at(row, dy + ((size_t)b * m.S + s) * m.C);
    t.rstd = stat[2 * (size_t)row + 1];
    t.shift = -stat[2 * (size_t)row] * t.rstd;
    return t;
  }
};

/* A block takes the tokens of one instance at some places, in one run of rows. Reads each token's row of the table and
** of dy, writes one row of dx, one row of by_place for each place and two of by_instance. */
template <class T, bool whole> __global__ void __launch_bounds__(WIDEST) tokens_kernel(mixed_grad<T> q) {
  DM_SHARED(token<T>, tokens, RUN);
  DM_SHARED(float, part, 2 * 2 * BACK * WIDEST / WARP);
  const mixed<T> &m = q.m;
  const int i = blockIdx.x % m.N, tile = blockIdx.x / m.N, run = tile % q.runs, first = run * RUN;
  const int count = m.B - first < RUN ? m.B - first : RUN;
  const pack at = pack_of(m.C);
  const keeper keeper = keeper_of(m.drop);
  const float each = 1.0f / m.C;
  float gkey[PACK8], key[PACK8], with_x[PACK8] = {}, alone[PACK8] = {};
  take<whole>(gkey, m.g, at);
  take<whole>(key, m.key + (size_t)i * m.C, at);
  for (int c = 0; c < PACK8; c++) gkey[c] *= key[c];
  for (int s = tile / q.runs * q.places, end = s + q.places; s < end && s < m.S; s++) {
    float common[PACK8], place[PACK8] = {};
    m.template common<whole>(common, s, at);
    __syncthreads();
    for (int k = threadIdx.x; k < count + BACK - 1 && k < RUN; k += blockDim.x) {
      tokens[k] = k < count ? q.token_at(((first + k) * m.N + i) * m.S + s, first + k, s) : m.nobody(-1);
    }
    __syncthreads();
    for (int k = 0; k < count; k += BACK) {
      float x[BACK][PACK8], de[BACK][PACK8], means[2 * BACK];
      m.template embeddings<whole>(x, tokens + k, common, at);
#pragma unroll
      for (int t = 0; t < BACK; t++) take<whole>(de[t], tokens[k + t].other, at);
#pragma unroll
      for (int t = 0; t < BACK; t++) {
        const token<T> &own = tokens[k + t];
        means[2 * t] = means[2 * t + 1] = 0;
        if (own.share == 0) {
          for (int c = 0; c < PACK8; c++) x[t][c] = de[t][c] = 0;
          continue;
        }
        float share[PACK8];
        m.template shares<whole>(share, keeper, own, at);
        for (int c = 0; c < PACK8; c++) {
          const float u = de[t][c] * share[c];
          x[t][c] = x[t][c] * own.rstd + own.shift;
          with_x[c] += u * x[t][c];
          alone[c] += u;
          de[t][c] = u * gkey[c];                                      /* 0 beyond the row, as dy is */
          means[2 * t] += de[t][c];
          means[2 * t + 1] += de[t][c] * x[t][c];
        }
        if (!at.mine) means[2 * t] = means[2 * t + 1] = 0;
      }
      if (!q.dx && !q.by_place) continue;
      block_sums(means, part + k / BACK % 2 * (2 * BACK * WIDEST / WARP), [=](float total) { return total * each; });
#pragma unroll
      for (int t = 0; t < BACK; t++) {
        const token<T> &own = tokens[k + t];
        const float mean = -means[2 * t] * own.rstd, mean_x = -means[2 * t + 1] * own.rstd;
        for (int c = 0; c < PACK8; c++) {
          de[t][c] = de[t][c] * own.rstd + (x[t][c] * mean_x + mean);
          place[c] += de[t][c];
        }
        if (q.dx && own.row >= 0) give<whole>(q.dx + (size_t)own.row * m.C, de[t], at);
      }
    }
    if (q.by_place) give<whole>(q.by_place + (((size_t)run * m.N + i) * m.S + s) * m.C, place, at);
  }
  give<whole>(q.by_instance + ((size_t)tile * 2 * m.N + i) * m.C, with_x, at);
  give<whole>(q.by_instance + (((size_t)tile * 2 + 1) * m.N + i) * m.C, alone, at);
}

/* A thread takes one column of the instances' sums [2, N, C], in the order of the instances. */
template <class T>
__global__ void instances_kernel(float *dg, float *dc, float *dkey, const float *sums, mixed<T> m, uint32_t acc) {
  const int j = blockIdx.x * COLUMNS + threadIdx.x;
  if (j >= m.C) return;
  const float g = to_float(m.g[j]), c = to_float(m.c[j]);
  float sum_g = 0, sum_c = 0;
  for (int i = 0; i < m.N; i++) {
    const size_t e = (size_t)i * m.C + j;
    const float with_x = sums[e], alone = sums[(size_t)m.N * m.C + e], key = to_float(m.key[e]);
    sum_g += key * with_x;
    sum_c += key * alone;
    if (dkey) dkey[e] = (acc >> 5 & 1 ? dkey[e] : 0.0f) + g * with_x + c * alone;
  }
  if (dg) dg[j] = (acc >> 3 & 1 ? dg[j] : 0.0f) + sum_g;
  if (dc) dc[j] = (acc >> 4 & 1 ? dc[j] : 0.0f) + sum_c;
}

/* dpos, where positions are places, and dtype; sums [S, C]: scratch. */
template <class T>
static dm_status place_grads(dm_device *d, dm_tensor *dpos, dm_tensor *dtype, const mixed_grad<T> &q, float *sums,
                             uint32_t acc) {
  const int S = q.m.S, C = q.m.C, parts = q.m.N * q.runs;
  dm_status s = dpos && !(acc >> 1 & 1) ? cuda_zero(d, dpos) : DM_OK;
  if (!s && dpos) s = column_finish(d, data<float>(dpos), q.by_place, parts, (size_t)S * C, S * C, true);
  if (!s && dtype) s = column_finish(d, sums, q.by_place, parts, (size_t)S * C, S * C, false);
  return s || !dtype ? s : column_finish(d, data<float>(dtype), sums, S, C, C, acc >> 2 & 1);
}

/* sums [2, N, C]: scratch. */
template <class T>
static dm_status instance_grads(dm_device *d, dm_tensor *dg, dm_tensor *dc, dm_tensor *dkey, const mixed_grad<T> &q,
                                int tiles, float *sums, uint32_t acc) {
  const int all = 2 * q.m.N * q.m.C;
  dm_status s = column_finish(d, sums, q.by_instance, tiles, all, all, false);
  return s ? s : launch(d, instances_kernel<T>, blocks(q.m.C, COLUMNS), COLUMNS, 0, data<float>(dg), data<float>(dc),
                        data<float>(dkey), sums, q.m, acc);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

dm_status cuda_embed_mux_bwd(dm_device *d, dm_tensor *dword, dm_tensor *dpos, dm_tensor *dtype, dm_tensor *dg,
                             dm_tensor *dc, dm_tensor *dkey, const dm_tensor *dy, const dm_tensor *stat,
                             const dm_tensor *ids, const dm_tensor *posid, const dm_tensor *order,
                             const dm_tensor *word, const dm_tensor *pos, const dm_tensor *type, const dm_tensor *g,
                             const dm_tensor *c, const dm_tensor *key, const dm_tensor *weight, float scale,
                             int32_t pad, float p, uint32_t site, uint32_t acc) {
  const int B = ids->shape[0], N = ids->shape[1], S = ids->shape[2], C = dm_cols(dy), tokens = B * N * S;
  const int runs = (int)blocks(B, RUN), places = B > 0 && B < RUN ? RUN / B : 1, tiles = (int)blocks(S, places) * runs;
  dm_tensor *by_position = posid ? dpos : NULL, *by_place = posid ? NULL : dpos;
  const size_t for_place = by_place || dtype ? (size_t)(N * runs + 1) * S * C : 0;
  const size_t for_part = larger(segment_edge(tokens, C), for_place + (size_t)(tiles + 1) * 2 * N * C);
  const size_t for_order = by_position ? (size_t)tokens + dm_rows(pos) : 0;
  int threads;
  void *room;
  dm_status s = threads_of(d, &threads, C);
  return s ? s : by_type(dy, [&](auto zero) {
    using T = decltype(zero);
    const size_t for_dx = dword || by_position ? aligned((size_t)tokens * C * sizeof(T)) : 0;
    dm_status t = scratch(d, for_dx + (for_part + for_order) * sizeof(float), &room);
    if (t) return t;
    float *part = (float *)((char *)room + for_dx), *instances = part + for_place;
    int32_t *at = (int32_t *)(part + for_part);
    const mixed_grad<T> q = { mixed_of<T>(d, ids, posid, word, pos, type, g, c, key, weight, scale, pad, p, site),
                              data<T>(dy), data<float>(stat), for_dx ? (T *)room : NULL,
                              for_place ? part : NULL, instances, runs, places };
    t = launch(d, in_packs(q.m, q.dy, q.dx) ? tokens_kernel<T, true> : tokens_kernel<T, false>, N * tiles, threads, 0,
               q);
    if (!t) t = place_grads(d, by_place, dtype, q, part + (size_t)N * runs * S * C, acc);
    if (!t) t = instance_grads(d, dg, dc, dkey, q, tiles, instances + (size_t)tiles * 2 * N * C, acc);
    const rows_of<T> dx = { q.dx, C };
    if (!t && dword) t = segment_sum(d, dword, data<int32_t>(order), data<int32_t>(ids), tokens, acc & 1, part, dx);
    if (t || !by_position) return t;
    t = order_by(d, at, at + tokens, data<int32_t>(posid), tokens, dm_rows(dpos));
    return t ? t : segment_sum(d, dpos, at, data<int32_t>(posid), tokens, acc >> 1 & 1, part, dx);
  });
}
