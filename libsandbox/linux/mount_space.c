#include "linux/mount_space.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/instance.h"
#include "base/log.h"
#include "linux/mount.h"
#include "linux/mountinfo.h"

static const char own[] = "/proc/self/ns/mnt";

// The namespace that is pinned; -ENOENT: there is none; -EALREADY: we are in it. Its file is in
// there, too, and mounted on itself.
static int pinned(const char *pin)
{
    struct statx st;
    _cleanup_close_ int fd = open(pin, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) < 0)
        return -errno;
    int type = ioctl(fd, NS_GET_NSTYPE);
    if (type < 0)
        return errno != ENOTTY                             ? -errno
               : st.stx_attributes & STATX_ATTR_MOUNT_ROOT ? -EALREADY
                                                           : -ENOENT;
    return type == CLONE_NEWNS ? take_fd(&fd) : -EINVAL;
}

static int enter(int fd)
{
    return setns(fd, CLONE_NEWNS) < 0 ? -errno : 0;
}

static bool is_locked(const char *dir, const char *name)
{
    char path[PATH_MAX];
    if (path_format(path, sizeof(path), "%s/%s", dir, name) < 0)
        return false;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

// Why there can be no namespace of our own that is always like the host's: NULL if there can.
static int obstacle(const char *dir, const char *peer, const char **ret)
{
    _cleanup_(buf_free) struct buf table = {0};
    struct mountinfo m;
    char real[PATH_MAX];
    if (!realpath(dir, real)) // as the table has it
        return -errno;
    size_t n = strlen(real);
    bool shared = false, below = false;
    int r = mountinfo_read(&table);
    char *cursor = (char *)table.data;
    while (r == 0 && mountinfo_next(&cursor, &m)) {
        if (strcmp(m.target, "/") == 0)
            shared = m.shared; // the uppermost is the last
        below |= strncmp(m.target, real, n) == 0 && m.target[n] == '/';
    }
    *ret = !shared                ? "the host's root is not shared (mount --make-rshared / helps)"
           : below                ? "daemons from before have left mounts there"
           : is_locked(dir, peer) ? "the other daemon is there, too"
                                  : NULL;
    return r;
}

static int bind(const char *from, const char *on)
{
    return mount(from, on, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

// What is mounted below shows nowhere else. The kernel pins a mount namespace only on such a mount.
static int make_private(const char *dir)
{
    return mount(NULL, dir, NULL, MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

static int make_file(const char *path)
{
    _cleanup_close_ int fd =
        open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    return fd < 0 ? -errno : 0;
}

// Makes a namespace, pins it in `host`, and is in it. -EINVAL: it cannot be pinned, and we are in
// the host's.
static int make_pinned(const char *pin, int host, int *ret)
{
    char self[64];
    if (unshare(CLONE_NEWNS) < 0)
        return -errno;
    _cleanup_close_ int space = open(own, O_RDONLY | O_CLOEXEC);
    if (space < 0)
        return -errno;
    (void)path_format(self, sizeof(self), "/proc/self/fd/%d", space);
    int r = bind(pin, pin);
    if (r == 0)
        r = enter(host);
    if (r == 0 && (r = bind(self, pin)) == 0)
        r = enter(space);
    if (r == 0)
        *ret = take_fd(&space);
    return r;
}

// The kernel takes a pin only if the id of what is pinned is greater than that of where it is
// pinned (so there are no circles). Linux 6.18 counts ids up on each processor by itself, so the
// host's, if it was not there from boot, may be greater than ours, but not than one that is made on
// the processor on which the host's was.
static int make_on_any(const char *pin, int host, int *ret)
{
    cpu_set_t all, one;
    int r = make_pinned(pin, host, ret);
    if (r != -EINVAL || sched_getaffinity(0, sizeof(all), &all) < 0)
        return r;
    for (int cpu = 0; cpu < CPU_SETSIZE && r == -EINVAL; cpu++) {
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (CPU_ISSET(cpu, &all) && sched_setaffinity(0, sizeof(one), &one) == 0)
            r = make_pinned(pin, host, ret);
    }
    return sched_setaffinity(0, sizeof(all), &all) < 0 && r == 0 ? -errno : r;
}

static int make(const char *dir, const char *pin, int host, int *ret)
{
    int r = mount_is_mounted(dir); // by who was killed here
    if (r == 0)
        r = bind(dir, dir);
    if (r >= 0)
        r = make_private(dir);
    if (r == 0)
        r = make_file(pin);
    if (r == 0)
        r = make_on_any(pin, host, ret);
    if (r == -EINVAL) { // then the directory is the host's again
        (void)umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW);
        (void)unlink(pin);
    }
    return r;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

// One that has another root is from before the host got a new one, or we are in a chroot.
static int enter_pinned(int fd, int host)
{
    struct stat before, after;
    int r = stat("/", &before) < 0 ? -errno : enter(fd);
    if (r == 0 && (stat("/", &after) < 0 || !same(&before, &after)))
        r = enter(host) < 0 ? -errno : -EXDEV;
    return r;
}

// Enters the namespace that is there, or makes one. 0: we are in it, and *ret is it, or in the
// host's, and it is not.
static int enter_or_make(const char *dir, const char *peer, const char *pin, int host, int *ret)
{
    _cleanup_close_ int fd = pinned(pin);
    if (fd >= 0) {
        int r = enter_pinned(fd, host);
        *ret = r < 0 ? -1 : take_fd(&fd);
        return r;
    }
    if (fd != -ENOENT)
        return fd == -EALREADY ? 0 : fd;
    const char *why = NULL;
    int r = obstacle(dir, peer, &why);
    if (r == 0 && !why && (r = make(dir, pin, host, ret)) == -EINVAL) {
        r = 0;
        why = "the kernel pins no mount namespace there";
    }
    if (why)
        log_info("the pods' mounts are among the host's: %s", why);
    return r;
}

int mount_space_enter(const char *dir, const char *peer, struct mount_space *ret, struct error *err)
{
    char pin[PATH_MAX];
    *ret = MOUNT_SPACE_NONE;
    ret->dir = dir;
    if (path_format(pin, sizeof(pin), "%s/" MOUNT_SPACE_PIN, dir) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%.300s: too long", dir);
    _cleanup_close_ int lock =
        instance_lock(dir, MOUNT_SPACE_PIN ".lock", "daemon that starts", err);
    if (lock < 0)
        return -1;
    _cleanup_close_ int host = open(own, O_RDONLY | O_CLOEXEC);
    int r = host < 0 ? -errno : enter_or_make(dir, peer, pin, host, &ret->own);
    if (r < 0)
        return error_errno(err, r, "mount namespace of the pods, %s", pin);
    if (ret->own >= 0)
        ret->host = take_fd(&host);
    return 0;
}

void mount_space_done(struct mount_space *s)
{
    close_fd(&s->host);
    close_fd(&s->own);
}

int mount_space_link(const char *dir)
{
    char root[64], path[PATH_MAX], next[PATH_MAX];
    int r = path_format(root, sizeof(root), "/proc/%d/root", (int)getpid());
    if (r == 0)
        r = path_format(path, sizeof(path), "%s/" MOUNT_SPACE_ROOT, dir);
    if (r == 0)
        r = path_format(next, sizeof(next), "%s/." MOUNT_SPACE_ROOT ".tmp", dir);
    if (r < 0)
        return r;
    (void)unlink(next); // of who was killed here
    return symlink(root, next) < 0 || rename(next, path) < 0 ? -errno : 0;
}

void mount_space_unlink(const char *dir)
{
    char path[PATH_MAX];
    if (path_format(path, sizeof(path), "%s/" MOUNT_SPACE_ROOT, dir) == 0)
        (void)unlink(path);
}

int mount_space_leave(const struct mount_space *s)
{
    return s->host < 0 ? 0 : enter(s->host);
}

int mount_space_return(const struct mount_space *s)
{
    return s->own < 0 ? 0 : enter(s->own);
}

static int attach(int tree, const char *path)
{
    return move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

int mount_space_show(const struct mount_space *s, const char *const *paths)
{
    int trees[MOUNT_SPACE_PATHS_MAX], r = 0;
    size_t n = 0;
    if (s->host < 0)
        return 0;
    for (; r == 0 && paths && paths[n]; n++) {
        if (n == MOUNT_SPACE_PATHS_MAX)
            return -E2BIG;
        trees[n] = open_tree(AT_FDCWD, paths[n],
                             OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)AT_RECURSIVE);
        r = trees[n] < 0 ? -errno : 0;
    }
    if (r == 0)
        r = enter(s->host);
    if (r == 0 && n)
        r = unshare(CLONE_NEWNS) < 0 ? -errno
                                     : make_private(s->dir); // whatever the host has made of it
    for (size_t i = 0; i < n; i++) {
        if (r == 0)
            r = attach(trees[i], paths[i]);
        close_fd(&trees[i]);
    }
    return r;
}
