#include "task/mountpoints.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "oci/spec.h"

static const char *const directories[] = {"dev", "dev/shm", "etc"};
static const char *const files[] = {"etc/hosts", "etc/hostname", "etc/resolv.conf"};
// Of these, what a spec mounts.
static const char *const mounted[] = {"/dev/shm", "/etc/hosts", "/etc/hostname",
                                      "/etc/resolv.conf"};

static int make_directory(int dir, const char *name)
{
    _cleanup_close_ int fd = -1;
    if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 || fchmod(fd, 0755) < 0 ? -errno : 0;
}

static int make_file(int dir, const char *name)
{
    _cleanup_close_ int fd =
        openat(dir, name, O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    return fd < 0 || fchmod(fd, 0644) < 0 ? -errno : 0;
}

int mountpoints_make(const char *dir, struct error *err)
{
    int r = file_mkdir_all(dir, 0755);
    _cleanup_close_ int fd =
        r < 0 ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (r == 0 && fd < 0)
        r = -errno;
    if (r == 0)
        r = make_directory(fd, ".");
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(directories); i++)
        r = make_directory(fd, directories[i]);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
        r = make_file(fd, files[i]);
    return r < 0 ? error_errno(err, r, "%s", dir) : 0;
}

bool mountpoints_fit(json_object *spec, const struct pod *pod)
{
    if (pod->user_ns)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(mounted); i++) {
        if (!oci_spec_mounts_at(spec, mounted[i]))
            return false;
    }
    return true;
}
