/* text_pieces.c -- words into pieces of a vocabulary: WordPiece's longest match first, BPE's merges by their rank; of
** texts in ASCII also the words. Other texts are cut into words in Lua (lua/datamux/text), which has Unicode's tables. */
#include "backend.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST = 100 };                    /* characters of a WordPiece word; a longer one is unknown */

static int letter(int c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
static int digit(int c) { return c >= '0' && c <= '9'; }
static int white(int c) { return c == ' ' || (c >= 9 && c <= 13); }

static int punctuation(int c) {
  return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
}

static int ascii(const uint8_t *s, int32_t n) {
  for (int32_t i = 0; i < n; i++) {
    if (s[i] >= 128) return 0;
  }
  return 1;
}

/* Twice as many places as entries, a power of two: chains stay short. */
static size_t places(int32_t n) {
  size_t size = 16;
  while (size < 2 * (size_t)n) size *= 2;
  return size;
}

/* What is written: ids as far as there is room, all of them counted. */
typedef struct pen { int32_t *ids, room, n; } pen;

static void put(pen *p, int32_t id) {
  if (p->n < p->room) p->ids[p->n] = id;
  p->n++;
}

/* -- WordPiece ---------------------------------------------------------------------------------------------- */

struct dm_wordpiece {
  uint8_t *bytes;                          /* all pieces, one after the other */
  int32_t *offset, *slot;                  /* offset[id]; slot: id, or -1 */
  size_t mask;
  int32_t unk;
};

static uint32_t mix(uint32_t h, uint8_t c) { return (h ^ c) * 16777619u; }

static uint32_t hash_of(const uint8_t *s, int32_t n) {
  uint32_t h = 2166136261u;
  for (int32_t i = 0; i < n; i++) h = mix(h, s[i]);
  return h;
}

static size_t place_of(const dm_wordpiece *w, uint32_t h) { return (h ^ h >> 15) & w->mask; }

/* The id of the piece s[0 .. n), of a continuation "##" s; -1 where there is none. h is the hash of the whole. */
static int32_t find(const dm_wordpiece *w, const uint8_t *s, int32_t n, int rest, uint32_t h) {
  for (size_t k = place_of(w, h);; k = (k + 1) & w->mask) {
    int32_t id = w->slot[k];
    if (id < 0) return -1;
    const uint8_t *p = w->bytes + w->offset[id];
    int32_t size = w->offset[id + 1] - w->offset[id];
    if (rest) {
      if (size == n + 2 && p[0] == '#' && p[1] == '#' && !memcmp(p + 2, s, (size_t)n)) return id;
    } else if (size == n && !memcmp(p, s, (size_t)n)) {
      return id;
    }
  }
}

void dm_wordpiece_free(dm_wordpiece *w) {
  if (!w) return;
  free(w->bytes);
  free(w->offset);
  free(w->slot);
  free(w);
}

dm_status dm_wordpiece_new(dm_wordpiece **out, const uint8_t *bytes, const int32_t *offset, int32_t n, int32_t unk) {
  dm_wordpiece *w = calloc(1, sizeof *w);
  if (!w) return dm_fail(DM_ENOMEM, "wordpiece: no memory for %d pieces", n);
  size_t size = places(n);
  w->bytes = malloc((size_t)offset[n] + 1);
  w->offset = malloc(((size_t)n + 1) * sizeof *offset);
  w->slot = malloc(size * sizeof *w->slot);
  if (!w->bytes || !w->offset || !w->slot) {
    dm_wordpiece_free(w);
    return dm_fail(DM_ENOMEM, "wordpiece: no memory for %d pieces", n);
  }
  memcpy(w->bytes, bytes, (size_t)offset[n]);
  memcpy(w->offset, offset, ((size_t)n + 1) * sizeof *offset);
  memset(w->slot, 0xff, size * sizeof *w->slot);
  w->mask = size - 1;
  w->unk = unk;
  for (int32_t id = 0; id < n; id++) {
    size_t k = place_of(w, hash_of(bytes + offset[id], offset[id + 1] - offset[id]));
    while (w->slot[k] >= 0) k = (k + 1) & w->mask;
    w->slot[k] = id;
  }
  *out = w;
  return DM_OK;
}

/* The pieces of one word: each time the longest that fits, or unk for all of it. */
static void match(const dm_wordpiece *w, const uint8_t *s, int32_t n, pen *p) {
  int32_t ends[LONGEST], count = 0, start = p->n;
  for (int32_t i = 1; i <= n; i++) {
    if (i < n && (s[i] & 0xc0) == 0x80) continue;           /* inside a character */
    if (count == LONGEST) {
      put(p, w->unk);
      return;
    }
    ends[count++] = i;
  }
  for (int32_t from = 0, first = 0; from < n;) {
    uint32_t h = from ? mix(mix(2166136261u, '#'), '#') : 2166136261u, hashes[LONGEST];
    int32_t i = from, last = count, id = -1;
    for (int32_t k = first; k < count; k++) {
      for (; i < ends[k]; i++) h = mix(h, s[i]);
      hashes[k] = h;
    }
    while (last > first && (id = find(w, s + from, ends[last - 1] - from, from > 0, hashes[last - 1])) < 0) last--;
    if (id < 0) {
      p->n = start;
      put(p, w->unk);
      return;
    }
    put(p, id);
    from = ends[last - 1];
    first = last;
  }
}

int32_t dm_wordpiece_word(const dm_wordpiece *w, const uint8_t *word, int32_t n, int32_t *ids, int32_t room) {
  pen p = { ids, room, 0 };
  match(w, word, n, &p);
  return p.n;
}

int32_t dm_wordpiece_text(const dm_wordpiece *w, const uint8_t *text, int32_t n, int32_t lower, int32_t *ids,
                          int32_t room) {
  if (!ascii(text, n)) return -1;
  pen p = { ids, room, 0 };
  uint8_t word[LONGEST + 1];
  int32_t size = 0;
  for (int32_t i = 0; i <= n; i++) {
    int c = i < n ? text[i] : ' ';
    int space = c == ' ' || c == '\t' || c == '\n' || c == '\r', mark = punctuation(c);
    if ((c < 32 && !space) || c == 127) continue;           /* control characters vanish */
    if (!space && !mark) {
      if (size <= LONGEST) word[size++] = (uint8_t)(lower && c >= 'A' && c <= 'Z' ? c + 32 : c);
      continue;
    }
    if (size) match(w, word, size, &p);
    size = 0;
    uint8_t one = (uint8_t)c;
    if (mark) match(w, &one, 1, &p);
  }
  return p.n;
}

/* -- byte-level BPE ----------------------------------------------------------------------------------------- */

typedef struct merge { int32_t a, b, to, rank; } merge;    /* rank -1: an empty place */

struct dm_bpe {
  int32_t letters[256];                    /* the part that stands for a byte */
  merge *table;
  size_t mask;
  int32_t unk;
  int32_t *parts, *ranks, room;            /* of the piece at hand */
};

static size_t pair_place(const dm_bpe *b, int32_t x, int32_t y) {
  uint64_t h = ((uint64_t)(uint32_t)x << 32 | (uint32_t)y) * 0x9e3779b97f4a7c15u;
  return (size_t)(h >> 32) & b->mask;
}

static merge *pair(const dm_bpe *b, int32_t x, int32_t y) {
  size_t k = pair_place(b, x, y);
  while (b->table[k].rank >= 0 && (b->table[k].a != x || b->table[k].b != y)) k = (k + 1) & b->mask;
  return &b->table[k];
}

void dm_bpe_free(dm_bpe *b) {
  if (!b) return;
  free(b->table);
  free(b->parts);
  free(b->ranks);
  free(b);
}

dm_status dm_bpe_new(dm_bpe **out, const int32_t *letters, const int32_t *merges, int32_t n, int32_t unk) {
  dm_bpe *b = calloc(1, sizeof *b);
  size_t size = places(n);
  if (b) b->table = malloc(size * sizeof *b->table);
  if (!b || !b->table) {
    dm_bpe_free(b);
    return dm_fail(DM_ENOMEM, "bpe: no memory for %d merges", n);
  }
  memcpy(b->letters, letters, sizeof b->letters);
  b->mask = size - 1;
  b->unk = unk;
  for (size_t k = 0; k < size; k++) b->table[k].rank = -1;
  for (int32_t k = 0; k < n; k++) {
    const int32_t *m = merges + 3 * (size_t)k;
    *pair(b, m[0], m[1]) = (merge){ m[0], m[1], m[2], k };  /* of equals, the last one */
  }
  *out = b;
  return DM_OK;
}

enum { NONE = 0x7fffffff };

static int32_t rank_of(const dm_bpe *b, int32_t x, int32_t y) {
  int32_t r = pair(b, x, y)->rank;
  return r < 0 ? NONE : r;
}

/* The ids of one piece: the pair of lowest rank joined, the leftmost of equals, until none is left. */
static int join(dm_bpe *b, const uint8_t *s, int32_t n, pen *p) {
  if (n > b->room) {
    int32_t room = n < 256 ? 256 : 2 * n;
    int32_t *parts = realloc(b->parts, (size_t)room * sizeof *parts);
    if (parts) b->parts = parts;
    int32_t *ranks = realloc(b->ranks, (size_t)room * sizeof *ranks);
    if (ranks) b->ranks = ranks;
    if (!parts || !ranks) return 0;
    b->room = room;
  }
  int32_t *part = b->parts, *rank = b->ranks, count = n;
  for (int32_t i = 0; i < n; i++) part[i] = b->letters[s[i]];
  for (int32_t i = 0; i + 1 < n; i++) rank[i] = rank_of(b, part[i], part[i + 1]);
  while (count > 1) {
    int32_t at = 0;
    for (int32_t i = 1; i + 1 < count; i++) {
      if (rank[i] < rank[at]) at = i;
    }
    if (rank[at] == NONE) break;
    part[at] = pair(b, part[at], part[at + 1])->to;
    count--;
    memmove(part + at + 1, part + at + 2, (size_t)(count - at - 1) * sizeof *part);
    memmove(rank + at, rank + at + 1, (size_t)(count - at - 1) * sizeof *rank);
    if (at > 0) rank[at - 1] = rank_of(b, part[at - 1], part[at]);
    if (at + 1 < count) rank[at] = rank_of(b, part[at], part[at + 1]);
  }
  for (int32_t i = 0; i < count; i++) put(p, part[i] < 0 ? b->unk : part[i]);
  return 1;
}

int32_t dm_bpe_piece(dm_bpe *b, const uint8_t *piece, int32_t n, int32_t *ids, int32_t room) {
  pen p = { ids, room, 0 };
  return join(b, piece, n, &p) ? p.n : -2;
}

/* The length of 's, 't, 're, 've, 'm, 'll, 'd at s, or 0. */
static int32_t suffix(const uint8_t *s, int32_t n) {
  if (n < 2 || s[0] != '\'') return 0;
  if (s[1] == 's' || s[1] == 't' || s[1] == 'm' || s[1] == 'd') return 2;
  if (n < 3) return 0;
  return (s[1] == 'r' && s[2] == 'e') || (s[1] == 'v' && s[2] == 'e') || (s[1] == 'l' && s[2] == 'l') ? 3 : 0;
}

/* The length of the piece at s: the pattern of lua/datamux/text/bpe.lua, for ASCII. */
static int32_t piece_length(const uint8_t *s, int32_t n) {
  int32_t i = suffix(s, n);
  if (i) return i;
  if (s[0] == ' ' && n > 1 && !white(s[1])) i = 1;
  if (!white(s[i])) {
    int letters = letter(s[i]), digits = digit(s[i]);
    while (i < n && letter(s[i]) == letters && digit(s[i]) == digits && !white(s[i])) i++;
    return i;
  }
  while (i < n && white(s[i])) i++;
  return i < n && i > 1 ? i - 1 : i;       /* the last blank belongs to the word after it */
}

int32_t dm_bpe_text(dm_bpe *b, const uint8_t *text, int32_t n, int32_t *ids, int32_t room) {
  if (!ascii(text, n)) return -1;
  pen p = { ids, room, 0 };
  for (int32_t i = 0, size; i < n; i += size) {
    size = piece_length(text + i, n - i);
    if (!join(b, text + i, size, &p)) return -2;
  }
  return p.n;
}
