#include "task/mountpoints.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "oci/spec.h"

// A directory behind the one that it is in, with what is in it.
static const struct {
    const char *name;
    size_t n_entries;
} directories[] = {{".", 2}, {"dev", 1}, {"dev/shm", 0}, {"etc", 3}};
static const char *const files[] = {"etc/hosts", "etc/hostname", "etc/resolv.conf"};
// Of these, what a spec mounts.
static const char *const mounted[] = {"/dev/shm", "/etc/hosts", "/etc/hostname",
                                      "/etc/resolv.conf"};

// It is seen in every container.
static int take(int fd, mode_t mode)
{
    return fchown(fd, geteuid(), getegid()) < 0 || fchmod(fd, mode) < 0 ? -errno : 0;
}

static int make_directory(int dir, const char *name)
{
    if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : take(fd, 0755);
}

static int make_file(int dir, const char *name)
{
    struct stat st;
    _cleanup_close_ int fd =
        openat(dir, name, O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    return !S_ISREG(st.st_mode) || st.st_size > 0 ? -EEXIST : take(fd, 0644);
}

// 0, or -EEXIST if there is more in it.
static int check_entries(int dir, const char *name, size_t n_entries)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    size_t n = 0;
    if (!entries)
        return -errno;
    while (readdir(entries))
        n++;
    closedir(entries);
    return n == n_entries + 2 /* . and .. */ ? 0 : -EEXIST;
}

static int make_all(int dir)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(directories); i++)
        r = make_directory(dir, directories[i].name);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
        r = make_file(dir, files[i]);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(directories); i++)
        r = check_entries(dir, directories[i].name, directories[i].n_entries);
    return r;
}

int mountpoints_make(const char *dir, struct error *err)
{
    int r = file_mkdir_all(dir, 0755);
    if (r < 0)
        return error_errno(err, r, "%s", dir);
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    r = fd < 0 ? -errno : make_all(fd);
    if (r == -EEXIST)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "%s has something in it that is not ours; remove that", dir);
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
