#include "linux/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

// "/proc/<pid>/uid_map"
#define PROC_PATH_MAX 64

// A child in a new user namespace, which does nothing until it is killed. Returns its pid or a
// negative errno.
static pid_t member_start(void)
{
    pid_t parent = getpid();
    // No stack of its own: it goes on with a copy of ours, as after fork.
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (pid != 0)
        return pid < 0 ? -errno : pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(1);
    for (;;)
        pause();
}

static void member_end(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int map_write(pid_t pid, const char *name, const struct id_map *m)
{
    char path[PROC_PATH_MAX], line[64];
    int r = path_format(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    if (r == 0)
        r = path_format(line, sizeof(line), "%u %u %u\n", m->inside, m->outside, m->length);
    return r < 0 ? r : file_write_value_at(AT_FDCWD, path, line);
}

static int member_namespace(pid_t pid, const struct id_maps *maps, struct error *err)
{
    char path[PROC_PATH_MAX];
    int r = map_write(pid, "uid_map", &maps->uid);
    if (r == 0)
        r = map_write(pid, "gid_map", &maps->gid);
    if (r < 0)
        return error_errno(err, r, "mappings of the user namespace");
    (void)path_format(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? error_errno(err, errno, "new user namespace") : fd;
}

int userns_new(const struct id_maps *maps, struct error *err)
{
    pid_t pid = member_start();
    if (pid == -ENOSPC)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "new user namespace: the kernel allows no more of them; raise sysctl "
                         "user.max_user_namespaces");
    if (pid < 0)
        return error_errno(err, pid, "new user namespace");
    int fd = member_namespace(pid, maps, err);
    member_end(pid);
    return fd;
}

int userns_of(int ns, struct error *err)
{
    int fd = ioctl(ns, NS_GET_USERNS);
    return fd < 0 ? error_errno(err, errno, "user namespace that owns a namespace") : fd;
}

static int map_read(pid_t pid, const char *name, struct id_map *ret)
{
    char path[PROC_PATH_MAX], rest;
    (void)path_format(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    if (!f)
        return -errno;
    // NOLINTNEXTLINE(cert-err34-c): the kernel writes these numbers, in range
    if (fscanf(f, "%u %u %u %c", &ret->inside, &ret->outside, &ret->length, &rest) != 3)
        return -ERANGE;
    return 0;
}

int userns_maps(pid_t pid, struct id_maps *ret)
{
    int r = map_read(pid, "uid_map", &ret->uid);
    return r < 0 ? r : map_read(pid, "gid_map", &ret->gid);
}
