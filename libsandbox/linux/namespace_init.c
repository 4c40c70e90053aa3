// From a fresh process in a fresh pid namespace to pod-init, step by step. What each step may still
// need decides the order: mounts need CAP_SYS_ADMIN, dropping the bounding set CAP_SETPCAP, and
// after the filter only the report, waiting for "go", exec and exit are left.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "linux/confine.h"
#include "linux/namespace_internal.h"

// Where the two descriptors that are left lie, behind the standard ones.
#define PROGRAM_FD 3
#define SOCK_FD    4

// Where the empty root is mounted, in the init's own mount namespace: a directory that is there on
// every host and that users of a pod may look up.
#define ROOT_PLACE "/proc"

// Read-only because through /proc/1/exe a container that shares the pid namespace gets at the file
// itself, and must not be able to write to what every pod runs. Shares its memory with all others,
// unlike a copy.
int namespace_init_open(const char *path, struct error *err)
{
    _cleanup_close_ int fd =
        open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, errno, "init program \"%.300s\"", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "init program \"%.300s\"", path);
    if (!S_ISREG(st.st_mode) || !(st.st_mode & S_IXUSR))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "init program \"%.300s\" is not an executable file; reinstall pod-init",
                         path);
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return error_errno(err, errno, "read-only view of init program \"%.300s\"", path);
    return take_fd(&fd);
}

// Puts the descriptors where they belong and closes all others, those it was given too. dup2 onto
// itself would keep close-on-exec as it is, so both go above their final places first.
static int descriptors_arrange(int null, int program, int sock)
{
    int high_program = fcntl(program, F_DUPFD_CLOEXEC, SOCK_FD + 1);
    int high_sock = fcntl(sock, F_DUPFD_CLOEXEC, SOCK_FD + 1);
    int high_null = fcntl(null, F_DUPFD_CLOEXEC, SOCK_FD + 1);
    if (high_program < 0 || high_sock < 0 || high_null < 0)
        return -errno;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (dup2(high_null, fd) < 0)
            return -errno;
    if (dup3(high_program, PROGRAM_FD, O_CLOEXEC) < 0 || dup3(high_sock, SOCK_FD, O_CLOEXEC) < 0)
        return -errno;
    return close_range(SOCK_FD + 1, ~0U, 0) < 0 ? -errno : 0;
}

// An own mount namespace with nothing in it but an empty directory that cannot be written to.
static int root_replace(struct error *err)
{
    if (unshare(CLONE_NEWNS) < 0)
        return error_errno(err, errno, "mount namespace of the pod's init");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_errno(err, errno, "making the init's mounts private");
    if (mount("none", ROOT_PLACE, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=1,mode=0555") < 0)
        return error_errno(err, errno, "empty root of the pod's init");
    if (chdir(ROOT_PLACE) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return error_errno(err, errno, "pivot_root to the empty root of the pod's init");
    // The old root now lies over the new one.
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return error_errno(err, errno, "leaving the host's root");
    return 0;
}

// Signals as pod-init wants them, from the first instant on: what ends it is kept until it looks.
static void signals_prepare(void)
{
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL); // refused for SIGKILL, SIGSTOP and the C library's own
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    (void)sigprocmask(SIG_SETMASK, &ends, NULL);
}

// *sock follows the socket to its final place.
static int init_prepare(const struct namespace_init *init, int *sock, struct error *err)
{
    signals_prepare();
    (void)setsid();
    _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return error_errno(err, errno, "/dev/null");
    if (root_replace(err) < 0)
        return -1;
    int r = descriptors_arrange(take_fd(&null), init->program, init->sock);
    if (r < 0)
        return error_errno(err, r, "descriptors of the pod's init");
    *sock = SOCK_FD;
    return confine_init(err);
}

static void report(int sock, const struct error *err)
{
    // Nobody is left to tell if this fails; the starter sees the end of file.
    (void)!write(sock, err, sizeof(*err));
}

_Noreturn void namespace_init_main(const struct namespace_init *init)
{
    struct error err = {0};
    int sock = init->sock;
    int r = init_prepare(init, &sock, &err);
    report(sock, &err);
    char go;
    if (r < 0 || read(sock, &go, 1) != 1)
        _exit(1);
    // Between here and the starter's own answer nobody else knows of this process: no detours.
    char *argv[] = {(char *)init->name, NULL};
    char *envp[] = {NULL};
    (void)prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    (void)syscall(SYS_execveat, PROGRAM_FD, "", argv, envp, AT_EMPTY_PATH);
    (void)error_errno(&err, errno, "cannot execute init program \"%.300s\"", init->path);
    report(sock, &err);
    _exit(1);
}
