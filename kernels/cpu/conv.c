/* conv.c -- conv2d by im2col and products, and maxpool2d, on the CPU. */
#include "cpu.h"

#include <omp.h>
#include <string.h>

enum { CHUNKS = 16 };                   /* images are cut into at most so many parts: borders depend on B alone */

typedef struct {
  int B, groups, ci, co;                /* channels of one group */
  int H, W, kh, kw, pad, ho, wo;
  int K, P;                             /* rows and columns of the unfolded image: ci kh kw, ho wo */
  size_t x_group, y_group, w_group;     /* elements of one group of one image, of one group's weights */
} conv;

static conv conv_of(const dm_tensor *x, const dm_tensor *w, int pad, int groups) {
  conv c = { .B = x->shape[0], .groups = groups, .ci = x->shape[1] / groups, .co = w->shape[0] / groups,
             .H = x->shape[2], .W = x->shape[3], .kh = w->shape[2], .kw = w->shape[3], .pad = pad };
  c.ho = c.H + 2 * pad - c.kh + 1;
  c.wo = c.W + 2 * pad - c.kw + 1;
  c.K = c.ci * c.kh * c.kw;
  c.P = c.ho * c.wo;
  c.x_group = (size_t)c.ci * c.H * c.W;
  c.y_group = (size_t)c.co * c.P;
  c.w_group = (size_t)c.co * c.K;
  return c;
}

/* The columns [from, to) of an output row that read inside the image under kernel column j. */
static void inside(const conv *c, int j, int *from, int *to) {
  int low = c->pad - j, high = c->W + c->pad - j;
  *from = low < 0 ? 0 : low > c->wo ? c->wo : low;
  *to = high > c->wo ? c->wo : high < *from ? *from : high;
}

/* col [K, P]: what each output position reads. */
static void unfold(const conv *c, const dm_real *x, dm_real *col) {
  for (int ch = 0; ch < c->ci; ch++) {
    for (int i = 0; i < c->kh; i++) {
      for (int j = 0; j < c->kw; j++, col += c->P) {
        int from, to;
        inside(c, j, &from, &to);
        for (int r = 0; r < c->ho; r++) {
          dm_real *row = col + (size_t)r * c->wo;
          int at = r + i - c->pad;
          memset(row, 0, (size_t)c->wo * sizeof *row);
          if (at < 0 || at >= c->H) continue;
          const dm_real *in = x + ((size_t)ch * c->H + at) * c->W + (j - c->pad);
          for (int q = from; q < to; q++) row[q] = in[q];
        }
      }
    }
  }
}

/* dx += what unfold spread. */
static void fold(const conv *c, dm_real *dx, const dm_real *col) {
  for (int ch = 0; ch < c->ci; ch++) {
    for (int i = 0; i < c->kh; i++) {
      for (int j = 0; j < c->kw; j++, col += c->P) {
        int from, to;
        inside(c, j, &from, &to);
        for (int r = 0; r < c->ho; r++) {
          int at = r + i - c->pad;
          if (at < 0 || at >= c->H) continue;
          const dm_real *row = col + (size_t)r * c->wo;
          dm_real *out = dx + ((size_t)ch * c->H + at) * c->W + (j - c->pad);
          for (int q = from; q < to; q++) out[q] += row[q];
        }
      }
    }
  }
}

dm_status cpu_conv2d_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *w, const dm_tensor *b,
                         int32_t pad, int32_t groups) {
  conv c = conv_of(x, w, pad, groups);
  size_t for_col = (size_t)c.K * c.P;
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)omp_get_max_threads() * for_col * sizeof(dm_real), &scratch), failed = DM_OK;
  if (s) return s;
#pragma omp parallel for schedule(static)
  for (int n = 0; n < c.B; n++) {
    dm_real *col = (dm_real *)scratch + (size_t)omp_get_thread_num() * for_col;
    for (int g = 0; g < c.groups; g++) {
      size_t at = (size_t)n * c.groups + g;
      dm_real *out = (dm_real *)y->data + at * c.y_group;
      unfold(&c, (const dm_real *)x->data + at * c.x_group, col);
      dm_status e = cpu_gemm(0, 0, c.co, c.P, c.K, (const dm_real *)w->data + g * c.w_group, c.K, col, c.P, 0, out, c.P);
      if (e) {
#pragma omp atomic write
        failed = e;
      }
      for (int o = 0; b && o < c.co; o++) {
        dm_real v = ((const dm_real *)b->data)[g * c.co + o];
        for (int p = 0; p < c.P; p++) out[(size_t)o * c.P + p] += v;
      }
    }
  }
  return failed;
}

/* One part of the images: dx of them, and their share of dw and db. */
static dm_status part_bwd(const conv *c, int first, int last, dm_real *dx, dm_real *dw, dm_real *db, const dm_real *dy,
                          const dm_real *x, const dm_real *w, dm_real *col, int add) {
  dm_status s = DM_OK;
  for (int n = first; n < last; n++) {
    for (int g = 0; g < c->groups && !s; g++) {
      size_t at = (size_t)n * c->groups + g;
      const dm_real *gy = dy + at * c->y_group;
      if (dx) {
        dm_real *gx = dx + at * c->x_group;
        s = cpu_gemm(1, 0, c->K, c->P, c->co, w + g * c->w_group, c->K, gy, c->P, 0, col, c->P);
        if (!add) memset(gx, 0, c->x_group * sizeof *gx);
        fold(c, gx, col);
      }
      if (dw && !s) {
        unfold(c, x + at * c->x_group, col);
        s = cpu_gemm(0, 1, c->co, c->K, c->P, gy, c->P, col, c->P, n > first, dw + g * c->w_group, c->K);
      }
      for (int o = 0; db && o < c->co; o++) {
        dm_real sum = n > first ? db[g * c->co + o] : 0;
        for (int p = 0; p < c->P; p++) sum += gy[(size_t)o * c->P + p];
        db[g * c->co + o] = sum;
      }
    }
  }
  return s;
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
  int parts = c.B < CHUNKS ? c.B : CHUNKS, bias = c.groups * c.co;
  size_t for_col = (size_t)c.K * c.P, for_w = dm_numel(w), stride = for_w + bias;
  void *scratch;
  dm_status s = dm_scratch(d, (omp_get_max_threads() * for_col + parts * stride) * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real *part = scratch, *cols = part + parts * stride;
  dm_status failed = DM_OK;
#pragma omp parallel for schedule(static)
  for (int k = 0; k < parts; k++) {
    int first = (int)((long)c.B * k / parts), last = (int)((long)c.B * (k + 1) / parts);
    dm_status e = part_bwd(&c, first, last, dx ? dx->data : NULL, dw ? part + k * stride : NULL,
                           db ? part + k * stride + for_w : NULL, dy->data, x->data, w->data,
                           cols + omp_get_thread_num() * for_col, acc & 1);
    if (e) {
#pragma omp atomic write
      failed = e;
    }
  }
  if (dw) sum_parts(dw, part, parts, stride, acc >> 1 & 1);
  if (db) sum_parts(db, part + for_w, parts, stride, acc >> 2 & 1);
  return failed;
}

/* -- maxpool2d ------------------------------------------------------------------------------------------- */

dm_status cpu_maxpool2d_fwd(dm_device *d, dm_tensor *y, dm_tensor *at, const dm_tensor *x, int32_t k) {
  (void)d;
  int planes = x->shape[0] * x->shape[1], H = x->shape[2], W = x->shape[3], ho = H / k, wo = W / k;
#pragma omp parallel for schedule(static)
  for (int n = 0; n < planes; n++) {
    const dm_real *in = (const dm_real *)x->data + (size_t)n * H * W;
    dm_real *out = (dm_real *)y->data + (size_t)n * ho * wo;
    int32_t *where = (int32_t *)at->data + (size_t)n * ho * wo;
    for (int r = 0; r < ho; r++) {
      for (int q = 0; q < wo; q++) {
        int best = r * k * W + q * k;
        for (int i = 0; i < k; i++) {
          for (int j = 0; j < k; j++) {
            int p = (r * k + i) * W + q * k + j;
            if (in[p] > in[best]) best = p;
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
    dm_real *g = (dm_real *)dx->data + (size_t)n * size;
    const dm_real *gy = (const dm_real *)dy->data + (size_t)n * out;
    const int32_t *where = (const int32_t *)at->data + (size_t)n * out;
    if (!(acc & 1)) memset(g, 0, (size_t)size * sizeof *g);
    for (int p = 0; p < out; p++) g[where[p]] += gy[p];
  }
  return DM_OK;
}
