/* embed.cu -- embedding, gather, scatter on CUDA. */
#include "listed.cuh"
#include "segment.cuh"

/* y (+)= the rows of a and, where there is b, of b: reads each named row once, writes y once. */
template <class T> struct picked {
  T *y;
  listed<T> a, b;
  int n;
  bool packed, add;
  __device__ void operator()(size_t r, int j) const {
    float v[PACK8], u[PACK8];
    fetch_listed(v, a, r, j, packed);
    if (b.x) {
      fetch_listed(u, b, r, j, packed);
      for (int i = 0; i < PACK8; i++) v[i] += u[i];
    }
    put(y + r * n + j, v, n - j, packed, add);
  }
};

static dm_status pick(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *xat, const dm_tensor *z,
                      const dm_tensor *zat, bool add) {
  const int n = dm_cols(y);
  return by_type(y, [&](auto zero) {
    using T = decltype(zero);
    const bool packed = packable(n, data<T>(y), data<T>(x), data<T>(z));
    return each_listed(d, dm_rows(y), n, picked<T>{ data<T>(y), listed_of<T>(x, xat), listed_of<T>(z, zat), n, packed,
                                                    add });
  });
}

/* out (+)= rows of x summed by target, in the order of `order`. */
static dm_status sum_rows(dm_device *d, dm_tensor *out, const dm_tensor *x, const dm_tensor *target,
                          const int32_t *order, float *edge, bool add) {
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    return segment_sum(d, out, order, data<int32_t>(target), dm_rows(x), add, edge,
                       rows_of<T>{ data<T>(x), dm_cols(x) });
  });
}

static dm_status sum_ordered(dm_device *d, dm_tensor *out, const dm_tensor *x, const dm_tensor *target,
                             const dm_tensor *order, bool add) {
  void *edge;
  dm_status s = scratch(d, segment_edge(dm_rows(x), dm_cols(x)) * sizeof(float), &edge);
  return s ? s : sum_rows(d, out, x, target, data<int32_t>(order), (float *)edge, add);
}

dm_status cuda_embed_fwd(dm_device *d, dm_tensor *y, const dm_tensor *ids, const dm_tensor *posid,
                         const dm_tensor *word, const dm_tensor *pos) {
  return pick(d, y, word, ids, pos, posid, false);
}

dm_status cuda_embed_bwd(dm_device *d, dm_tensor *dword, dm_tensor *dpos, const dm_tensor *dy, const dm_tensor *ids,
                         const dm_tensor *posid, const dm_tensor *order, uint32_t acc) {
  const int rows = dm_rows(dy), positions = dpos ? dm_rows(dpos) : 0;
  const size_t for_edge = segment_edge(rows, dm_cols(dy));
  void *room;
  dm_status s = scratch(d, (for_edge + rows + positions) * sizeof(float), &room);
  if (s) return s;
  float *edge = (float *)room;
  int32_t *at = (int32_t *)(edge + for_edge);
  if (dword) s = sum_rows(d, dword, dy, ids, data<int32_t>(order), edge, acc & 1);
  if (!s && dpos) s = order_by(d, at, at + rows, data<int32_t>(posid), rows, positions);
  return s || !dpos ? s : sum_rows(d, dpos, dy, posid, at, edge, acc >> 1 & 1);
}

dm_status cuda_gather_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *rows) {
  return pick(d, y, x, rows, NULL, NULL, false);
}

dm_status cuda_gather_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows,
                          const dm_tensor *order, uint32_t acc) {
  return dx ? sum_ordered(d, dx, dy, rows, order, acc & 1) : DM_OK;
}

dm_status cuda_scatter_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *rows,
                           const dm_tensor *order) {
  return sum_ordered(d, y, x, rows, order, false);
}

dm_status cuda_scatter_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows, uint32_t acc) {
  return dx ? pick(d, dx, dy, rows, NULL, NULL, acc & 1) : DM_OK;
}
