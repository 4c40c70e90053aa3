// Whole files and trees, written for directories that somebody else may write to as well: every
// object is opened once and then looked at through its descriptor, and a symbolic link in the last
// component is never followed.
//
// Removing a tree tries unlink first and opens only what turns out to be a directory. A directory
// that is the root of a mount is neither entered nor removed (-EBUSY): a volume that is still
// mounted below a bundle must survive the bundle. Where the kernel does not say whether a directory
// is a mount root (before 5.8) the device number of ".." decides, which does not see a bind mount
// from the same file system.
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

// How often a path is looked up whose way something moves meanwhile.
#define INSIDE_TRIES 128

// Smallest piece that is read.
#define READ_CHUNK 4096
// Deepest tree that is removed: one descriptor a level.
#define REMOVE_DEPTH_MAX 128

static void cleanup_closedir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

// Reads once into the free room of `out`. Returns the number of bytes, 0 at the end of the file.
static ssize_t read_some(int fd, struct buf *out)
{
    char probe;
    size_t room = out->max - out->len;
    ssize_t n;
    if (room == 0) {
        n = read(fd, &probe, 1);
        return n > 0 ? -EFBIG : n < 0 ? -errno : 0;
    }
    int r = buf_reserve(out, room < READ_CHUNK ? room : READ_CHUNK);
    if (r < 0)
        return r;
    room = out->cap - 1 - out->len;
    n = read(fd, out->data + out->len, room);
    if (n < 0)
        return -errno;
    out->len += (size_t)n;
    return n;
}

int file_read_at(int dirfd, const char *path, struct buf *out)
{
    _cleanup_close_ int fd =
        openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    size_t before = out->len;
    ssize_t n;
    do
        n = read_some(fd, out);
    while (n > 0 || n == -EINTR);
    if (n < 0)
        out->len = before;
    return (int)n;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

// "dir/.name.tmp" for "dir/name".
static int temporary_name(char *out, size_t size, const char *name)
{
    const char *slash = strrchr(name, '/');
    int dir = slash ? (int)(slash + 1 - name) : 0;
    if (!name[dir])
        return -EINVAL;
    return path_format(out, size, "%.*s.%s.tmp", dir, name, name + dir);
}

static int write_new(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    _cleanup_close_ int fd = openat(dirfd, name, flags, mode);
    if (fd < 0)
        return -errno;
    int r = write_all(fd, data, len);
    if (r < 0)
        return r;
    return close(take_fd(&fd)) < 0 && errno != EINTR ? -errno : 0;
}

int file_write_atomic_at(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
    char tmp[PATH_MAX];
    int r = temporary_name(tmp, sizeof tmp, name);
    if (r < 0)
        return r;
    if (unlinkat(dirfd, tmp, 0) < 0 && errno != ENOENT)
        return -errno;
    r = write_new(dirfd, tmp, data, len, mode);
    if (r == 0 && renameat(dirfd, tmp, dirfd, name) < 0)
        r = -errno;
    if (r < 0)
        unlinkat(dirfd, tmp, 0);
    return r;
}

int file_write_value_at(int dirfd, const char *path, const char *value)
{
    // Not O_NONBLOCK: it changes what a write to some cgroup files means.
    _cleanup_close_ int fd =
        openat(dirfd, path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    if (fd < 0)
        return -errno;
    size_t len = strlen(value);
    ssize_t n;
    do
        n = write(fd, value, len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}

int file_open_inside(int root, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int fd = -1;
    for (int i = 0; i < INSIDE_TRIES && fd < 0; i++) {
        fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
        if (fd < 0 && errno != EAGAIN)
            break;
    }
    return fd < 0 ? -errno : fd;
}

// Makes one directory; one that exists is fine unless `last` forbids it to be a symlink.
static int make_dir(const char *path, mode_t mode, bool last)
{
    struct stat st;
    if (mkdir(path, mode) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    if ((last ? lstat(path, &st) : stat(path, &st)) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int file_mkdir_all(const char *path, mode_t mode)
{
    char prefix[PATH_MAX];
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len == 0)
        return -ENOENT;
    if (len >= sizeof prefix)
        return -ENAMETOOLONG;
    memcpy(prefix, path, len);
    prefix[len] = '\0';
    for (char *p = prefix + 1; *p; p++) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        int r = make_dir(prefix, mode, false);
        *p = '/';
        if (r < 0)
            return r;
    }
    return make_dir(prefix, mode, true);
}

// Whether the directory is the root of a mount. Returns 0, 1 or a negative errno.
static int is_mount_root(int fd)
{
    struct statx sx;
    if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_TYPE, &sx) == 0 &&
        (sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT))
        return (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    struct stat self, parent;
    if (fstat(fd, &self) < 0 || fstatat(fd, "..", &parent, AT_NO_AUTOMOUNT) < 0)
        return -errno;
    return self.st_dev != parent.st_dev;
}

static int remove_entry(int dirfd, const char *name, int depth);

// Removes what is in a directory. The descriptor is closed.
static int remove_contents(int dirfd, int depth)
{
    __attribute__((cleanup(cleanup_closedir))) DIR *dir = fdopendir(dirfd);
    if (!dir) {
        int r = -errno;
        close(dirfd);
        return r;
    }
    int first = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            return first < 0 ? first : -errno;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int r = remove_entry(dirfd, entry->d_name, depth);
        if (r < 0 && first == 0)
            first = r;
    }
}

static int remove_entry(int dirfd, const char *name, int depth)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    int why = -errno;
    if (why != -EISDIR && why != -EPERM)
        return why;
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    _cleanup_close_ int fd = openat(dirfd, name, flags);
    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP ? why : -errno;
    int r = is_mount_root(fd);
    if (r != 0)
        return r < 0 ? r : -EBUSY;
    if (depth >= REMOVE_DEPTH_MAX)
        return -ENAMETOOLONG;
    r = remove_contents(take_fd(&fd), depth + 1);
    if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT && r == 0)
        r = -errno;
    return r;
}

int file_remove_tree_at(int dirfd, const char *name)
{
    return remove_entry(dirfd, name, 0);
}

int path_format(char *out, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(out, size, fmt, ap);
    va_end(ap);
    return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}
