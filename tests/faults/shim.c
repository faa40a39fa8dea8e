/* Fails one call that writes below a folder, by its number. Loaded with LD_PRELOAD; armed through ctypes.

Covers, for paths below the folder: creating a file (open, openat with O_CREAT), write, pwrite, writev, fsync, fdatasync, ftruncate,
posix_fallocate, rename, renameat, mkdir, mkdirat. Not covered: stores into mapped memory, deleting, changing modes or times. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long failing, number;
static int error;
static char failed[PATH_MAX + 32];

/* failing_: the number of the call that fails, from 1; 0 for none. */
void shim_arm(const char *folder_, long failing_, int error_) {
    strncpy(folder, folder_, sizeof folder - 1);
    failing = failing_;
    error = error_;
    number = 0;
    failed[0] = 0;
}

long shim_calls(void) { return number; }
const char *shim_failed(void) { return failed; }

static int below(const char *path) {
    size_t length = strlen(folder);
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

/* Returns whether this call is to fail. */
static int counted(const char *name, const char *path) {
    if (!below(path) || __sync_add_and_fetch(&number, 1) != failing)
        return 0;
    snprintf(failed, sizeof failed, "%s %s", name, path);
    errno = error;
    return 1;
}

static int on(const char *name, int handle) {
    char link[64], path[PATH_MAX];
    if (!folder[0])
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return counted(name, path);
}

static int at(const char *name, int handle, const char *path) {
    char link[64], whole[2 * PATH_MAX], base[PATH_MAX];
    if (!folder[0])
        return 0;
    if (path[0] == '/')
        return counted(name, path);
    ssize_t length = -1;
    if (handle == AT_FDCWD) {
        if (getcwd(base, sizeof base))
            length = strlen(base);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
        length = readlink(link, base, sizeof base - 1);
    }
    if (length < 0)
        return 0;
    base[length] = 0;
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    return counted(name, whole);
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
    real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return flags & O_CREAT && at("create", AT_FDCWD, path) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int handle, const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return flags & O_CREAT && at("create", handle, path) ? -1 : real(handle, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

FILE *fopen(const char *path, const char *mode) {
    REAL(fopen);
    return mode[0] != 'r' && at("create", AT_FDCWD, path) ? NULL : real(path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
    REAL(fopen64);
    return mode[0] != 'r' && at("create", AT_FDCWD, path) ? NULL : real(path, mode);
}

ssize_t write(int handle, const void *from, size_t count) {
    REAL(write);
    return on("write", handle) ? -1 : real(handle, from, count);
}
ssize_t pwrite(int handle, const void *from, size_t count, off_t where) {
    REAL(pwrite);
    return on("write", handle) ? -1 : real(handle, from, count, where);
}
ssize_t pwrite64(int handle, const void *from, size_t count, off64_t where) {
    REAL(pwrite64);
    return on("write", handle) ? -1 : real(handle, from, count, where);
}
ssize_t writev(int handle, const struct iovec *from, int count) {
    REAL(writev);
    return on("write", handle) ? -1 : real(handle, from, count);
}
int fsync(int handle) {
    REAL(fsync);
    return on("fsync", handle) ? -1 : real(handle);
}
int fdatasync(int handle) {
    REAL(fdatasync);
    return on("fsync", handle) ? -1 : real(handle);
}
int ftruncate(int handle, off_t length) {
    REAL(ftruncate);
    return on("truncate", handle) ? -1 : real(handle, length);
}
int ftruncate64(int handle, off64_t length) {
    REAL(ftruncate64);
    return on("truncate", handle) ? -1 : real(handle, length);
}
int posix_fallocate64(int handle, off64_t from, off64_t length) {
    REAL(posix_fallocate64);
    return on("allocate", handle) ? error : real(handle, from, length);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    return at("rename", AT_FDCWD, to) ? -1 : real(from, to);
}
int renameat(int from_handle, const char *from, int to_handle, const char *to) {
    REAL(renameat);
    return at("rename", to_handle, to) ? -1 : real(from_handle, from, to_handle, to);
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return at("mkdir", AT_FDCWD, path) ? -1 : real(path, mode);
}
int mkdirat(int handle, const char *path, mode_t mode) {
    REAL(mkdirat);
    return at("mkdir", handle, path) ? -1 : real(handle, path, mode);
}
