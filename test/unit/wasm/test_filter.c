// Filters of the worker, in children that load them.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "worker/filter.h"

// Ends without the sanitizers' last words, which need system calls that are gone.
static void leave(int code)
{
    for (;;)
        syscall(SYS_exit_group, code);
}

static void load(int (*filter)(struct error *))
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || filter(NULL) < 0)
        leave(200);
}

// All that there is before a module runs.
static void load_all(void)
{
    load(filter_before_compile);
    if (filter_before_run(NULL) < 0)
        leave(200);
}

// What `work` returns in a child: 0, or the number of what went wrong.
static int in_child(int (*work)(void))
{
    int status = 0;
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0)
        leave(work());
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// Arguments with which the call would succeed, or fail with another error, without a filter.
static const struct {
    const char *name;
    long call, args[6];
} forbidden[] = {
    {"fork", SYS_clone, {SIGCHLD}},
#ifdef SYS_vfork
    {"vfork", SYS_vfork, {0}},
#endif
    {"clone with a namespace", SYS_clone, {CLONE_NEWUSER | SIGCHLD}},
    {"unshare", SYS_unshare, {CLONE_NEWUSER}},
    {"setns", SYS_setns, {-1, 0}},
    {"execve", SYS_execve, {0}},
    {"execveat", SYS_execveat, {-1}},
    {"mount", SYS_mount, {0}},
    {"umount2", SYS_umount2, {0}},
    {"move_mount", SYS_move_mount, {-1}},
    {"open_tree", SYS_open_tree, {-1}},
    {"fsopen", SYS_fsopen, {0}},
    {"mount_setattr", SYS_mount_setattr, {-1}},
    {"pivot_root", SYS_pivot_root, {0}},
    {"chroot", SYS_chroot, {0}},
    {"ptrace", SYS_ptrace, {-1}},
    {"process_vm_readv", SYS_process_vm_readv, {1}},
    {"pidfd_open", SYS_pidfd_open, {1, 0}},
    {"pidfd_getfd", SYS_pidfd_getfd, {-1}},
    {"kill", SYS_kill, {0, 0}},
    {"tkill", SYS_tkill, {1, 0}},
    {"tgkill of others", SYS_tgkill, {1, 1, 0}},
    {"bpf", SYS_bpf, {BPF_MAP_CREATE}},
    {"perf_event_open", SYS_perf_event_open, {0}},
    {"keyctl", SYS_keyctl, {0}},
    {"add_key", SYS_add_key, {0}},
    {"userfaultfd", SYS_userfaultfd, {0}},
    {"io_uring_setup", SYS_io_uring_setup, {1, 0}},
    {"setuid", SYS_setuid, {0}},
    {"capset", SYS_capset, {0}},
    {"chmod", SYS_fchmodat, {-1}},
    {"chown", SYS_fchownat, {-1}},
    {"mknod", SYS_mknodat, {-1}},
    {"setxattr", SYS_fsetxattr, {-1}},
    {"socketpair", SYS_socketpair, {AF_UNIX, SOCK_STREAM}},
    {"socket: UNIX", SYS_socket, {AF_UNIX, SOCK_STREAM}},
    {"socket: netlink", SYS_socket, {AF_NETLINK, SOCK_RAW}},
    {"socket: packet", SYS_socket, {AF_PACKET, SOCK_RAW}},
    {"socket: raw", SYS_socket, {AF_INET, SOCK_RAW, IPPROTO_ICMP}},
    {"socket: VSOCK", SYS_socket, {40, SOCK_STREAM}},
    {"ioctl TIOCSTI", SYS_ioctl, {0, TIOCSTI}},
    {"ioctl TIOCSCTTY", SYS_ioctl, {0, TIOCSCTTY}},
    {"fcntl F_SETOWN", SYS_fcntl, {0, F_SETOWN}},
    {"prctl PR_SET_DUMPABLE", SYS_prctl, {PR_SET_DUMPABLE, 1}},
    {"prlimit64", SYS_prlimit64, {0, RLIMIT_NOFILE, 1}},
    {"seccomp", SYS_seccomp, {0}},
    {"chdir", SYS_chdir, {0}},
    {"fchdir", SYS_fchdir, {-1}},
#ifdef SYS_rename // newer architectures have renameat alone
    {"rename", SYS_rename, {0}},
    {"unlink", SYS_unlink, {0}},
#endif
    {"mmap of code", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1}},
};

static int forbidden_now; // number in the table, for the message

static int call_forbidden(void)
{
    load_all();
    const long *a = forbidden[forbidden_now].args;
    long r = syscall(forbidden[forbidden_now].call, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (r == 0 && forbidden[forbidden_now].call == SYS_clone)
        leave(0); // the child
    return r == -1 && errno == EPERM ? 0 : 1;
}

Test(seccomp, what_no_module_needs_fails)
{
    for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
        forbidden_now = (int)i;
        cr_expect_eq(in_child(call_forbidden), 0, "%s", forbidden[i].name);
    }
}

static int old_ways(void)
{
    load_all();
    struct clone_args args = {.flags = 0, .exit_signal = SIGCHLD};
    return syscall(SYS_clone3, &args, sizeof(args)) == -1 && errno == ENOSYS ? 0 : 1;
}

Test(seccomp, the_c_library_goes_old_ways)
{
    cr_assert_eq(in_child(old_ways), 0);
}

static void *count(void *arg)
{
    ++*(int *)arg;
    return NULL;
}

static int threads(void)
{
    load_all();
    int n = 0;
    pthread_t thread;
    if (pthread_create(&thread, NULL, count, &n) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    return n == 1 ? 0 : 2;
}

static int files(void)
{
    load_all();
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || close(fd) < 0)
        return 1;
    fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || write(fd, "x", 1) != 1 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0)
        return 2;
    return write(fd, "x", 1) < 0 ? 0 : 3;
}

static int sockets(void)
{
    load_all();
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (udp < 0 || tcp < 0)
        return 1;
    if (bind(tcp, (struct sockaddr *)&local, sizeof(local)) < 0 || listen(tcp, 1) < 0)
        return 2;
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    return six < 0 && errno != EAFNOSUPPORT ? 3 : 0;
}

static int own_signal(void)
{
    load_all();
    signal(SIGUSR1, SIG_IGN);
    return raise(SIGUSR1) == 0 ? 0 : 1;
}

Test(seccomp, what_modules_need_works)
{
    cr_expect_eq(in_child(threads), 0);
    cr_expect_eq(in_child(files), 0);
    cr_expect_eq(in_child(sockets), 0);
    cr_expect_eq(in_child(own_signal), 0);
}

static void *page(int protection)
{
    return mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int no_code(void)
{
    load_all();
    void *data = page(PROT_READ | PROT_WRITE);
    if (data == MAP_FAILED || mprotect(data, 4096, PROT_READ) < 0)
        return 1;
    if (mprotect(data, 4096, PROT_READ | PROT_EXEC) == 0 || errno != EPERM)
        return 2;
    return page(PROT_READ | PROT_EXEC) == MAP_FAILED && errno == EPERM ? 0 : 3;
}

static int second_step_alone(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return 1;
    return filter_before_run(NULL) == -1 ? 0 : 2;
}

Test(seccomp, the_second_step_is_nothing_without_the_first)
{
    cr_expect_eq(in_child(second_step_alone), 0);
}

static int code_then_none(void)
{
    load(filter_before_compile);
    void *data = page(PROT_READ | PROT_WRITE);
    if (data == MAP_FAILED || mprotect(data, 4096, PROT_READ | PROT_EXEC) < 0)
        return 1;
    if (syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0) != -1 ||
        syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) != -1 || syscall(SYS_unshare, CLONE_NEWUSER) != -1)
        return 2;
#ifdef SYS_rename
    if (syscall(SYS_rename, "/nothing", "/nothing.new") == 0 || errno != ENOENT)
        return 3;
#endif
    if (filter_before_run(NULL) < 0)
        return 4;
#ifdef SYS_rename
    if (syscall(SYS_rename, "/nothing", "/nothing.new") == 0 || errno != EPERM)
        return 5;
#endif
    return page(PROT_READ | PROT_EXEC) == MAP_FAILED ? 0 : 6;
}

Test(seccomp, code_is_made_by_the_compiler_alone)
{
    cr_expect_eq(in_child(no_code), 0);
    cr_expect_eq(in_child(code_then_none), 0);
}

static int other_gate[2];

static void *wait_and_try(void *arg)
{
    char go;
    if (read(other_gate[0], &go, 1) == 1)
        *(long *)arg = syscall(SYS_unshare, CLONE_NEWUTS) == -1 && errno == EPERM &&
                       chdir("/") == -1 && errno == EPERM;
    return NULL;
}

static int other_threads(void)
{
    long refused = -1;
    pthread_t thread;
    if (pipe(other_gate) < 0 || pthread_create(&thread, NULL, wait_and_try, &refused) != 0)
        return 1;
    load_all();
    if (write(other_gate[1], "x", 1) != 1 || pthread_join(thread, NULL) != 0)
        return 2;
    return refused == 1 ? 0 : 3;
}

Test(seccomp, threads_that_are_there_are_bound)
{
    cr_assert_eq(in_child(other_threads), 0);
}
