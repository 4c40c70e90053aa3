#include "base/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

#define LOCK_STEP_MS 10
#define STATE_MODE   0711

static int lock_file(int fd)
{
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOCK_STEP_MS) {
        if (errno != EWOULDBLOCK || waited >= INSTANCE_LOCK_SECONDS * 1000)
            return -errno;
        poll(NULL, 0, LOCK_STEP_MS);
    }
    return 0;
}

int instance_lock(const char *dir, const char *name, const char *who, struct error *err)
{
    char path[PATH_MAX];
    int e = file_mkdir_all(dir, STATE_MODE);
    if (e == 0 && chmod(dir, STATE_MODE) < 0)
        e = -errno;
    if (e < 0)
        return error_errno(err, e, "cannot make the state directory %s", dir);
    if (path_format(path, sizeof path, "%s/%s", dir, name) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "--dir: too long");
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", path);
    if ((e = lock_file(fd)) == -EWOULDBLOCK)
        return error_set(err, STATUS_ALREADY_EXISTS, "another %s already runs on %s", who, dir);
    if (e < 0)
        return error_errno(err, e, "cannot lock %s", path);
    return take_fd(&fd);
}

void instance_raise_files(struct rlimit *ret_before)
{
    (void)getrlimit(RLIMIT_NOFILE, ret_before);
    const struct rlimit all = {.rlim_cur = ret_before->rlim_max, .rlim_max = ret_before->rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &all) < 0)
        log_warn("descriptor limit: %s", strerror(errno));
}

bool instance_find_beside(const char *name, char out[PATH_MAX])
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    out[0] = '\0';
    if (n <= 0)
        return false;
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    if (path_format(out, PATH_MAX, "%s/%s", self, name) == 0 && access(out, X_OK) == 0)
        return true;
    out[0] = '\0';
    return false;
}
