#include "debug_rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

// Whether others than root can change what lies in a directory, of which `path` has `len` bytes as
// the name.
static int check_directory(int fd, bool last, const char *path, int len, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "debug_rootfs: %.*s", len, path);
    if (st.st_uid != 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "debug_rootfs: %.*s belongs to user %u, who could change what is run: "
                         "chown root it",
                         len, path, st.st_uid);
    if (st.st_mode & 022 && (last || !(st.st_mode & S_ISVTX)))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "debug_rootfs: %.*s has mode %04o, others could change what is run: "
                         "chmod go-w it",
                         len, path, st.st_mode & 07777);
    return 0;
}

// From the root down, so that what has been checked is what the next one is opened in.
static int open_directory(const char *path, struct error *err)
{
    char name[NAME_MAX + 1];
    const char *at = path + strspn(path, "/");
    _cleanup_close_ int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || check_directory(dir, false, "/", 1, err) < 0)
        return dir < 0 ? error_errno(err, errno, "debug_rootfs: /") : -1;
    while (*at) {
        size_t n = strcspn(at, "/");
        const char *next = at + n + strspn(at + n, "/");
        int len = (int)(at + n - path);
        int r = path_format(name, sizeof(name), "%.*s", (int)n, at);
        int fd = r < 0 ? r : openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return error_errno(err, r < 0 ? r : errno,
                               "debug_rootfs: %.*s (want a directory that is there, and no link)",
                               len, path);
        close_fd(&dir);
        dir = fd;
        if (check_directory(dir, !*next, path, len, err) < 0)
            return -1;
        at = next;
    }
    return take_fd(&dir);
}

int debug_rootfs_open(const char *path, struct error *err)
{
    struct stat st;
    if (path[strspn(path, "/")] == '\0')
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "debug_rootfs: \"%s\" is all of the node: name a directory with nothing "
                         "but tools in it",
                         path);
    _cleanup_close_ int dir = open_directory(path, err);
    if (dir < 0)
        return -1;
    if (fstatat(dir, DEBUG_CONTAINER, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "debug_rootfs: %s has no directory " DEBUG_CONTAINER
                         ", where a container's files are to be shown: make an empty one",
                         path);
    return take_fd(&dir);
}
