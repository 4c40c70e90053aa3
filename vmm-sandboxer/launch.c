#include "vmm/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "linux/confine.h"

// Every id but the one that means none.
#define ALL_IDS "0 0 4294967295"

// ---- the child ----------------------------------------------------------------------------------

_Noreturn static void child_fail(int sock, const char *what)
{
    struct error err = {0};
    error_errno(&err, errno, "%s", what);
    (void)!write(sock, &err, sizeof err);
    _exit(127);
}

static const struct {
    const char *path;
    unsigned major, minor;
} devices[] = {{"/dev/null", 1, 3},    {"/dev/zero", 1, 5},       {"/dev/random", 1, 8},
               {"/dev/urandom", 1, 9}, {"/dev/net/tun", 10, 200}, {"/dev/kvm", 10, 232}};

// The nodes say who may open them on the host; here it is whoever is in this namespace.
static void make_devices(int sock)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
        mount("dev", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k") < 0 ||
        mkdir("/dev/net", 0755) < 0 || mkdir("/dev/shm", 01777) < 0 ||
        mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=100%") < 0)
        child_fail(sock, "/dev");
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
        if (mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) < 0)
            child_fail(sock, devices[i].path);
    }
}

// The parent writes the mappings: nobody may map ids of others for itself.
static void enter_users(int sock)
{
    char go;
    if (unshare(CLONE_NEWUSER) < 0)
        child_fail(sock, "user namespace");
    if (write(sock, "u", 1) != 1 || read(sock, &go, 1) != 1)
        _exit(127);
}

static void become(const struct launch *l, int sock)
{
    if (l->own_users) {
        enter_users(sock);
    } else if (setgroups(0, NULL) < 0 || setresgid(l->user, l->user, l->user) < 0 ||
               setresuid(l->user, l->user, l->user) < 0) {
        child_fail(sock, "user");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        child_fail(sock, "no_new_privs");
}

// Everything goes above the numbers that are given away first, then to its own.
static void take_descriptors(const struct launch *l, int sock, int *ret_sock)
{
    const int above = LAUNCH_FDS_FIRST + LAUNCH_FDS_MAX;
    int fds[LAUNCH_FDS_MAX];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int output = fcntl(l->output < 0 ? null : l->output, F_DUPFD_CLOEXEC, above);
    int keep = fcntl(sock, F_DUPFD_CLOEXEC, above);
    if (null < 0 || output < 0 || keep < 0 || l->n_fds > LAUNCH_FDS_MAX)
        child_fail(sock, "descriptors");
    for (size_t i = 0; i < l->n_fds; i++) {
        fds[i] = fcntl(l->fds[i], F_DUPFD_CLOEXEC, above);
        if (fds[i] < 0)
            child_fail(keep, "descriptors");
    }
    if (dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        child_fail(keep, "descriptors");
    for (size_t i = 0; i < l->n_fds; i++) {
        if (dup2(fds[i], LAUNCH_FDS_FIRST + (int)i) < 0)
            child_fail(keep, "descriptors");
    }
    *ret_sock = keep;
    (void)close_range(LAUNCH_FDS_FIRST + (unsigned)l->n_fds, (unsigned)keep - 1, 0);
    (void)close_range((unsigned)keep + 1, ~0U, 0);
}

_Noreturn static void child(const struct launch *l, pid_t caller, int sock)
{
    sigset_t none;
    setsid();
    for (int s = 1; s < NSIG; s++)
        (void)signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    umask(0);
    if (l->own_devices)
        make_devices(sock);
    if (chdir(l->dir) < 0)
        child_fail(sock, l->dir);
    take_descriptors(l, sock, &sock);
    become(l, sock);
    struct error err = {0};
    if (l->filtered && confine_server(&err) < 0) {
        (void)!write(sock, &err, sizeof err);
        _exit(127);
    }
    // Behind the change of the user, which forgets it.
    if (l->dies_with_caller &&
        (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != caller))
        child_fail(sock, "its caller is gone");
    static char *const env[] = {(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                                        "/sbin:/bin",
                                (char *)"TMPDIR=/dev/shm", NULL};
    execvpe(l->argv[0], (char *const *)l->argv, env);
    child_fail(sock, l->argv[0]);
}

// ---- the parent ---------------------------------------------------------------------------------

static int map_users(pid_t pid, struct error *err)
{
    static const char *const files[] = {"uid_map", "gid_map"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        char path[64];
        (void)path_format(path, sizeof path, "/proc/%d/%s", (int)pid, files[i]);
        int r = file_write_value_at(AT_FDCWD, path, ALL_IDS);
        if (r < 0)
            return error_errno(err, r, "user namespace: %s", files[i]);
    }
    return 0;
}

// Waits until it has been executed (end of file) or has failed.
static int follow(const struct launch *l, pid_t pid, int sock, struct error *err)
{
    union {
        struct error err;
        char bytes[sizeof(struct error)];
    } got;
    ssize_t n;
    while ((n = read(sock, got.bytes, sizeof got.bytes)) == 1) { // wants its mappings
        if (map_users(pid, err) < 0 || write(sock, "g", 1) != 1)
            return -1;
    }
    if (n == 0)
        return 0;
    if (n == (ssize_t)sizeof got) {
        *err = got.err;
        return error_wrap(err, "%s", l->argv[0]);
    }
    return error_errno(err, errno, "%s", l->argv[0]);
}

int launch(const struct launch *l, struct process_id *ret, struct error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(err, errno, "%s", l->argv[0]);
    _cleanup_close_ int ours = pair[0];
    _cleanup_close_ int theirs = pair[1];
    const pid_t caller = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return error_errno(err, errno, "%s", l->argv[0]);
    if (pid == 0)
        child(l, caller, theirs);
    close_fd(&theirs);
    if (follow(l, pid, ours, err) < 0 || process_identify(pid, ret) < 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return err->status ? -1 : error_set(err, STATUS_INTERNAL, "%s ended at once", l->argv[0]);
    }
    return 0;
}
