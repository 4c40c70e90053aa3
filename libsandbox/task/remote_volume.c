#include "task/remote_volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "linux/mount.h"

#define KEY_SIZE 80

struct volumes {
    const char *sandbox_dir;
    int users; // <sandbox>/volumes, locked
};

static int volumes_open(struct volumes *v, const char *sandbox_dir, bool make)
{
    char path[PATH_MAX];
    *v = (struct volumes){.sandbox_dir = sandbox_dir, .users = -1};
    if (path_format(path, sizeof(path), "%s/volumes", sandbox_dir) < 0)
        return -ENAMETOOLONG;
    if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    while (fd >= 0 && flock(fd, LOCK_EX) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    if (fd < 0)
        return -errno;
    v->users = take_fd(&fd);
    return 0;
}

// The same for two names of one thing, if the same is mounted below it.
static int make_key(const char *source, enum remote_access access, char key[KEY_SIZE], mode_t *mode)
{
    static const char *const words[] = {
        [REMOTE_RW] = "rw", [REMOTE_RO] = "ro", [REMOTE_RRO] = "rro"};
    struct statx st;
    if (statx(AT_FDCWD, source, 0, STATX_TYPE | STATX_INO | STATX_MNT_ID, &st) < 0)
        return -errno;
    *mode = st.stx_mode;
    snprintf(key, KEY_SIZE, "%x-%x-%llx-%llx-%s", st.stx_dev_major, st.stx_dev_minor,
             (unsigned long long)st.stx_mnt_id, (unsigned long long)st.stx_ino, words[access]);
    return 0;
}

static int make_target(const char *path, mode_t mode)
{
    if (S_ISDIR(mode))
        return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd < 0 ? -errno : 0;
}

static int add_user(const struct volumes *v, const char *key, const char *container)
{
    if (mkdirat(v->users, key, 0700) < 0 && errno != EEXIST)
        return -errno;
    _cleanup_close_ int dir = openat(v->users, key, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_close_ int fd =
        dir < 0 ? -1 : openat(dir, container, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : 0;
}

static int mount_once(const char *path, const struct remote_share *share, struct error *err)
{
    static const char *const options[] = {"rbind", "rslave", "ro"};
    const struct mount_spec spec = {.type = "bind",
                                    .source = share->source,
                                    .options = options,
                                    .n_options = share->access == REMOTE_RW ? 2 : 3,
                                    .flags_on_top = share->access == REMOTE_RO};
    int r = mount_is_mounted(path);
    if (r < 0)
        return error_errno(err, r, "%s", path);
    return r ? 0 : mount_apply(&spec, path, err);
}

static int show(const struct volumes *v, const char *container, const struct remote_share *share,
                struct error *err)
{
    char key[KEY_SIZE], path[PATH_MAX], link[PATH_MAX], to[PATH_MAX];
    mode_t mode = 0;
    int r = make_key(share->source, share->access, key, &mode);
    const char *why = r < 0 ? NULL : remote_share_refused(mode);
    if (why)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: is %s", share->source, why);
    if (r == 0)
        r = path_format(path, sizeof(path), "%s/shared/volumes", v->sandbox_dir);
    if (r == 0 && mkdir(path, 0755) < 0 && errno != EEXIST)
        r = -errno;
    if (r == 0)
        r = path_format(path, sizeof(path), "%s/shared/volumes/%s", v->sandbox_dir, key);
    if (r == 0)
        r = path_format(link, sizeof(link), "%s/shared/%s/%s", v->sandbox_dir, container,
                        share->name);
    if (r == 0)
        r = path_format(to, sizeof(to), "../volumes/%s", key);
    if (r == 0)
        r = add_user(v, key, container);
    if (r == 0)
        r = make_target(path, mode);
    if (r == 0 && mount_once(path, share, err) < 0)
        return -1;
    if (r == 0 && symlink(to, link) < 0)
        r = -errno;
    return r < 0 ? error_errno(err, r, "%s", share->source) : 0;
}

int remote_volume_show(const char *sandbox_dir, const char *container,
                       const struct remote_share *share, struct error *err)
{
    struct volumes v;
    int r = volumes_open(&v, sandbox_dir, true);
    if (r < 0)
        return error_errno(err, r, "%s/volumes", sandbox_dir);
    r = show(&v, container, share, err);
    close_fd(&v.users);
    return r;
}

// Nobody has it any more.
static int hide(const struct volumes *v, const char *key)
{
    char path[PATH_MAX];
    struct stat st;
    if (path_format(path, sizeof(path), "%s/shared/volumes/%s", v->sandbox_dir, key) < 0)
        return -ENAMETOOLONG;
    int r = mount_remove(path);
    if (r == 0 && lstat(path, &st) == 0 && (S_ISDIR(st.st_mode) ? rmdir(path) : unlink(path)) < 0)
        r = -errno;
    return r;
}

static int drop_user(const struct volumes *v, const char *key, const char *container)
{
    _cleanup_close_ int dir = openat(v->users, key, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir < 0)
        return -errno;
    if (unlinkat(dir, container, 0) < 0 && errno != ENOENT)
        return -errno;
    if (unlinkat(v->users, key, AT_REMOVEDIR) == 0)
        return hide(v, key);
    return errno == ENOTEMPTY ? 0 : -errno;
}

static int drop_user_of_all(const struct volumes *v, const char *container)
{
    int failed = 0;
    DIR *dir = fdopendir(fcntl(v->users, F_DUPFD_CLOEXEC, 0));
    if (!dir)
        return -errno;
    for (struct dirent *e; (e = readdir(dir));) {
        int r = e->d_name[0] == '.' ? 0 : drop_user(v, e->d_name, container);
        failed = failed ? failed : r;
    }
    closedir(dir);
    return failed;
}

int remote_volumes_hide(const char *sandbox_dir, const char *container, struct error *err)
{
    struct volumes v;
    int r = volumes_open(&v, sandbox_dir, false);
    if (r == 0)
        r = drop_user_of_all(&v, container);
    close_fd(&v.users);
    if (r < 0 && r != -ENOENT) // nobody has had any
        return error_errno(err, r, "%s/volumes", sandbox_dir);
    return 0;
}
