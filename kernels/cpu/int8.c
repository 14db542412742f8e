/* int8.c -- products of a finished model in 8-bit integers on the CPU: weights per output channel, inputs per row.
**
** Weights keep 7 bits and are stored as 64 + (-63 .. 63), inputs 8 bits, -127 .. 127: the instructions that multiply
** bytes take one operand without a sign, and those of processors without VNNI add two products in 16 bits, where
** 2 * 127 * 127 still fits. Sums are exact in 32 bits, everything else is in real.
**
** Packed weights are panels of 16 channels, within a panel 16 times 4 inputs after another, so that a product reads them
** in the order they lie in. A block of a few rows by a few panels has its sums in registers from the first input to the
** last, and is scaled, given its bias and activated while it is in the first-level cache. */
#include "cpu.h"
#include "simd.h"

#include <omp.h>

enum {
  WEIGHT = 63, INPUT = 127, MIDDLE = 64,
  LANES = 16,                           /* channels of a panel */
  HIGH = 504,                           /* most rows of a tile: with 3,072 inputs, 1.5 MiB that its columns read again */
  PAIRS = 120                           /* pairs that a thread unbinds at a time */
};

/* -- one step of a block: four inputs for each of 16 channels ---------------------------------------- */

#if defined __AVX512BW__

enum { ROWS = 6, PANELS = 4 };          /* 24 of 32 registers */
typedef __m512i lanes;

static inline lanes none(void) { return _mm512_setzero_si512(); }
static inline lanes load(const uint8_t *w) { return _mm512_loadu_si512(w); }
static inline void store(int32_t *out, lanes s) { _mm512_storeu_si512(out, s); }

static inline lanes dot(lanes s, lanes w, int32_t x) {
#ifdef __AVX512VNNI__
  return _mm512_dpbusd_epi32(s, w, _mm512_set1_epi32(x));
#else
  return _mm512_add_epi32(s, _mm512_madd_epi16(_mm512_maddubs_epi16(w, _mm512_set1_epi32(x)), _mm512_set1_epi16(1)));
#endif
}

#elif defined __AVX2__

enum { ROWS = 4, PANELS = 1 };          /* 8 of 16 registers */
typedef struct lanes { __m256i low, high; } lanes;

static inline lanes none(void) { return (lanes){ _mm256_setzero_si256(), _mm256_setzero_si256() }; }

static inline lanes load(const uint8_t *w) {
  return (lanes){ _mm256_loadu_si256((const __m256i *)w), _mm256_loadu_si256((const __m256i *)(w + 32)) };
}

static inline void store(int32_t *out, lanes s) {
  _mm256_storeu_si256((__m256i *)out, s.low);
  _mm256_storeu_si256((__m256i *)(out + 8), s.high);
}

static inline lanes dot(lanes s, lanes w, int32_t x) {
  __m256i v = _mm256_set1_epi32(x), ones = _mm256_set1_epi16(1);
  s.low = _mm256_add_epi32(s.low, _mm256_madd_epi16(_mm256_maddubs_epi16(w.low, v), ones));
  s.high = _mm256_add_epi32(s.high, _mm256_madd_epi16(_mm256_maddubs_epi16(w.high, v), ones));
  return s;
}

#else

enum { ROWS = 4, PANELS = 1 };
typedef struct lanes { int32_t of[LANES]; } lanes;

static inline lanes none(void) { return (lanes){ { 0 } }; }

static inline lanes load(const uint8_t *w) {
  lanes s;
  memcpy(&s, w, sizeof s);
  return s;
}

static inline void store(int32_t *out, lanes s) { memcpy(out, &s, sizeof s); }

static inline lanes dot(lanes s, lanes w, int32_t x) {
  const uint8_t *u = (const uint8_t *)&w;
  const int8_t *v = (const int8_t *)&x;
  for (int j = 0; j < LANES; j++) {
    for (int i = 0; i < 4; i++) s.of[j] += u[4 * j + i] * v[i];
  }
  return s;
}

#endif

/* sum [rows, PANELS * 16] = x w^T for `rows` rows of x and `panels` panels of w, both constants where it is called. */
static inline __attribute__((always_inline)) void multiply(int32_t *sum, const int8_t *x, const uint8_t *w, int pitch,
                                                            int rows, int panels) {
  lanes s[ROWS][PANELS];
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++) {
#pragma GCC unroll 6
    for (int p = 0; p < panels; p++) s[r][p] = none();
  }
  for (int k = 0; k < pitch; k += 4) {
    lanes v[PANELS];
#pragma GCC unroll 6
    for (int p = 0; p < panels; p++) v[p] = load(w + ((size_t)p * pitch + k) * LANES);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
      int32_t four;
      memcpy(&four, x + (size_t)r * pitch + k, 4);
#pragma GCC unroll 6
      for (int p = 0; p < panels; p++) s[r][p] = dot(s[r][p], v[p], four);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++) {
#pragma GCC unroll 6
    for (int p = 0; p < panels; p++) store(sum + (r * PANELS + p) * LANES, s[r][p]);
  }
}

static void block(int32_t *sum, const int8_t *x, const uint8_t *w, int pitch, int rows, int panels) {
#define OF(r)                                                       \
  case r:                                                           \
    if (panels == PANELS) multiply(sum, x, w, pitch, r, PANELS);    \
    else multiply(sum, x, w, pitch, r, 1);                          \
    break;
  switch (rows) {
    OF(1) OF(2) OF(3) OF(4)
#ifdef __AVX512BW__
    OF(5) OF(6)
#endif
  }
#undef OF
}

/* -- rounding ------------------------------------------------------------------------------------------ */

/* Bytes of a part of a thread's room, so that the next one starts a cache line. */
static size_t part(size_t bytes) { return (bytes + 255) / 256 * 256; }

/* The largest of |v|; infinite, or not a number, where one of v is so. Without their sign, reals have the order of their
** bits, and those of no number come last. */
static dm_real largest(const dm_real *v, int n) {
  const dm_bits without_sign = (dm_bits)(~(uint64_t)0 >> (65 - 8 * sizeof(dm_bits)));
  dm_bits top = 0;
#pragma omp simd reduction(max : top)
  for (int j = 0; j < n; j++) {
    dm_bits a;
    memcpy(&a, v + j, sizeof a);
    a &= without_sign;
    top = a > top ? a : top;
  }
  dm_real value;
  memcpy(&value, &top, sizeof value);
  return value;
}

/* What a step of n of them is worth where the largest value is `top`; not a number where that is none or infinite. */
static dm_real step_of(dm_real top, int n) { return top / n + 0 * top; }

/* The factor that makes steps of values; 0 where there are none. */
static dm_real steps_in(dm_real top, int n) { return top > 0 && 0 * top == 0 ? n / top : 0; }

/* q, which is small, to the nearest integer, and of two the even one. */
static inline int nearest(dm_real q) {
  const dm_real last_digit_is_1 = (dm_real)(sizeof(dm_real) == 4 ? 0x1.8p23 : 0x1.8p52);
  return (int)(q + last_digit_is_1 - last_digit_is_1);
}

dm_status cpu_int8_pack(dm_device *d, dm_tensor *q, dm_tensor *scale, const dm_tensor *w) {
  (void)d;
  int n = w->shape[0], k = w->shape[1], pitch = 4 * q->shape[1];
#pragma omp parallel for schedule(static)
  for (int p = 0; p < q->shape[0]; p++) {
    uint8_t *panel = (uint8_t *)q->data + (size_t)p * pitch * LANES;
    memset(panel, MIDDLE, (size_t)pitch * LANES);
    for (int c = 0; c < LANES && p * LANES + c < n; c++) {
      const dm_real *v = (const dm_real *)w->data + (size_t)(p * LANES + c) * k;
      dm_real top = largest(v, k), inverse = steps_in(top, WEIGHT);
      ((dm_real *)scale->data)[p * LANES + c] = step_of(top, WEIGHT);
      for (int j = 0; j < k && inverse > 0; j++) {
        panel[j / 4 * 4 * LANES + 4 * c + j % 4] = (uint8_t)(MIDDLE + nearest(v[j] * inverse));
      }
    }
  }
  return DM_OK;
}

/* n values of v in 8 bits, padded with zeros to pitch. unit: what a step is worth, not a number where a value is none or
** infinite; shift: what the middle of the weights adds to each of the row's sums. */
static void quantise(int8_t *q, dm_real *unit, int32_t *shift, const dm_real *v, int n, int pitch) {
  dm_real top = largest(v, n), inverse = steps_in(top, INPUT);
  int32_t sum = 0;
  *unit = step_of(top, INPUT);
  if (inverse > 0) {
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < n; j++) {
      int a = nearest(v[j] * inverse);
      q[j] = (int8_t)a;
      sum += a;
    }
  } else {
    memset(q, 0, (size_t)n);
  }
  memset(q + n, 0, (size_t)(pitch - n));
  *shift = MIDDLE * sum;
}

/* -- products ------------------------------------------------------------------------------------------ */

/* y [.., n] = act(x w^T + bias), where bias is one row for all, or a matrix of which row i of y takes row of[i]. */
typedef struct product {
  int n, pitch, act;
  const int8_t *x;
  const uint8_t *w;
  const dm_real *unit, *channel, *bias;
  const int32_t *shift, *of;
  void *y;
  int dtype;                            /* of y: f32 or bf16 */
} product;

/* Value `at` of p->y, the address alone. */
static char *place(const product *p, size_t at) {
  return (char *)p->y + at * (p->dtype == DM_BF16 ? sizeof(dm_bf16) : sizeof(dm_real));
}

static void put(char *out, const dm_real *v, int n, int dtype) {
  if (dtype == DM_BF16) {
#pragma omp simd
    for (int j = 0; j < n; j++) ((dm_bf16 *)out)[j] = dm_to_bf16((float)v[j]);
  } else {
#pragma omp simd
    for (int j = 0; j < n; j++) ((dm_real *)out)[j] = v[j];
  }
}

/* Rows [first, end) of y at the columns of `panels` panels from `at` on. y is asked for before the products, and written
** once: it is too large for the caches, and waiting for it would take longer than what is left to compute. */
static void columns(const product *p, int first, int end, int at, int panels) {
  int32_t sum[ROWS * PANELS * LANES];
  dm_real value[PANELS * LANES];
  int w = p->n - at < panels * LANES ? p->n - at : panels * LANES;
  for (int i = first; i < end; i += ROWS) {
    int rows = end - i < ROWS ? end - i : ROWS;
    for (int r = 0; r < rows; r++) {
      for (int j = 0; j < w; j += LANES) __builtin_prefetch(place(p, (size_t)(i + r) * p->n + at + j), 1);
    }
    block(sum, p->x + (size_t)i * p->pitch, p->w + (size_t)at * p->pitch, p->pitch, rows, panels);
    for (int r = 0; r < rows; r++) {
      const int32_t *v = sum + r * PANELS * LANES, shift = p->shift[i + r];
      const dm_real *c = p->channel + at, u = p->unit[i + r];
      const dm_real *b = p->bias ? p->bias + (p->of ? (size_t)p->of[i + r] * p->n : 0) + at : NULL;
#pragma omp simd
      for (int j = 0; j < w; j++) value[j] = (dm_real)(v[j] - shift) * (u * c[j]) + (b ? b[j] : 0);
      dm_act_span(value, value, (size_t)w, p->act);
      put(place(p, (size_t)(i + r) * p->n + at), value, w, p->dtype);
    }
  }
}

/* Rows [first, end) of y at the columns of panels [from, to). */
static void tile(const product *p, int first, int end, int from, int to) {
  for (; to - from >= PANELS; from += PANELS) columns(p, first, end, from * LANES, PANELS);
  for (; from < to; from++) columns(p, first, end, from * LANES, 1);
}

dm_status cpu_int8_linear(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *q, const dm_tensor *scale,
                          const dm_tensor *b, int32_t act) {
  int rows = dm_rows(x), n = dm_cols(x), panels = q->shape[0], pitch = 4 * q->shape[1];
  int down = (rows + HIGH - 1) / HIGH, across = (panels + PANELS - 1) / PANELS;
  int high = down ? (rows + down * ROWS - 1) / (down * ROWS) * ROWS : 0;     /* even: a thread takes a run of them */
  size_t for_x = part((size_t)rows * pitch), for_room = x->dtype == DM_BF16 ? (size_t)dm_threads() * n : 0;
  void *scratch;
  dm_status s = dm_scratch(d, for_x + (rows + for_room) * sizeof(dm_real) + (size_t)rows * sizeof(int32_t), &scratch);
  if (s) return s;
  int8_t *own = scratch;
  dm_real *unit = (dm_real *)(own + for_x), *rooms = unit + rows;
  int32_t *shift = (int32_t *)(rooms + for_room);
#pragma omp parallel for schedule(static)
  for (int r = 0; r < rows; r++) {
    const dm_real *v = (const dm_real *)x->data + (size_t)r * n;
    if (x->dtype == DM_BF16) {
      const dm_bf16 *narrow = (const dm_bf16 *)x->data + (size_t)r * n;
      dm_real *room = rooms + (size_t)omp_get_thread_num() * n;
#pragma omp simd
      for (int j = 0; j < n; j++) room[j] = dm_of_bf16(narrow[j]);
      v = room;
    }
    quantise(own + (size_t)r * pitch, unit + r, shift + r, v, n, pitch);
  }
  product p = { .n = dm_cols(y), .pitch = pitch, .act = act, .x = own, .w = q->data, .unit = unit,
                .channel = scale->data, .bias = b ? b->data : NULL, .shift = shift, .y = y->data, .dtype = y->dtype };
#pragma omp parallel for schedule(static)
  for (int t = 0; t < down * across; t++) {
    int first = t / across * high, end = first + high < rows ? first + high : rows;
    int from = t % across * PANELS, to = from + PANELS < panels ? from + PANELS : panels;
    tile(&p, first, end, from, to);
  }
  return DM_OK;
}

/* Each thread binds a few pairs in 8 bits and multiplies them while they are in its cache. */
dm_status cpu_int8_unbind(dm_device *d, dm_tensor *y, const dm_tensor *key, const dm_tensor *h, const dm_tensor *hb,
                          const dm_tensor *q, const dm_tensor *scale, const dm_tensor *ik, const dm_tensor *ih,
                          int32_t act) {
  int R = dm_rows(y), D = dm_cols(y), C = dm_cols(h), panels = q->shape[0], pitch = 4 * q->shape[1];
  size_t for_x = part((size_t)PAIRS * pitch), for_row = part((size_t)C * sizeof(dm_real));
  size_t each = for_x + for_row + part(PAIRS * (sizeof(dm_real) + sizeof(int32_t)));
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)omp_get_max_threads() * each, &scratch);
  if (s) return s;
#pragma omp parallel for schedule(static)
  for (int c = 0; c < (R + PAIRS - 1) / PAIRS; c++) {
    int first = c * PAIRS, rows = R - first < PAIRS ? R - first : PAIRS;
    const int32_t *k = (const int32_t *)ik->data + first, *at = (const int32_t *)ih->data + first;
    int8_t *x = (int8_t *)scratch + (size_t)omp_get_thread_num() * each;
    dm_real *bound = (dm_real *)(x + for_x), *unit = (dm_real *)(x + for_x + for_row);
    int32_t *shift = (int32_t *)(unit + PAIRS);
    for (int r = 0; r < rows; r++) {
      const dm_real *u = (const dm_real *)key->data + (size_t)k[r] * C;
      const dm_real *v = (const dm_real *)h->data + (size_t)at[r] * C;
#pragma omp simd
      for (int j = 0; j < C; j++) bound[j] = u[j] * v[j];
      quantise(x + (size_t)r * pitch, unit + r, shift + r, bound, C, pitch);
    }
    product p = { .n = D, .pitch = pitch, .act = act, .x = x, .w = q->data, .unit = unit, .channel = scale->data,
                  .bias = hb->data, .of = at, .shift = shift, .y = (dm_real *)y->data + (size_t)first * D,
                  .dtype = DM_F32 };
    tile(&p, 0, rows, 0, panels);
  }
  return DM_OK;
}
