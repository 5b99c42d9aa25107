/* Loaded before the C library (LD_PRELOAD) to see and to hold up what the program does with files.
 *
 * SHIM_LOG   a file that gets a line for every fsync and rename
 * SHIM_HOLD  as long as this file exists, writing to files whose names end in SHIM_AT waits
 * SHIM_AT    see SHIM_HOLD
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *path_of(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, size - 1);
  path[length < 0 ? 0 : length] = 0;
  return path;
}

static void note(const char *what, const char *path) {
  const char *log = getenv("SHIM_LOG");
  FILE *file = log ? fopen(log, "a") : NULL;
  if (file) {
    fprintf(file, "%s %s\n", what, path);
    fclose(file);
  }
}

static void hold(int fd) {
  const char *until = getenv("SHIM_HOLD"), *at = getenv("SHIM_AT");
  char path[4096];
  if (!until || !at || access(until, F_OK) != 0)
    return;
  path_of(fd, path, sizeof path);
  size_t length = strlen(path), end = strlen(at);
  if (length < end || strcmp(path + length - end, at) != 0)
    return;
  while (access(until, F_OK) == 0)
    usleep(200000);
}

int fsync(int fd) {
  int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
  char path[4096];
  int result = real(fd);
  note("fsync", path_of(fd, path, sizeof path));
  return result;
}

int rename(const char *from, const char *to) {
  int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
  int result = real(from, to);
  note("rename", to);
  return result;
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
  size_t (*real)(const void *, size_t, size_t, FILE *) = dlsym(RTLD_NEXT, "fwrite");
  hold(fileno(file));
  return real(data, size, count, file);
}

ssize_t write(int fd, const void *data, size_t size) {
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  hold(fd);
  return real(fd, data, size);
}
