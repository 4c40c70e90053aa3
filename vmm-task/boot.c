#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/services.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#define CMDLINE_MAX 8192
// The tag of the host's share, as upstream's.
#define SHARE_TAG "kuasar"

static const struct {
    const char *type, *path;
    unsigned long flags;
    const char *data;
} mounts[] = {
    {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
    {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
    {"devtmpfs", "/dev", MS_NOSUID, "mode=0755"},
    {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666"},
    {"mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
    {"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777"},
    {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755"},
    {"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777"},
};

// The kernel's first root is a mount without a parent, which pivot_root(2) does not leave. A bind
// mount of it, moved onto it, shows the same files and has one.
static int leave_first_root(struct error *err)
{
    if (mkdir("/root", 0700) < 0 && errno != EEXIST)
        return error_errno(err, errno, "/root");
    if (mount("/", "/root", NULL, MS_BIND, NULL) < 0 || chdir("/root") < 0 ||
        mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return error_errno(err, errno, "the root");
    return 0;
}

int boot_mounts(struct error *err)
{
    if (leave_first_root(err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
        const char *path = mounts[i].path;
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return error_errno(err, errno, "%s", path);
        // EBUSY: the kernel has mounted it.
        if (mount(mounts[i].type, path, mounts[i].type, mounts[i].flags, mounts[i].data) < 0 &&
            errno != EBUSY)
            return error_errno(err, errno, "%s", path);
    }
    static const struct {
        const char *target, *path;
    } links[] = {{"/proc/self/fd", "/dev/fd"},
                 {"/proc/self/fd/0", "/dev/stdin"},
                 {"/proc/self/fd/1", "/dev/stdout"},
                 {"/proc/self/fd/2", "/dev/stderr"}};
    for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
        if (symlink(links[i].target, links[i].path) < 0 && errno != EEXIST)
            return error_errno(err, errno, "%s", links[i].path);
    }
    return 0;
}

int boot_cgroups(struct error *err)
{
    static const char path[] = "/sys/fs/cgroup";
    struct buf controllers;
    char enable[256] = "";
    if (mount("cgroup2", path, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return error_errno(err, errno, "%s", path);
    buf_init(&controllers, sizeof enable / 2);
    int r = file_read_at(AT_FDCWD, "/sys/fs/cgroup/cgroup.controllers", &controllers);
    const char *text = r == 0 ? buf_cstr(&controllers) : NULL;
    for (const char *p = text; p && *p;) {
        size_t len = strcspn(p, " \n");
        size_t used = strlen(enable);
        if (len && used + len + 3 < sizeof enable)
            snprintf(enable + used, sizeof enable - used, "+%.*s ", (int)len, p);
        p += len + (p[len] != '\0');
    }
    buf_free(&controllers);
    if (r == 0 && enable[0])
        r = file_write_value_at(AT_FDCWD, "/sys/fs/cgroup/cgroup.subtree_control", enable);
    return r < 0 ? error_errno(err, r, "%s", path) : 0;
}

int boot_share(const char *type, const char *path, struct error *err)
{
    int r = file_mkdir_all(path, 0755);
    if (r < 0)
        return error_errno(err, r, "%s", path);
    if (mount(SHARE_TAG, path, type, MS_NODEV, NULL) < 0)
        return error_errno(err, errno, "cannot mount what the host shares (%s) at %s", type, path);
    return 0;
}

static void take_option(const char *word, size_t len, const char *key, char *value, size_t size)
{
    size_t n = strlen(key);
    if (len > n && len - n < size && strncmp(word, key, n) == 0)
        snprintf(value, size, "%.*s", (int)(len - n), word + n);
}

void boot_read_options(struct boot_options *ret)
{
    struct buf text;
    *ret = (struct boot_options){.log_level = "info"};
    buf_init(&text, CMDLINE_MAX);
    const char *p = file_read_at(AT_FDCWD, "/proc/cmdline", &text) == 0 ? buf_cstr(&text) : NULL;
    while (p && *p) {
        size_t len = strcspn(p, " \n");
        ret->probe |=
            len == strlen(GUEST_PROBE_PARAMETER) && strncmp(p, GUEST_PROBE_PARAMETER, len) == 0;
        take_option(p, len, "task.log_level=", ret->log_level, sizeof ret->log_level);
        take_option(p, len, "task.sharefs_type=", ret->share, sizeof ret->share);
        p += len + (p[len] != '\0');
    }
    buf_free(&text);
}
