// doctor: what the kernel has of what we and the runtimes use.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ctl/doctor.h"

// A system call, and the version that brought it. On this machine the call itself is asked (it
// answers ENOSYS), in a tree the version decides.
static const struct feature {
    const char *name, *for_what;
    long call;
    int major, minor;
    enum verdict without;
} features[] = {
    {"pidfd_open", "processes are followed by it", SYS_pidfd_open, 5, 3, VERDICT_ERROR},
    {"openat2", "runc resolves paths in containers with it", SYS_openat2, 5, 6, VERDICT_WARNING},
    {"close_range", "the task server starts with it", SYS_close_range, 5, 9, VERDICT_WARNING},
    {"mount_setattr", "user namespaces need mounts with mapped ids", SYS_mount_setattr, 5, 12,
     VERDICT_WARNING},
};

static bool has_call(long number)
{
    // All arguments are wrong, so that nothing is done.
    return !(syscall(number, -1, NULL, -1, -1, -1, -1) < 0 && errno == ENOSYS);
}

static void check_feature(struct doctor *d, const struct feature *f, int major, int minor)
{
    bool there =
        *d->root ? major > f->major || (major == f->major && minor >= f->minor) : has_call(f->call);
    if (there) {
        found(d, VERDICT_OK, "%s", f->name);
        return;
    }
    found(d, f->without, "%s is missing: %s", f->name, f->for_what);
    remedy(d, "use Linux %d.%d or newer", f->major, f->minor);
}

static void check_overlay(struct doctor *d)
{
    char text[8192];
    if (!doctor_read(d, "/proc/filesystems", text, sizeof text))
        return;
    if (strstr(text, "\toverlay\n") ||
        (strlen(text) >= 8 && !strcmp(text + strlen(text) - 8, "\toverlay"))) {
        found(d, VERDICT_OK, "overlay");
        return;
    }
    found(d, VERDICT_WARNING, "the overlay file system is not loaded");
    remedy(d, "modprobe overlay, or use another snapshotter");
}

static void check_user_namespaces(struct doctor *d)
{
    char text[64];
    if (!doctor_read(d, "/proc/sys/user/max_user_namespaces", text, sizeof text))
        return;
    long max = strtol(text, NULL, 10);
    found(d, max > 0 ? VERDICT_OK : VERDICT_WARNING, "user namespaces: at most %ld", max);
    if (max <= 0)
        remedy(d, "sysctl user.max_user_namespaces=15000, if pods are to have them");
}

void check_kernel(struct doctor *d)
{
    char release[128];
    int major = 0, minor = 0;
    if (!doctor_read(d, "/proc/sys/kernel/osrelease", release, sizeof release) ||
        sscanf(release, "%d.%d", &major, &minor) != 2) {
        found(d, VERDICT_WARNING, "the kernel's version is not known");
        remedy(d, "mount /proc");
    } else {
        found(d, VERDICT_OK, "Linux %s", release);
    }
    for (size_t i = 0; i < ARRAY_SIZE(features); i++)
        check_feature(d, &features[i], major, minor);
    check_overlay(d);
    check_user_namespaces(d);
}
