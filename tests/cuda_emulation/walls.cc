/* walls.cc -- see walls.h. Tensors that overlap (views of one block) share a copy. */
#include "walls.h"

#include "emulator.h"

#include <stdio.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

namespace {

enum { PAGE = 4096, MOST = 24 };

struct Copy {
  char *from, *to;                     /* original and twin */
  size_t bytes;
  bool written;
  char *map;                           /* page, body, page */
  size_t mapped;
};

dm_tensor twins[MOST], originals[MOST];
bool written[MOST];
int n_twins;
std::vector<Copy> copies;

size_t bytes_of(const dm_tensor *t) { return dm_numel(t) * (t->dtype == DM_BF16 ? 2 : 4); }

/* Body of `bytes` with the offset from a multiple of 256 that `like` has, as near to the upper wall as that allows. */
void raise(Copy &c, const void *like) {
  size_t skew = (uintptr_t)like % 256, body = (c.bytes + 256 + PAGE - 1) / PAGE * PAGE;
  c.mapped = body + 2 * PAGE;
  c.map = (char *)mmap(NULL, c.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(c.map + PAGE, 0xff, body);
  uintptr_t end = (uintptr_t)c.map + PAGE + body;
  uintptr_t start = (end - c.bytes - skew) / 256 * 256 + skew;
  c.to = (char *)start;
  mprotect(c.map, PAGE, PROT_NONE);
  mprotect(c.map + PAGE + body, PAGE, PROT_NONE);
}

bool gap_is_whole(const Copy &c) {
  const char *from = c.map + PAGE, *to = c.map + c.mapped - PAGE;
  for (const char *p = from; p < to; p++) {
    if (p >= c.to && p < c.to + c.bytes) continue;
    if (*p != (char)0xff) return false;
  }
  return true;
}

std::string shape_of(const dm_tensor *t) {
  std::string s = "[";
  for (int i = 0; i < t->ndim; i++) s += (i ? ", " : "") + std::to_string(t->shape[i]);
  return s + "]";
}

/* The tensors whose twins lie in this copy, as text. */
std::string who(const Copy &c) {
  std::string s;
  for (int i = 0; i < n_twins; i++) {
    char *p = (char *)originals[i].data;
    if (!c.from || p < c.from || p >= c.from + c.bytes) continue;
    s += (s.empty() ? "" : ", ") + std::string("tensor ") + std::to_string(i + 1) + " " + shape_of(&originals[i]);
  }
  return s.empty() ? "scratch of " + std::to_string(c.bytes) + " bytes" : s;
}

}  // namespace

void walls_begin() {
  n_twins = 0;
  copies.clear();
}

dm_tensor *walls_add(const dm_tensor *t, bool is_written) {
  if (!t) return NULL;
  originals[n_twins] = *t;
  twins[n_twins] = *t;
  written[n_twins] = is_written;
  return &twins[n_twins++];
}

void walls_raise() {
  if (emulated_capturing()) return;
  std::vector<int> order;
  for (int i = 0; i < n_twins; i++) {
    if (bytes_of(&originals[i])) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [](int a, int b) { return originals[a].data < originals[b].data; });
  for (int i : order) {
    char *from = (char *)originals[i].data;
    size_t bytes = bytes_of(&originals[i]);
    if (!copies.empty() && from < copies.back().from + copies.back().bytes) {
      Copy &c = copies.back();
      c.bytes = std::max(c.bytes, (size_t)(from - c.from) + bytes);
      c.written = c.written || written[i];
    } else {
      copies.push_back({ from, NULL, bytes, written[i], NULL, 0 });
    }
  }
  for (Copy &c : copies) {
    raise(c, c.from);
    memcpy(c.to, c.from, c.bytes);
    if (!c.written) mprotect(c.map + PAGE, c.mapped - 2 * PAGE, PROT_READ);
  }
  for (int i : order) {
    char *from = (char *)originals[i].data;
    for (const Copy &c : copies) {
      if (from >= c.from && from < c.from + c.bytes) twins[i].data = c.to + (from - c.from);
    }
  }
}

void walls_end() {
  for (Copy &c : copies) {
    if (!gap_is_whole(c)) emulated_fail("wrote outside of %s", who(c).c_str());
    if (c.from && c.written) memcpy(c.from, c.to, c.bytes);
    munmap(c.map, c.mapped);
  }
  copies.clear();
  n_twins = 0;
}

void *emulated_scratch(size_t bytes) {
  if (emulated_capturing()) return NULL;
  Copy c = { NULL, NULL, bytes ? bytes : 1, true, NULL, 0 };
  raise(c, NULL);
  copies.push_back(c);
  return c.to;
}

std::string emulated_whereabouts(const void *at) {
  const char *p = (const char *)at;
  for (const Copy &c : copies) {
    if (p < c.map || p >= c.map + c.mapped) continue;
    char buffer[64];
    long off = p < c.to ? (long)(c.to - p) : (long)(p - (c.to + c.bytes));
    bool inside = p >= c.to && p < c.to + c.bytes;
    snprintf(buffer, sizeof buffer, inside ? "a write to the input " : "%ld bytes %s ", off,
             p < c.to ? "before" : "past");
    return buffer + who(c);
  }
  return "far from any tensor";
}
