#include "linux/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/ident.h"

int idmap_tree(int tree, int userns, bool recursive)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)userns};
    unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    return mount_setattr(tree, "", flags, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

// ---- lower directories -------------------------------------------------------------------------

size_t lower_len(const char *list)
{
    size_t n = 0;
    while (list[n] && list[n] != ':')
        n += list[n] == '\\' && list[n + 1] ? 2 : 1;
    return n;
}

// The entry as a path, without its backslashes. NULL without memory.
static char *lower_path(const char *entry, size_t len)
{
    char *path = malloc(len + 1);
    size_t n = 0;
    for (size_t i = 0; path && i < len; i++) {
        if (entry[i] == '\\' && i + 1 < len)
            i++;
        path[n++] = entry[i];
    }
    if (path)
        path[n] = '\0';
    return path;
}

static int lower_cover(const char *path, int userns)
{
    _cleanup_close_ int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return -errno;
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY,
                              .userns_fd = (unsigned)userns};
    if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return -errno;
    return move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int lower_map(const char *entry, size_t len, int userns, struct error *err)
{
    _cleanup_free_ char *path = lower_path(entry, len);
    if (!path)
        return error_errno(err, ENOMEM, "overlay");
    if (ident_path_check(path, "lower directory of the overlay", err) < 0)
        return -1;
    int r = lower_cover(path, userns);
    if (r == -EINVAL)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "lower directory \"%.300s\": its file system or this kernel has no "
                         "id-mapped mounts; keep images on one that has them, or run the pod "
                         "without a user namespace (hostUsers: true)",
                         path);
    return r < 0 ? error_errno(err, r, "id-mapped view of lower directory \"%.300s\"", path) : 0;
}

int idmap_lowers(const char *list, int userns, struct error *err)
{
    for (const char *p = list;; p++) {
        size_t len = lower_len(p);
        if (lower_map(p, len, userns, err) < 0)
            return -1;
        p += len;
        if (*p == '\0')
            return 0;
    }
}

// ---- aside -------------------------------------------------------------------------------------

static void aside_close(struct aside *a)
{
    close_fd(&a->mounts);
    close_fd(&a->root);
    close_fd(&a->cwd);
}

int aside_enter(struct aside *a, struct error *err)
{
    a->mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    a->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    a->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (a->mounts < 0 || a->root < 0 || a->cwd < 0)
        return error_errno(err, errno, "mount namespace");
    if (unshare(CLONE_NEWNS) < 0)
        return error_errno(err, errno, "new mount namespace");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_errno(err, errno, "making the mounts of a new mount namespace private");
    return 0;
}

int aside_leave(struct aside *a, struct error *err)
{
    // The kernel puts whoever joins a mount namespace to the root of it.
    int r = 0;
    if (a->mounts >= 0 && a->root >= 0 && a->cwd >= 0 &&
        (setns(a->mounts, CLONE_NEWNS) < 0 || fchdir(a->root) < 0 || chroot(".") < 0 ||
         fchdir(a->cwd) < 0))
        r = error_errno(err, errno, "leaving a mount namespace");
    aside_close(a);
    return r;
}
