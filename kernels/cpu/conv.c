/* conv.c -- conv2d as sums of shifted planes, and maxpool2d, on the CPU.
**
** A plane is laid out with its border, row after row, so that each tap of the kernel sees one shifted run of it:
**   out[o][p] = sum over channels c and taps t of w[o][c][t] in[c][p + shift(t)]
** Positions between the end of an output row and the end of a laid-out one are computed and dropped: two in 22 for a
** 3 x 3 kernel on a 20 x 20 image. Nothing is unfolded. The gradient of the input is the same sum over the output's
** gradient with the kernel turned round; that of the kernel is a dot product of two runs for each tap. */
#include "cpu.h"
#include "vector.h"

#include <omp.h>

enum {
  CHUNKS = 16,                          /* images are cut into at most so many parts: borders depend on B alone */
  CO = 4, VECS = 3, TAPS = 3,           /* a tile: 4 x 3 sums, and what they need, in 16 registers */
  SLACK = VECS * LANES                  /* elements a tile may read past its planes */
};

typedef struct {
  int B, groups, ci, co;                /* channels of one group */
  int H, W, kh, kw, pad, ho, wo;
  size_t x_group, y_group, w_group;     /* elements of one group of one image, of one group's weights */
} conv;

static conv conv_of(const dm_tensor *x, const dm_tensor *w, int pad, int groups) {
  conv c = { .B = x->shape[0], .groups = groups, .ci = x->shape[1] / groups, .co = w->shape[0] / groups,
             .H = x->shape[2], .W = x->shape[3], .kh = w->shape[2], .kw = w->shape[3], .pad = pad };
  c.ho = c.H + 2 * pad - c.kh + 1;
  c.wo = c.W + 2 * pad - c.kw + 1;
  c.x_group = (size_t)c.ci * c.H * c.W;
  c.y_group = (size_t)c.co * c.ho * c.wo;
  c.w_group = (size_t)c.co * c.ci * c.kh * c.kw;
  return c;
}

static size_t padded(int n, int to) { return (size_t)(n + to - 1) / to * to; }

/* -- planes with a border ---------------------------------------------------------------------------------- */

typedef struct { int rows, cols; size_t size; } frame;     /* size: elements of one plane */

static frame frame_of(int rows, int cols) {
  return (frame){ rows, cols, padded(rows * cols, LANES) };
}

static size_t planes(frame f, int count) { return f.size * (size_t)count + SLACK; }

/* Each H x W plane of x at row `down`, column `across` of a plane of zeros; what lies outside is left out. */
static void lay_out(dm_real *to, frame f, const dm_store *x, int count, int H, int W, int down, int across) {
  int from = across < 0 ? -across : 0, end = across + W > f.cols ? f.cols - across : W;
  memset(to, 0, planes(f, count) * sizeof *to);
  for (int c = 0; c < count; c++, to += f.size, x += (size_t)H * W) {
    for (int r = down < 0 ? -down : 0; r < H && r + down < f.rows; r++) {
      const dm_store *in = x + (size_t)r * W;
      dm_real *out = to + (size_t)(r + down) * f.cols + across;
      for (int q = from; q < end; q++) out[q] = dm_load(in[q]);
    }
  }
}

/* -- sums of shifted planes ----------------------------------------------------------------------------------- */

/* Weights of one group for `sums`, [co / CO][ci][taps][CO] with zeros in the last block. turned: those of the
** gradient of the input, where the channels change places and the kernel is turned round. */
static void pack(const conv *c, const dm_store *w, dm_real *to, int turned) {
  int out = turned ? c->ci : c->co, in = turned ? c->co : c->ci, taps = c->kh * c->kw;
  for (int o = 0; o < (int)padded(out, CO); o++) {
    for (int i = 0; i < in; i++) {
      for (int t = 0; t < taps; t++) {
        size_t at = turned ? ((size_t)i * out + o) * taps + taps - 1 - t : ((size_t)o * in + i) * taps + t;
        to[(((size_t)(o / CO) * in + i) * taps + t) * CO + o % CO] = o < out ? dm_load(w[at]) : 0;
      }
    }
  }
}

/* CO sums at `vecs` vectors of positions. in: at the first position; w: a block of packed weights. */
static inline __attribute__((always_inline)) void tile(dm_real *out, size_t stride, const dm_real *in, frame f,
                                                       const dm_real *w, int ci, int kh, int kw, const int vecs) {
  vec sum[CO][VECS] = { 0 };
  for (int c = 0; c < ci; c++, in += f.size) {
    for (int i = 0; i < kh; i++) {
      for (int j = 0; j < kw; j++, w += CO) {
        const dm_real *at = in + (size_t)i * f.cols + j;
        vec x[VECS];
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++) x[v] = *(const loose *)(at + v * LANES);
#pragma GCC unroll 4
        for (int o = 0; o < CO; o++) {
#pragma GCC unroll 3
          for (int v = 0; v < vecs; v++) sum[o][v] += w[o] * x[v];
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int o = 0; o < CO; o++) {
#pragma GCC unroll 3
    for (int v = 0; v < vecs; v++) *(loose *)(out + o * stride + v * LANES) = sum[o][v];
  }
}

/* out [co rounded up to CO][stride]: the sums at positions 0 .. n of the planes in. */
static void sums(dm_real *out, size_t stride, int co, int n, const dm_real *in, frame f, const dm_real *w, int ci,
                 int kh, int kw) {
  for (int o = 0; o < co; o += CO) {
    int p = 0;
    for (; p + VECS * LANES <= n + LANES - 1; p += VECS * LANES) {
      tile(out + o * stride + p, stride, in + p, f, w, ci, kh, kw, VECS);
    }
    for (; p < n; p += LANES) tile(out + o * stride + p, stride, in + p, f, w, ci, kh, kw, 1);
    w += (size_t)ci * kh * kw * CO;
  }
}

/* y [count, ho, wo] (+)= the positions of out that are in the image, + b. */
static void take(dm_store *y, const dm_real *out, size_t stride, int count, int ho, int wo, int cols, const dm_store *b,
                 int add) {
  for (int o = 0; o < count; o++) {
    dm_real v = b ? dm_load(b[o]) : 0;
    for (int r = 0; r < ho; r++, y += wo) {
      const dm_real *in = out + o * stride + (size_t)r * cols;
      if (add) {
        for (int q = 0; q < wo; q++) y[q] = dm_put(dm_load(y[q]) + in[q]);
      } else {
        for (int q = 0; q < wo; q++) y[q] = dm_put(in[q] + v);
      }
    }
  }
}

dm_status cpu_conv2d_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *w, const dm_tensor *b,
                         int32_t pad, int32_t groups) {
  conv c = conv_of(x, w, pad, groups);
  frame f = frame_of(c.H + 2 * pad, c.W + 2 * pad);
  int n = (c.ho - 1) * f.cols + c.wo;
  size_t stride = padded(n, LANES), blocks = padded(c.co, CO), for_w = blocks * c.ci * c.kh * c.kw;
  size_t for_in = planes(f, c.ci), each = for_in + blocks * stride;
  void *scratch;
  dm_status s = dm_scratch(d, (groups * for_w + (size_t)omp_get_max_threads() * each) * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real *packed = scratch, *rooms = packed + groups * for_w;
  for (int g = 0; g < groups; g++) pack(&c, (const dm_store *)w->data + g * c.w_group, packed + g * for_w, 0);
#pragma omp parallel for schedule(static)
  for (int k = 0; k < c.B * groups; k++) {
    int g = k % groups;
    dm_real *in = rooms + (size_t)omp_get_thread_num() * each, *out = in + for_in;
    lay_out(in, f, (const dm_store *)x->data + k * c.x_group, c.ci, c.H, c.W, pad, pad);
    sums(out, stride, c.co, n, in, f, packed + g * for_w, c.ci, c.kh, c.kw);
    take((dm_store *)y->data + k * c.y_group, out, stride, c.co, c.ho, c.wo, f.cols,
         b ? (const dm_store *)b->data + g * c.co : NULL, 0);
  }
  return DM_OK;
}

/* -- gradients ---------------------------------------------------------------------------------------------------- */

static dm_real total(vec v) {
  dm_real s = 0;
  for (int l = 0; l < LANES; l++) s += v[l];
  return s;
}

/* dw [co][ci][taps] (+)= for each tap the dot product of gy's plane o and in's plane c shifted by the tap, over n
** positions. Both are laid out in frames of as many columns; gy is zero between its rows and past n. */
static void dots(const conv *c, dm_real *dw, const dm_real *gy, size_t gy_plane, const dm_real *in, frame f, int n,
                 int add) {
  int taps = c->kh * c->kw;
  for (int o = 0; o < c->co; o += CO) {
    const dm_real *g[CO];
    for (int k = 0; k < CO; k++) g[k] = gy + gy_plane * (o + k < c->co ? o + k : o);
    for (int ch = 0; ch < c->ci; ch++) {
      for (int t = 0; t < taps; t += TAPS) {
        const dm_real *x[TAPS];
        for (int k = 0; k < TAPS; k++) {
          int tap = t + k < taps ? t + k : t;
          x[k] = in + f.size * ch + (size_t)(tap / c->kw) * f.cols + tap % c->kw;
        }
        vec sum[CO][TAPS] = { 0 };
        for (int p = 0; p < n; p += LANES) {
          vec v[TAPS];
#pragma GCC unroll 3
          for (int k = 0; k < TAPS; k++) v[k] = *(const loose *)(x[k] + p);
#pragma GCC unroll 4
          for (int a = 0; a < CO; a++) {
            vec q = *(const loose *)(g[a] + p);
#pragma GCC unroll 3
            for (int k = 0; k < TAPS; k++) sum[a][k] += q * v[k];
          }
        }
#pragma GCC unroll 4
        for (int a = 0; a < CO; a++) {
          if (o + a >= c->co) continue;
          dm_real *out = dw + ((size_t)(o + a) * c->ci + ch) * taps + t;
#pragma GCC unroll 3
          for (int k = 0; k < TAPS; k++) {
            if (t + k < taps) out[k] = (add ? out[k] : 0) + total(sum[a][k]);
          }
        }
      }
    }
  }
}

/* What the backward pass of one thread needs besides the tensors. */
typedef struct {
  frame in, turned;                     /* of x with its border; of dy with the border of the turned kernel */
  int n, n_turned;                      /* positions of the output, of the input, in those frames */
  size_t stride, for_gy, for_in, for_turned, for_dx, for_w;
} plan;

static plan plan_of(const conv *c) {
  plan p = { .in = frame_of(c->H + 2 * c->pad, c->W + 2 * c->pad),
             .turned = frame_of(c->H + c->kh - 1, c->W + c->kw - 1) };
  p.n = (c->ho - 1) * p.in.cols + c->wo;
  p.n_turned = (c->H - 1) * p.turned.cols + c->W;
  p.stride = padded(p.n_turned, LANES);
  p.for_gy = planes(p.in, c->co);
  p.for_in = planes(p.in, c->ci);
  p.for_turned = planes(p.turned, c->co);
  p.for_dx = padded(c->ci, CO) * p.stride;
  p.for_w = padded(c->ci, CO) * c->co * c->kh * c->kw;
  return p;
}

static size_t room(const plan *p) { return p->for_gy + p->for_in + p->for_turned + p->for_dx; }

/* One part of the images: dx of them, and their share of dw and db. */
static void part_bwd(const conv *c, const plan *p, int first, int last, dm_store *dx, dm_real *dw, dm_real *db,
                     const dm_store *dy, const dm_store *x, const dm_real *packed, dm_real *gy, int add) {
  dm_real *in = gy + p->for_gy, *turned = in + p->for_in, *out = turned + p->for_turned;
  for (int n = first; n < last; n++) {
    for (int g = 0; g < c->groups; g++) {
      size_t at = (size_t)n * c->groups + g;
      const dm_store *from = dy + at * c->y_group;
      if (dx) {
        lay_out(turned, p->turned, from, c->co, c->ho, c->wo, c->kh - 1 - c->pad, c->kw - 1 - c->pad);
        sums(out, p->stride, c->ci, p->n_turned, turned, p->turned, packed + g * p->for_w, c->co, c->kh, c->kw);
        take(dx + at * c->x_group, out, p->stride, c->ci, c->H, c->W, p->turned.cols, NULL, add);
      }
      if (dw) {
        lay_out(gy, p->in, from, c->co, c->ho, c->wo, 0, 0);
        lay_out(in, p->in, x + at * c->x_group, c->ci, c->H, c->W, c->pad, c->pad);
        dots(c, dw + g * c->w_group, gy, p->in.size, in, p->in, p->n, n > first);
      }
      for (int o = 0; db && o < c->co; o++) {
        dm_real sum = n > first ? db[g * c->co + o] : 0;
        for (int k = 0; k < c->ho * c->wo; k++) sum += dm_load(from[(size_t)o * c->ho * c->wo + k]);
        db[g * c->co + o] = sum;
      }
    }
  }
}

/* out (+)= the parts, in their order. */
static void sum_parts(dm_tensor *out, const dm_real *part, int parts, size_t stride, int add) {
  dm_real *o = out->data;
  size_t n = dm_numel(out);
  for (size_t i = 0; i < n; i++) {
    dm_real sum = add ? o[i] : 0;
    for (int k = 0; k < parts; k++) sum += part[(size_t)k * stride + i];
    o[i] = sum;
  }
}

dm_status cpu_conv2d_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db, const dm_tensor *dy,
                         const dm_tensor *x, const dm_tensor *w, int32_t pad, int32_t groups, uint32_t acc) {
  conv c = conv_of(x, w, pad, groups);
  plan p = plan_of(&c);
  int parts = c.B < CHUNKS ? c.B : CHUNKS;
  size_t for_w = dm_numel(w), stride = for_w + (size_t)groups * c.co, each = room(&p);
  void *scratch;
  dm_status s = dm_scratch(d, (groups * p.for_w + parts * stride + (size_t)omp_get_max_threads() * each)
                                * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real *packed = scratch, *part = packed + groups * p.for_w, *rooms = part + parts * stride;
  for (int g = 0; dx && g < groups; g++) pack(&c, (const dm_store *)w->data + g * c.w_group, packed + g * p.for_w, 1);
#pragma omp parallel for schedule(static)
  for (int k = 0; k < parts; k++) {
    int first = (int)((long)c.B * k / parts), last = (int)((long)c.B * (k + 1) / parts);
    part_bwd(&c, &p, first, last, dx ? dx->data : NULL, dw ? part + k * stride : NULL,
             db ? part + k * stride + for_w : NULL, dy->data, x->data, packed,
             rooms + (size_t)omp_get_thread_num() * each, acc & 1);
  }
  if (dw) sum_parts(dw, part, parts, stride, acc >> 1 & 1);
  if (db) sum_parts(db, part + for_w, parts, stride, acc >> 2 & 1);
  return DM_OK;
}

/* -- maxpool2d ------------------------------------------------------------------------------------------- */

dm_status cpu_maxpool2d_fwd(dm_device *d, dm_tensor *y, dm_tensor *at, const dm_tensor *x, int32_t k) {
  (void)d;
  int planes = x->shape[0] * x->shape[1], H = x->shape[2], W = x->shape[3], ho = H / k, wo = W / k;
#pragma omp parallel for schedule(static)
  for (int n = 0; n < planes; n++) {
    const dm_store *in = (const dm_store *)x->data + (size_t)n * H * W;
    dm_store *out = (dm_store *)y->data + (size_t)n * ho * wo;
    int32_t *where = (int32_t *)at->data + (size_t)n * ho * wo;
    for (int r = 0; r < ho; r++) {
      for (int q = 0; q < wo; q++) {
        int best = r * k * W + q * k;
        for (int i = 0; i < k; i++) {
          for (int j = 0; j < k; j++) {
            int p = (r * k + i) * W + q * k + j;
            if (dm_load(in[p]) > dm_load(in[best]) || dm_load(in[p]) != dm_load(in[p])) best = p;
          }
        }
        out[r * wo + q] = in[best];
        where[r * wo + q] = best;
      }
    }
  }
  return DM_OK;
}

dm_status cpu_maxpool2d_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *at, uint32_t acc) {
  (void)d;
  if (!dx) return DM_OK;
  int planes = dx->shape[0] * dx->shape[1], size = dx->shape[2] * dx->shape[3], out = dy->shape[2] * dy->shape[3];
#pragma omp parallel for schedule(static)
  for (int n = 0; n < planes; n++) {
    dm_store *g = (dm_store *)dx->data + (size_t)n * size;
    const dm_store *gy = (const dm_store *)dy->data + (size_t)n * out;
    const int32_t *where = (const int32_t *)at->data + (size_t)n * out;
    if (!(acc & 1)) memset(g, 0, (size_t)size * sizeof *g);
    for (int p = 0; p < out; p++) g[where[p]] = dm_put(dm_load(g[where[p]]) + dm_load(gy[p]));
  }
  return DM_OK;
}
