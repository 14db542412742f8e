/* embed_mux.c -- the mixed embedding on the CPU: gather, norm, dropout, bind and sum over N in one pass.
**
** Forward: one (row, position) at a time; the N embeddings of that position pass through a buffer of C values.
** Backward: tokens in the order of their id, each embedding recomputed from the tables and its two statistics. */
#include "segment.h"
#include "simd.h"

#include <omp.h>

enum { ROOMS = 2 + DM_NARROW };         /* rows that a thread works in: an embedding, its mask, the sum */

typedef struct mixed {                  /* the op's arguments, unpacked */
  const dm_store *word, *pos, *type, *g, *c, *key;
  const dm_real *weight;
  const int32_t *ids, *posid;
  int B, N, S, C;
  dm_real scale;
  int32_t pad;
  float p;
  uint32_t site;
  const dm_knobs *knobs;
} mixed;

/* v = word + position (+ type) of token `row` = (b N + i) S + s; returns its sum. */
static dm_real embedding(const mixed *m, dm_real *v, int row) {
  int at = m->posid ? m->posid[row] : row % m->S, n = m->C;
  const dm_store *w = m->word + (size_t)m->ids[row] * n, *q = m->pos + (size_t)at * n, *t = m->type;
  dm_real sum = 0;
  if (t) {
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < n; j++) sum += v[j] = dm_load(w[j]) + dm_load(q[j]) + dm_load(t[j]);
  } else {
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < n; j++) sum += v[j] = dm_load(w[j]) + dm_load(q[j]);
  }
  return sum;
}

/* Asks for the word of token `row` while another is worked on: the table is large, and its rows come in no order. Into
** the second-level cache, which awaits more lines at a time than the first. */
static void ask(const mixed *m, int row) {
  const char *w = (const char *)(m->word + (size_t)m->ids[row] * m->C);
  for (size_t at = 0; at < (size_t)m->C * sizeof *m->word; at += 64) __builtin_prefetch(w + at, 0, 2);
}

/* scale * weight of instance b N + i; 0 where token `row` is left out. */
static dm_real share(const mixed *m, int row) {
  if (m->ids[row] == m->pad) return 0;
  return m->scale * (m->weight ? m->weight[row / m->S] : 1);
}

static void mix_token(const mixed *m, dm_real *y, dm_real *st, dm_real *v, dm_real *mask, int row, dm_real f,
                      float eps) {
  int n = m->C, i = row / m->S % m->N;
  const dm_store *key = m->key + (size_t)i * n;
  dm_real mean = embedding(m, v, row) / n, square = 0;
#pragma omp simd reduction(+ : square)
  for (int j = 0; j < n; j++) square += (v[j] - mean) * (v[j] - mean);
  dm_real rstd = 1 / (dm_real)sqrt(square / n + eps);
  st[0] = mean;
  st[1] = rstd;
  if (m->p > 0) {
    dm_keep_mask(mask, (size_t)row * n, (size_t)n, m->p, m->site, m->knobs);
#pragma omp simd
    for (int j = 0; j < n; j++) {
      y[j] += ((v[j] - mean) * rstd * dm_load(m->g[j]) + dm_load(m->c[j])) * mask[j] * dm_load(key[j]) * f;
    }
  } else {
#pragma omp simd
    for (int j = 0; j < n; j++) {
      y[j] += ((v[j] - mean) * rstd * dm_load(m->g[j]) + dm_load(m->c[j])) * dm_load(key[j]) * f;
    }
  }
}

dm_status cpu_embed_mux_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *ids,
                            const dm_tensor *posid, const dm_tensor *word, const dm_tensor *pos,
                            const dm_tensor *type, const dm_tensor *g, const dm_tensor *c,
                            const dm_tensor *key, const dm_tensor *weight, float scale, int32_t pad,
                            float p, uint32_t site, float eps) {
  int B = ids->shape[0], N = ids->shape[1], S = ids->shape[2], C = dm_cols(y);
  mixed m = { word->data, pos->data, type ? type->data : NULL, g->data, c->data, key->data,
              weight ? weight->data : NULL, ids->data, posid ? posid->data : NULL, B, N, S, C, scale, pad, p, site,
              &d->knobs };
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)omp_get_max_threads() * ROOMS * C * sizeof(dm_real), &scratch);
  if (s) return s;
#pragma omp parallel for schedule(dynamic, 4)
  for (int at = 0; at < B * S; at++) {
    dm_real *v = (dm_real *)scratch + (size_t)omp_get_thread_num() * ROOMS * C;
    dm_store *row_of_y = (dm_store *)y->data + (size_t)at * C;
    dm_real *out = dm_work(row_of_y, v + 2 * C);
    memset(out, 0, (size_t)C * sizeof *out);
    for (int i = 0; i < N; i++) {
      int row = (at / S * N + i) * S + at % S;
      dm_real *st = (dm_real *)stat->data + 2 * (size_t)row, f = share(&m, row);
      st[0] = st[1] = 0;
      if (i + 1 < N) ask(&m, row + S);
      if (f != 0) mix_token(&m, out, st, v, v + C, row, f, eps);
    }
    dm_settle(row_of_y, out, (size_t)C);
  }
  return DM_OK;
}

/* -- backward ------------------------------------------------------------------------------------------ */

typedef struct mixed_bwd {
  mixed m;
  const dm_store *dy;
  const dm_real *stat;
  dm_real *own;                         /* per chunk: dpos [used, C], dtype, dg, dc [C], dkey [N, C], work [3, C] */
  size_t each;
  int used, want_key;
} mixed_bwd;

/* d loss / d (word + position + type) of one token goes to acc; the chunk's own sums take the rest. */
static void backward_token(void *context, dm_real *acc, int row, int chunk) {
  const mixed_bwd *q = context;
  const mixed *m = &q->m;
  dm_real f = share(m, row);
  if (f == 0) return;
  int n = m->C, i = row / m->S % m->N, s = row % m->S, b = row / m->S / m->N;
  dm_real *own = q->own + (size_t)chunk * q->each, *dpos = own, *dtype = own + (size_t)q->used * n;
  dm_real *dg = dtype + n, *dc = dg + n, *dkey = dc + n, *work = dkey + (size_t)m->N * n;
  dm_real *h = work, *mask = work + n, *e = mask + n;
  const dm_store *key = m->key + (size_t)i * n, *dy = q->dy + ((size_t)b * m->S + s) * n;
  const dm_store *g = m->g, *shift = m->c;       /* read through m, GCC 12 leaves the loop of sums scalar in bf16 */
  const dm_real *st = q->stat + 2 * (size_t)row;
  dm_real mean = st[0], rstd = st[1], sum = 0, dot = 0;
  embedding(m, h, row);
  if (m->p > 0) {
    dm_keep_mask(mask, (size_t)row * n, (size_t)n, m->p, m->site, m->knobs);
  } else {
    for (int j = 0; j < n; j++) mask[j] = 1;
  }
  if (q->want_key) {
    dm_real *k = dkey + (size_t)i * n;
#pragma omp simd
    for (int j = 0; j < n; j++) {
      k[j] += ((h[j] - mean) * rstd * dm_load(g[j]) + dm_load(shift[j])) * mask[j] * dm_load(dy[j]) * f;
    }
  }
#pragma omp simd reduction(+ : sum, dot)
  for (int j = 0; j < n; j++) {
    dm_real de = dm_load(dy[j]) * dm_load(key[j]) * mask[j] * f, x = (h[j] - mean) * rstd;
    dg[j] += de * x;
    dc[j] += de;
    h[j] = x;
    e[j] = de * dm_load(g[j]);
    sum += e[j];
    dot += e[j] * x;
  }
  sum /= n;
  dot /= n;
  dm_real *at = dpos + (size_t)(m->posid ? m->posid[row] : s) * n;
#pragma omp simd
  for (int j = 0; j < n; j++) {
    dm_real v = (e[j] - sum - h[j] * dot) * rstd;
    acc[j] += v;
    at[j] += v;
    dtype[j] += v;
  }
}

/* As segment_sum where no table of words is wanted: the same chunks and order, so the same bits, with the
** gradient of the row itself thrown away. waste: [chunks, C]. */
static void visit_tokens(mixed_bwd *q, const int32_t *order, int rows, dm_real *waste) {
  int size = segment_size(rows), chunks = segment_chunks(rows), n = q->m.C;
#pragma omp parallel for schedule(dynamic, 1)
  for (int c = 0; c < chunks; c++) {
    dm_real *acc = waste + (size_t)c * n;
    memset(acc, 0, (size_t)n * sizeof *acc);
    for (int k = c * size; k < rows && k < (c + 1) * size; k++) backward_token(q, acc, order[k], c);
  }
}

/* out (+)= the chunks' sums at `offset`, in chunk order; the rest of out is zero unless added to. */
static void collect(dm_tensor *out, const mixed_bwd *q, size_t offset, size_t n, int chunks, int add) {
  if (!out) return;
  dm_real *o = out->data;
  if (!add) memset(o, 0, dm_numel(out) * sizeof *o);
  for (int c = 0; c < chunks; c++) {
    const dm_real *v = q->own + (size_t)c * q->each + offset;
#pragma omp simd
    for (size_t j = 0; j < n; j++) o[j] += v[j];
  }
}

dm_status cpu_embed_mux_bwd(dm_device *d, dm_tensor *dword, dm_tensor *dpos, dm_tensor *dtype,
                            dm_tensor *dg, dm_tensor *dc, dm_tensor *dkey, const dm_tensor *dy,
                            const dm_tensor *stat, const dm_tensor *ids, const dm_tensor *posid,
                            const dm_tensor *order, const dm_tensor *word, const dm_tensor *pos,
                            const dm_tensor *type, const dm_tensor *g, const dm_tensor *c,
                            const dm_tensor *key, const dm_tensor *weight, float scale, int32_t pad,
                            float p, uint32_t site, uint32_t acc) {
  int B = ids->shape[0], N = ids->shape[1], S = ids->shape[2], C = dm_cols(dy), rows = B * N * S;
  mixed_bwd q = { { word->data, pos->data, type ? type->data : NULL, g->data, c->data, key->data,
                    weight ? weight->data : NULL, ids->data, posid ? posid->data : NULL, B, N, S, C, scale, pad, p,
                    site, &d->knobs },
                  dy->data, stat->data, NULL, 0, S, dkey != NULL };
  if (posid) {
    q.used = 1;
    for (int r = 0; r < rows; r++) q.used = q.m.posid[r] >= q.used ? q.m.posid[r] + 1 : q.used;
  }
  int chunks = segment_chunks(rows);
  size_t sums = ((size_t)q.used + 3 + (size_t)N) * C;
  q.each = sums + 3 * (size_t)C;
  void *scratch;
  dm_status s = dm_scratch(d, ((size_t)chunks * q.each + segment_scratch(rows, C)) * sizeof(dm_real), &scratch);
  if (s) return s;
  q.own = scratch;
  dm_real *edge = q.own + (size_t)chunks * q.each;
  for (int k = 0; k < chunks; k++) memset(q.own + (size_t)k * q.each, 0, sums * sizeof(dm_real));
  if (dword) {
    segment_sum(dword, acc & 1, order->data, ids->data, rows, edge, backward_token, &q);
  } else {
    visit_tokens(&q, order->data, rows, edge);
  }
  size_t at = (size_t)q.used * C;
  collect(dpos, &q, 0, at, chunks, acc >> 1 & 1);
  collect(dtype, &q, at, (size_t)C, chunks, acc >> 2 & 1);
  collect(dg, &q, at + C, (size_t)C, chunks, acc >> 3 & 1);
  collect(dc, &q, at + 2 * (size_t)C, (size_t)C, chunks, acc >> 4 & 1);
  collect(dkey, &q, at + 3 * (size_t)C, (size_t)N * C, chunks, acc >> 5 & 1);
  return DM_OK;
}
