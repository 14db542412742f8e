/* file.c -- files mapped for reading, and files that appear whole or not at all. */
#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH = 4096, BUFFER = 1 << 20 };

dm_status dm_file_map(dm_file *out, const char *path) {
  out->data = NULL;
  out->size = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return dm_fail(DM_EIO, "%s: %s", path, strerror(errno));
  struct stat st;
  if (fstat(fd, &st) || S_ISDIR(st.st_mode)) {
    int e = S_ISDIR(st.st_mode) ? EISDIR : errno;
    close(fd);
    return dm_fail(DM_EIO, "%s: %s", path, strerror(e));
  }
  if (st.st_size > 0) {
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
      int e = errno;
      close(fd);
      return dm_fail(DM_EIO, "%s: %s", path, strerror(e));
    }
    out->data = p;
    out->size = (double)st.st_size;
  }
  close(fd);
  return DM_OK;
}

void dm_file_unmap(dm_file *f) {
  if (f->data) munmap((void *)(uintptr_t)f->data, (size_t)f->size);
  f->data = NULL;
  f->size = 0;
}

struct dm_writer {
  int    fd, failed;                    /* failed: a write was; nothing is committed any more */
  size_t held;
  char   path[PATH], temporary[PATH];
  char   buffer[BUFFER];
};

static dm_status write_all(dm_writer *w, const char *p, size_t n) {
  while (n > 0) {
    ssize_t k = write(w->fd, p, n);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) {
      w->failed = 1;
      return dm_fail(DM_EIO, "%s: %s", w->path, strerror(errno));
    }
    p += k;
    n -= (size_t)k;
  }
  return DM_OK;
}

static dm_status flush(dm_writer *w) {
  size_t n = w->held;
  w->held = 0;
  return write_all(w, w->buffer, n);
}

dm_status dm_writer_open(dm_writer **out, const char *path) {
  dm_writer *w = malloc(sizeof *w);
  if (!w) return dm_fail(DM_ENOMEM, "%s: no room for a write buffer", path);
  w->held = 0;
  w->failed = 0;
  int n = snprintf(w->path, PATH, "%s", path);
  int k = snprintf(w->temporary, PATH, "%s.tmp-%ld", path, (long)getpid());
  w->fd = n < PATH && k < PATH ? open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
  if (w->fd < 0) {
    int e = n < PATH && k < PATH ? errno : ENAMETOOLONG;
    free(w);
    return dm_fail(DM_EIO, "%s: %s", path, strerror(e));
  }
  *out = w;
  return DM_OK;
}

dm_status dm_writer_write(dm_writer *w, const void *data, double bytes) {
  size_t n = (size_t)bytes;
  if (w->held + n > BUFFER) {
    dm_status s = flush(w);
    if (s) return s;
  }
  if (n > BUFFER) return write_all(w, data, n);
  memcpy(w->buffer + w->held, data, n);
  w->held += n;
  return DM_OK;
}

/* The name is only as durable as its directory. */
static int sync_directory(const char *path) {
  char copy[PATH];
  snprintf(copy, sizeof copy, "%s", path);
  int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -1;
  int r = fsync(fd);
  close(fd);
  return r;
}

dm_status dm_writer_commit(dm_writer *w) {
  if (w->failed) return dm_fail(DM_EIO, "%s: a write failed before", w->path);
  dm_status s = flush(w);
  if (s) return s;
  if (fsync(w->fd)) return dm_fail(DM_EIO, "%s: %s", w->path, strerror(errno));
  int fd = w->fd;
  w->fd = -1;                                             /* closed, also where close reports a fault */
  if (close(fd)) return dm_fail(DM_EIO, "%s: %s", w->path, strerror(errno));
  if (rename(w->temporary, w->path) || sync_directory(w->path)) {
    return dm_fail(DM_EIO, "%s: %s", w->path, strerror(errno));
  }
  w->temporary[0] = 0;
  return DM_OK;
}

void dm_writer_free(dm_writer *w) {
  if (!w) return;
  if (w->fd >= 0) close(w->fd);
  if (w->temporary[0]) unlink(w->temporary);
  free(w);
}
