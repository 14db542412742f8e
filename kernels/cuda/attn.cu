/* attn.cu -- attention on CUDA with the scores on the chip (FlashAttention: Dao et al. 2022, Dao 2023), bf16 on tensor
** cores, f32 by plain products in the same layout.
**
** A block owns ROWS queries (or keys) of one head, 16 to a warp, and walks over the others in tiles (tiles.cuh), each
** of which is copied to shared memory while the one before is computed. Exponentials are powers of two, of scores times
** log2(e). Warps whose rows all lie beyond S, and warps and tiles that have no key to attend to, have nothing to
** compute. Nothing is added by two blocks: dq has a pass over keys, dk and dv one over queries. */
#include "tiles.cuh"

constexpr float LOG2E = 1.44269504f;

/* Blocks that a multiprocessor has registers for at least: at most 128 a thread for heads of up to 64 in bf16. */
template <class T, int H> constexpr int BLOCKS = sizeof(T) == 2 && H <= 64 ? 4 : 1;

/* -- keys that are there, and probabilities that are kept ---------------------------------------------------------- */

/* Whether this lane's key of the TILE from `at` on is there to attend to. */
__device__ static inline int key_there(const attention &a, const int32_t *mask, int at) {
  static_assert((int)TILE == (int)WARP, "a lane a key");
  const int key = at + threadIdx.x % WARP;
  return key >= a.S ? 0 : mask ? mask[key] : 1;
}

/* k and v of the tile at `at` are there after it, those of the next on their way; which of the tile's keys are there to
** attend to, a bit for each. key: this lane's, then that of the next tile. */
template <class T, int H>
__device__ static inline uint32_t next_keys(T *tiles, const T *x, int C, const int32_t *mask, int at, int &key,
                                            const attention &a) {
  wait_copies();
  __syncthreads();                                                     /* and nobody reads the tiles before these */
  const uint32_t there = __ballot_sync(0xffffffffu, key);
  if (at + TILE < a.S) {
    load_pair<T, H>(tiles + (at / TILE + 1) % 2 * STAGE<H>, x + C, 3 * C, x + 2 * C, 3 * C, at + TILE, a);
    key = key_there(a, mask, at + TILE);
  }
  return there;
}

/* Bits of a tile's keys, so that bit n * 8 + i % 2 is that of column_of(n, i). */
__device__ static inline uint32_t of_columns(uint32_t bits) { return bits >> threadIdx.x % 4 * 2; }

/* Scores of keys that are not there become -inf. */
__device__ static inline void hide(float (&s)[PIECES][4], uint32_t there) {
  const uint32_t bits = of_columns(there);
#pragma unroll
  for (int n = 0; n < PIECES; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (!(bits >> (n * 8 + i % 2) & 1)) s[n][i] = -INFINITY;
    }
  }
}

/* Which probabilities of a warp's queries are kept, drawn tile by tile. A row of them may begin anywhere in a block of
** four, so that a tile takes nine blocks, the first of which was the last of the tile before: lanes l and l + 16 draw
** four each of row l. */
struct drawer {
  keeper k;
  uint64_t block;                        /* of its row's first probability */
  int slot[2], at;                       /* of this lane's rows of pieces: where in the block; the tile whose first */
  uint32_t first[2];                     /* blocks these are */
};

__device__ static inline drawer drawer_of(const attention &a, int own) {
  const size_t row = ((size_t)blockIdx.x * a.S + own) * a.S;
  drawer d = { keeper_of(a.drop), (row + (size_t)(threadIdx.x % 16) * a.S) >> 2, {}, -1, {} };
  for (int h = 0; h < 2; h++) d.slot[h] = (int)(row + (size_t)row_of(2 * h) * a.S) & 3;
  return d;
}

/* The TILE keys from `at` on, for this lane's two rows of pieces: a bit for each. */
__device__ static inline void draw(uint32_t (&kept)[2], drawer &d, int at) {
  kept[0] = kept[1] = ~0u;
  if (!d.k.below) return;
  const int half = threadIdx.x % WARP / 16;
  if (d.at != at) {
    const uint32_t first = kept_four(d.k, d.block + at / 4);
    for (int h = 0; h < 2; h++) d.first[h] = __shfl_sync(0xffffffffu, first, row_of(2 * h));
  }
  d.at = at + TILE;
  uint32_t drawn = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) drawn |= kept_four(d.k, d.block + at / 4 + 4 * half + 1 + i) << 4 * i;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const uint32_t lower = __shfl_sync(0xffffffffu, drawn, row_of(2 * h));
    const uint32_t rest = lower | __shfl_sync(0xffffffffu, drawn, row_of(2 * h) + 16) << 16;
    kept[h] = (uint32_t)(((uint64_t)rest << 4 | d.first[h]) >> d.slot[h]);
    d.first[h] = rest >> 28;
  }
}

/* -- forward ------------------------------------------------------------------------------------------------------- */

/* Block (row * heads + head, block of queries). Reads q once, k and v once for each block of queries, writes y and the
** log-sum-exp. The softmax is kept as largest product q k so far, sum of exponentials, and their weighted sum of v. */
template <class T, int H>
__global__ void __launch_bounds__(THREADS<T>, BLOCKS<T, H>)
attention_fwd_kernel(T *y, float *stat, const T *qkv, const int32_t *mask, attention a) {
  DM_DYNAMIC_SHARED(T, q);
  T *tiles = q + ROWS<T> * (H + PAD), *room = tiles + 2 * STAGE<H>;
  const int warp = threadIdx.x / WARP, first = blockIdx.y * ROWS<T>, own = first + 16 * warp;
  const int C = a.heads * a.D;
  const size_t row = blockIdx.x / a.heads, head = blockIdx.x % a.heads * (size_t)a.D;
  const T *x = qkv + row * a.S * 3 * C + head;
  if (mask) mask += row * a.S;
  room += warp * ROOM<T>;
  load_tile<T, H, ROWS<T>>(q, x, 3 * C, first, a);
  load_pair<T, H>(tiles, x + C, 3 * C, x + 2 * C, 3 * C, 0, a);
  drawer drawer = drawer_of(a, own);
  float out[H / 8][4], top[2] = { -INFINITY, -INFINITY }, sum[2] = { 0, 0 };
  clear(out);
  int key = key_there(a, mask, 0);
  for (int at = 0; at < a.S; at += TILE) {
    const uint32_t there = next_keys<T, H>(tiles, x, C, mask, at, key, a);
    const T *k = tiles + at / TILE % 2 * STAGE<H>, *v = k + TILE * (H + PAD);
    if (own >= a.S || !there) continue;
    uint32_t kept[2];
    draw(kept, drawer, at);
    float s[PIECES][4], most[2] = { top[0], top[1] }, shift[2];
    clear(s);
    product_across<H, H + PAD>(s, q + 16 * warp * (H + PAD), k);
    if (there != ~0u) hide(s, there);
#pragma unroll
    for (int n = 0; n < PIECES; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) most[i / 2] = fmaxf(most[i / 2], s[n][i]);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
      most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 1));
      most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 2));
      shift[h] = most[h] == -INFINITY ? 0.0f : most[h] * a.f2;
      const float fade = power_of_two(top[h] * a.f2 - shift[h]);
      top[h] = most[h];
      sum[h] *= fade;
#pragma unroll
      for (int n = 0; n < H / 8; n++) {
        out[n][2 * h] *= fade;
        out[n][2 * h + 1] *= fade;
      }
    }
#pragma unroll
    for (int n = 0; n < PIECES; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float e = power_of_two(s[n][i] * a.f2 - shift[i / 2]);
        sum[i / 2] += e;
        s[n][i] = of_columns(kept[i / 2]) >> (n * 8 + i % 2) & 1 ? e : 0.0f;
      }
    }
    product_down<H + PAD>(out, s, v, room);
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
    const int query = own + row_of(2 * h);
    if (threadIdx.x % 4 == 0 && query < a.S) {
      if (stat) stat[(size_t)blockIdx.x * a.S + query] = sum[h] != 0 ? top[h] * a.f + logf(sum[h]) : 0.0f;
    }
    sum[h] = sum[h] != 0 ? a.drop.scale / sum[h] : 0.0f;               /* 0: no key */
  }
  write_pieces(y + row * a.S * C + head, C, own, out, sum, a, false);
}

/* -- backward ------------------------------------------------------------------------------------------------------ */

/* A product q k and dy . v become the dropped probability, in s, and the gradient of the score, in u. lse2: the
** log-sum-exp times log2(e). */
__device__ static inline void score_grad(float &s, float &u, bool kept, float lse2, float delta, const attention &a) {
  const float e = power_of_two(s * a.f2 - lse2), keep = kept ? a.drop.scale : 0.0f;
  u = e * (u * keep - delta);
  s = e * keep;
}

/* The words of the block's head: of each tile of keys, one for each query. */
template <class T> __device__ static inline T *head_words(T *words, const attention &a) {
  return words ? words + (size_t)blockIdx.x * ((a.S + TILE - 1) / TILE) * a.S : NULL;
}

/* dq of a block of queries. Reads q, dy and y once, k and v once for each block, writes dq, sums [B, heads, S]: of each
** query lse2 and dy . y, and words [B, heads, tiles, S]: what of the tile is kept. */
template <class T, int H>
__global__ void __launch_bounds__(THREADS<T>, BLOCKS<T, H>)
attention_dq_kernel(T *dqkv, float2 *sums, uint32_t *words, const T *dy, const T *y, const T *qkv, const float *stat,
                    const int32_t *mask, attention a, bool add) {
  DM_DYNAMIC_SHARED(T, q);
  T *g = q + ROWS<T> * (H + PAD), *tiles = g + ROWS<T> * (H + PAD), *room = tiles + 2 * STAGE<H>;
  const int warp = threadIdx.x / WARP, first = blockIdx.y * ROWS<T>, own = first + 16 * warp;
  const int C = a.heads * a.D;
  const size_t row = blockIdx.x / a.heads, head = blockIdx.x % a.heads * (size_t)a.D;
  const T *x = qkv + row * a.S * 3 * C + head;
  dy += row * a.S * C + head;
  y += row * a.S * C + head;
  if (mask) mask += row * a.S;
  room += warp * ROOM<T>;
  load_tile<T, H, ROWS<T>>(q, x, 3 * C, first, a);
  load_tile<T, H, ROWS<T>>(g, dy, C, first, a);
  load_pair<T, H>(tiles, x + C, 3 * C, x + 2 * C, 3 * C, 0, a);
  words = head_words(words, a);
  drawer drawer = drawer_of(a, own);
  float dq[H / 8][4], lse2[2], dot[2];
  clear(dq);
  int key = key_there(a, mask, 0);
#pragma unroll
  for (int h = 0; h < 2; h++) {
    constexpr int N = PACK<T>;
    const int query = own + row_of(2 * h);
    const bool there = query < a.S;
    dot[h] = 0;
#pragma unroll
    for (int j = threadIdx.x % 4 * N; j < H; j += 4 * N) {             /* four lanes share a row */
      float u[N], v[N];
      fetch(u, dy + (size_t)query * C + j, there ? a.D - j : 0, a.packed);
      fetch(v, y + (size_t)query * C + j, there ? a.D - j : 0, a.packed);
#pragma unroll
      for (int i = 0; i < N; i++) dot[h] += u[i] * v[i];
    }
    dot[h] += __shfl_xor_sync(0xffffffffu, dot[h], 1);
    dot[h] += __shfl_xor_sync(0xffffffffu, dot[h], 2);
    lse2[h] = there ? stat[(size_t)blockIdx.x * a.S + query] * LOG2E : 0.0f;
    if (there && threadIdx.x % 4 == 0) sums[(size_t)blockIdx.x * a.S + query] = { lse2[h], dot[h] };
  }
  for (int at = 0; at < a.S; at += TILE) {
    const uint32_t there = next_keys<T, H>(tiles, x, C, mask, at, key, a);
    const T *k = tiles + at / TILE % 2 * STAGE<H>, *v = k + TILE * (H + PAD);
    if (own >= a.S || !there) continue;
    uint32_t kept[2];
    draw(kept, drawer, at);
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int query = own + row_of(2 * h);
      if (words && threadIdx.x % 4 == 0 && query < a.S) words[at / TILE * a.S + query] = kept[h];
    }
    float s[PIECES][4], u[PIECES][4];
    clear(s);
    clear(u);
    product_across<H, H + PAD>(s, q + 16 * warp * (H + PAD), k);
    product_across<H, H + PAD>(u, g + 16 * warp * (H + PAD), v);
    if (there != ~0u) hide(s, there);
#pragma unroll
    for (int n = 0; n < PIECES; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const bool keep = of_columns(kept[i / 2]) >> (n * 8 + i % 2) & 1;
        score_grad(s[n][i], u[n][i], keep, lse2[i / 2], dot[i / 2], a);
      }
    }
    product_down<H + PAD>(dq, u, k, room);
  }
  const float f[2] = { a.f, a.f };
  write_pieces(dqkv + row * a.S * 3 * C + head, 3 * C, own, dq, f, a, add);
}

/* dk and dv of a block of keys: the scores are taken transposed, keys down. Reads k and v once, q and dy once for each
** block, writes dk and dv. Queries beyond S add nothing: their q, dy and sums are zeros. */
template <class T, int H>
__global__ void __launch_bounds__(THREADS<T>, BLOCKS<T, H>)
attention_dkv_kernel(T *dqkv, const float2 *sums, const uint32_t *words, const T *dy, const T *qkv,
                     const int32_t *mask, attention a, bool add) {
  DM_DYNAMIC_SHARED(T, k);
  DM_SHARED(float4, sums_of, 2 * TILE / 2);                            /* of each stage, those of two queries: */
  DM_SHARED(uint2, words_of, 2 * ROWS<T> / 2);                         /* [2][TILE / 2], [2][ROWS / TILE][TILE / 2] */
  T *v = k + ROWS<T> * (H + PAD), *tiles = v + ROWS<T> * (H + PAD), *room = tiles + 2 * STAGE<H>;
  const int warp = threadIdx.x / WARP, first = blockIdx.y * ROWS<T>, own = first + 16 * warp;
  const int C = a.heads * a.D;
  const size_t row = blockIdx.x / a.heads, head = blockIdx.x % a.heads * (size_t)a.D;
  const T *x = qkv + row * a.S * 3 * C + head;
  room += warp * ROOM<T>;
  sums += (size_t)blockIdx.x * a.S;
  words = head_words(words, a);
  auto load = [&](int at) {
    static_assert(ROWS<T> % TILE == 0 && ROWS<T> + TILE <= THREADS<T>, "a thread copies a word or sums");
    const int stage = at / TILE % 2, query = at + threadIdx.x % TILE, tile = (first + (int)threadIdx.x) / TILE;
    load_pair<T, H>(tiles + stage * STAGE<H>, x, 3 * C, dy + row * a.S * C + head, C, at, a);
    if (threadIdx.x < ROWS<T>) {
      uint32_t *word = (uint32_t *)words_of + stage * ROWS<T> + threadIdx.x;
      if (!words) *word = ~0u;
      else copy_ahead<4>(word, words + (unsigned)(tile * a.S + query), tile * TILE < a.S && query < a.S);
    } else if (threadIdx.x < ROWS<T> + TILE) {
      copy_ahead<8>((float2 *)sums_of + stage * TILE + threadIdx.x % TILE, sums + (unsigned)query, query < a.S);
    }
  };
  load_tile<T, H, ROWS<T>>(k, x + C, 3 * C, first, a);
  load_tile<T, H, ROWS<T>>(v, x + 2 * C, 3 * C, first, a);
  load(0);
  bool attended[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int key = own + row_of(2 * h);
    attended[h] = key < a.S && (!mask || mask[row * a.S + key]);
  }
  const bool idle = !__any_sync(0xffffffffu, attended[0] || attended[1]);
  float dk[H / 8][4], dv[H / 8][4];
  clear(dk);
  clear(dv);
  for (int at = 0; at < a.S; at += TILE) {
    wait_copies();
    __syncthreads();                                                   /* and nobody reads the tiles before these */
    const T *q = tiles + at / TILE % 2 * STAGE<H>, *g = q + TILE * (H + PAD);
    const float4 *two = sums_of + at / TILE % 2 * TILE / 2;
    const uint2 *kept = words_of + at / TILE % 2 * ROWS<T> / 2 + 16 * warp / TILE * TILE / 2;
    if (at + TILE < a.S) load(at + TILE);
    if (idle) continue;
    float s[PIECES][4], u[PIECES][4];
    clear(s);
    clear(u);
    product_across<H, H + PAD>(s, k + 16 * warp * (H + PAD), q);
    product_across<H, H + PAD>(u, v + 16 * warp * (H + PAD), g);
#pragma unroll
    for (int n = 0; n < PIECES; n++) {
      const float4 sum = two[column_of(n, 0) / 2];
      const uint2 word = kept[column_of(n, 0) / 2];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const bool keep = (i % 2 ? word.y : word.x) >> (own % TILE + row_of(i)) & 1;
        score_grad(s[n][i], u[n][i], keep, i % 2 ? sum.z : sum.x, i % 2 ? sum.w : sum.y, a);
      }
    }
    product_down<H + PAD>(dv, s, g, room);
    product_down<H + PAD>(dk, u, q, room);
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    if (attended[h]) continue;                                         /* else what was computed means nothing */
#pragma unroll
    for (int n = 0; n < H / 8; n++) dk[n][2 * h] = dk[n][2 * h + 1] = dv[n][2 * h] = dv[n][2 * h + 1] = 0;
  }
  const float f[2] = { a.f, a.f }, one[2] = { 1.0f, 1.0f };
  T *to = dqkv + row * a.S * 3 * C + head;
  write_pieces(to + C, 3 * C, own, dk, f, a, add);
  write_pieces(to + 2 * C, 3 * C, own, dv, one, a, add);
}

/* -- ops ----------------------------------------------------------------------------------------------------------- */

/* f(a number whose value is D rounded up to 32, 64 or 128). */
template <int n> struct number { static constexpr int value = n; };
template <class F> static dm_status by_size(const dm_device *d, int D, F f) {
  if (D <= 32) return f(number<32>{});
  if (D <= 64) return f(number<64>{});
  if (D <= 128) return f(number<128>{});
  return fail(DM_EARG, "%s: a head has %d columns, expected at most 128 on %s", cuda_of(d)->op, D, d->name);
}

static attention attention_of(const dm_device *d, const dm_tensor *qkv, int heads, float p, uint32_t site) {
  int D = qkv->shape[2] / 3 / heads;
  float f = 1.0f / sqrtf((float)D);
  return { qkv->shape[1], D, heads, f, f * LOG2E, dropout_of(d, p, site), false };
}

/* Bytes of shared memory: the block's own `rows` of H columns, the tiles, and the warps' scores. */
template <class T, int H> static size_t shared_size(int rows) {
  return ((size_t)rows * (H + PAD) + 2 * STAGE<H> + WARPS<T> * ROOM<T>) * sizeof(T);
}

dm_status cuda_attention_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *qkv, const dm_tensor *mask,
                             int32_t heads, float p, uint32_t site) {
  attention a = attention_of(d, qkv, heads, p, site);
  return by_type(qkv, [&](auto zero) {
    using T = decltype(zero);
    a.packed = packable(a.D, data<T>(qkv), data<T>(y));
    return by_size(d, a.D, [&](auto h) {
      constexpr int H = decltype(h)::value;
      return launch(d, attention_fwd_kernel<T, H>, dim3(qkv->shape[0] * heads, blocks(a.S, ROWS<T>)), THREADS<T>,
                    shared_size<T, H>(ROWS<T>), data<T>(y), data<float>(stat), data<T>(qkv),
                    data<int32_t>(mask), a);
    });
  });
}

dm_status cuda_attention_bwd(dm_device *d, dm_tensor *dqkv, const dm_tensor *dy, const dm_tensor *y,
                             const dm_tensor *qkv, const dm_tensor *stat, const dm_tensor *mask, int32_t heads, float p,
                             uint32_t site, uint32_t acc) {
  if (!dqkv) return DM_OK;
  attention a = attention_of(d, qkv, heads, p, site);
  size_t queries = (size_t)qkv->shape[0] * heads * a.S, bytes = aligned(queries * sizeof(float2));
  void *sums;
  dm_status s = scratch(d, bytes + (a.drop.below ? queries * blocks(a.S, TILE) * sizeof(uint32_t) : 0), &sums);
  if (s) return s;
  uint32_t *words = a.drop.below ? (uint32_t *)((char *)sums + bytes) : NULL;
  return by_type(qkv, [&](auto zero) {
    using T = decltype(zero);
    a.packed = packable(a.D, data<T>(qkv), data<T>(dy), data<T>(y), data<T>(dqkv));
    return by_size(d, a.D, [&](auto h) {
      constexpr int H = decltype(h)::value;
      const dim3 grid(qkv->shape[0] * heads, blocks(a.S, ROWS<T>));
      const size_t shared = shared_size<T, H>(2 * ROWS<T>);
      dm_status t = launch(d, attention_dq_kernel<T, H>, grid, THREADS<T>, shared, data<T>(dqkv), (float2 *)sums,
                           words, data<T>(dy), data<T>(y), data<T>(qkv), data<float>(stat), data<int32_t>(mask), a,
                           (bool)(acc & 1));
      if (t) return t;
      return launch(d, attention_dkv_kernel<T, H>, grid, THREADS<T>, shared, data<T>(dqkv), (const float2 *)sums,
                    (const uint32_t *)words, data<T>(dy), data<T>(qkv), data<int32_t>(mask), a, (bool)(acc & 1));
    });
  });
}
