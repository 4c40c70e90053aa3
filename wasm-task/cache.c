#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "worker/worker.h"

// How often others may come between.
#define RENAMES_MAX 16

static int check(int code, off_t *ret_size, struct error *err)
{
    const int needed = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
    struct stat st;
    int seals = fcntl(code, F_GET_SEALS);
    if (seals < 0 || (seals & needed) != needed || fstat(code, &st) < 0)
        return error_set(err, STATUS_FAILED_PRECONDITION, "compiled code that can be written");
    if (st.st_size <= 0 || st.st_size > WORKER_CODE_MAX)
        return error_set(err, STATUS_FAILED_PRECONDITION, "compiled code of %lld bytes",
                         (long long)st.st_size);
    *ret_size = st.st_size;
    return 0;
}

static int copy(int from, int to, off_t size)
{
    off_t at = 0;
    while (at < size) {
        ssize_t n = sendfile(to, from, &at, (size_t)(size - at));
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
    }
    return 0;
}

// ---- making room -------------------------------------------------------------------------------

struct entry {
    char name[NAME_MAX + 1];
    off_t size;
    struct timespec used;
};

static int oldest_first(const void *a, const void *b)
{
    const struct timespec *x = &((const struct entry *)a)->used;
    const struct timespec *y = &((const struct entry *)b)->used;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

// A directory with code; or what else may be there.
static bool look_at(int dirfd, const char *name, struct entry *ret)
{
    char code[NAME_MAX + sizeof("/" CACHE_CODE)];
    struct stat st;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        path_format(code, sizeof(code), "%s/" CACHE_CODE, name) < 0 ||
        (fstatat(dirfd, code, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
         fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0))
        return false;
    snprintf(ret->name, sizeof(ret->name), "%s", name);
    ret->size = S_ISREG(st.st_mode) ? st.st_size : 0;
    ret->used = st.st_mtim;
    return true;
}

static struct entry *list(int dirfd, size_t *ret_n, uint64_t *ret_bytes)
{
    size_t n = 0, cap = 0;
    struct entry *entries = NULL;
    int copy_fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy_fd < 0 ? NULL : fdopendir(copy_fd);
    *ret_bytes = 0;
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (n == cap) {
            cap = cap ? 2 * cap : 64;
            struct entry *more = reallocarray(entries, cap, sizeof(*more));
            if (!more)
                break;
            entries = more;
        }
        if (look_at(dirfd, d->d_name, &entries[n]))
            *ret_bytes += (uint64_t)entries[n++].size;
    }
    if (dir)
        closedir(dir);
    *ret_n = n;
    return entries;
}

static void make_room(int dirfd, uint64_t needed)
{
    size_t n;
    uint64_t bytes;
    struct entry *entries = list(dirfd, &n, &bytes);
    if (!entries)
        return;
    qsort(entries, n, sizeof(*entries), oldest_first);
    for (size_t i = 0; i < n && (bytes + needed > CACHE_BYTES_MAX || n - i >= CACHE_FILES_MAX);
         i++) {
        if (file_remove_tree_at(dirfd, entries[i].name) == 0)
            bytes -= (uint64_t)entries[i].size;
    }
    free(entries);
}

// ---- the directory ------------------------------------------------------------------------------

// Returns a descriptor, or -1.
static int open_dir(const char *dir, struct error *err)
{
    struct stat st;
    int r = file_mkdir_all(dir, 0700);
    if (r < 0)
        return error_errno(err, r, "%s", dir);
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, errno, "%s", dir);
    if (st.st_uid != geteuid() || st.st_mode & 077)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "%s: has another owner, or is open to others (mode %03o): code that they "
                         "can write is not run; remove it",
                         dir, st.st_mode & 0777);
    return take_fd(&fd);
}

// ---- keeping -----------------------------------------------------------------------------------

// Makes a directory with the code. 0 or a negative errno.
static int write_part(int dirfd, const char *part, int code, off_t size)
{
    (void)file_remove_tree_at(dirfd, part);
    if (mkdirat(dirfd, part, 0755) < 0)
        return -errno;
    _cleanup_close_ int dir = openat(dirfd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || fchmod(dir, 0755) < 0)
        return -errno;
    _cleanup_close_ int out =
        openat(dir, CACHE_CODE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (out < 0 || fchmod(out, 0644) < 0)
        return -errno;
    int r = copy(code, out, size);
    // After a loss of power there is all of it or none: nobody would notice that code is zeros.
    return r == 0 && fdatasync(out) < 0 ? -errno : r;
}

// Gives it its name; what had that has the other's then. Others do the same.
static int put_in_place(int dirfd, const char *part, const char *name)
{
    for (int i = 0; i < RENAMES_MAX; i++) {
        if (renameat2(dirfd, part, dirfd, name, RENAME_EXCHANGE) == 0 ||
            (errno == ENOENT && renameat2(dirfd, part, dirfd, name, RENAME_NOREPLACE) == 0))
            return 0;
        if (errno != EEXIST)
            break;
    }
    return -errno;
}

int cache_keep(const char *dir, const char *name, int code, struct error *err)
{
    char part[NAME_MAX + 1];
    off_t size = 0;
    if (check(code, &size, err) < 0)
        return -1;
    if (path_format(part, sizeof(part), ".%s.%d", name, getpid()) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the name of the code is too long");
    _cleanup_close_ int dirfd = open_dir(dir, err);
    if (dirfd < 0)
        return -1;
    make_room(dirfd, (uint64_t)size);
    int r = write_part(dirfd, part, code, size);
    if (r == 0)
        r = put_in_place(dirfd, part, name);
    (void)file_remove_tree_at(dirfd, part);
    return r < 0 ? error_errno(err, r, "%s/%s", dir, name) : 0;
}
