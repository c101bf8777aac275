/*
 * Preloaded into a daemon: makes its I/O on chosen files fail as a broken disk does.
 *
 * While the file named by FAILING_DISK exists and holds `write TEXT` or `sync TEXT`, every write or
 * sync of a file whose path contains TEXT fails with EIO and does nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(const char *operation, int fd) {
  const char *trigger = getenv("FAILING_DISK");
  int file = trigger == NULL ? -1 : open(trigger, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char rule[256], link[64], path[PATH_MAX];
  ssize_t length = read(file, rule, sizeof rule - 1);
  close(file);
  if (length <= 0) return 0;
  rule[length] = 0;
  char *text = strchr(rule, ' ');
  if (text == NULL) return 0;
  *text++ = 0;
  if (strcmp(rule, operation) != 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  if (strstr(path, text) == NULL) return 0;
  errno = EIO;
  return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  return fails("write", fd) ? -1 : NEXT(pwrite)(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  return fails("write", fd) ? -1 : NEXT(pwrite64)(fd, bytes, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  return fails("write", fd) ? -1 : NEXT(writev)(fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  return fails("write", fd) ? -1 : NEXT(pwritev)(fd, parts, count, offset);
}

int fsync(int fd) {
  return fails("sync", fd) ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd) {
  return fails("sync", fd) ? -1 : NEXT(fdatasync)(fd);
}
