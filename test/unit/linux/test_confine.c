#include "support.h"

#include <signal.h>
#include <sys/syscall.h>

#include "linux/confine.h"

static unsigned long long caps(const char *key)
{
    char value[64];
    support_status(getpid(), key, value, sizeof(value));
    return strtoull(value, NULL, 16);
}

static bool has(const char *key, int cap)
{
    return caps(key) >> cap & 1;
}

#define CAP_SYS_MODULE 16
#define CAP_SYS_ADMIN  21
#define CAP_MKNOD      27

Test(confine, a_daemon_leaves_everything_to_its_children)
{
    unsigned long long bounding = caps("CapBnd");
    struct error err = {0};
    cr_assert_eq(confine_daemon(&err), 0, "%s", err.text);
    cr_assert(has("CapEff", CAP_SYS_ADMIN) && has("CapPrm", CAP_MKNOD));
    cr_assert_not(has("CapEff", CAP_SYS_MODULE) || has("CapPrm", CAP_SYS_MODULE));
    cr_assert_eq(caps("CapBnd"), bounding);
    char value[16];
    support_status(getpid(), "NoNewPrivs", value, sizeof(value));
    cr_assert_str_eq(value, "0");
    support_status(getpid(), "Seccomp", value, sizeof(value));
    cr_assert_str_eq(value, "0");
    // A program that it executes has all of the bounding set again.
    int out[2];
    cr_assert_eq(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        execlp("grep", "grep", "CapEff", "/proc/self/status", NULL);
        _exit(1);
    }
    cr_assert_eq(support_wait(pid), 0);
    char text[64] = "";
    cr_assert_gt(read(out[0], text, sizeof(text) - 1), 0);
    cr_assert_eq(strtoull(text + strlen("CapEff:\t"), NULL, 16), bounding);
}

// Ends without the sanitizers' last words, which need system calls that are gone. Not marked as
// what it is, because they speak before a call that does not return, too.
static void leave(int code)
{
    for (;;)
        syscall(SYS_exit_group, code);
}

Test(confine, init_has_nothing)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (confine_init(NULL) < 0)
            leave(1);
        // Opening a file, making a process, a socket: none of these calls exist any more.
        if (syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY | O_CLOEXEC) != -1 || errno != ENOSYS)
            leave(2);
        if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) != -1 || errno != ENOSYS)
            leave(3);
        if (syscall(SYS_socket, 1, 1, 0) != -1 || errno != ENOSYS)
            leave(4);
        leave(0);
    }
    int status = support_wait(pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", status);
}

static void denied(long result, const char *what)
{
    cr_expect(result < 0 && errno == EPERM, "%s: %ld, %s", what, result, strerror(errno));
}

// Of root, who may all of it otherwise.
Test(confine, a_server_of_a_guest_gets_no_more)
{
    struct error err = {0};
    int ends[2];
    char byte = 0;
    cr_assert_eq(confine_server(&err), 0, "%s", err.text);
    denied(syscall(SYS_unshare, CLONE_NEWUSER), "unshare");
    denied(syscall(SYS_setns, 0, 0), "setns");
    denied(syscall(SYS_mount, "x", "/", "tmpfs", 0, ""), "mount");
    denied(syscall(SYS_keyctl, 0, 0, 0, 0, 0), "keyctl");
    denied(syscall(SYS_bpf, 0, 0, 0), "bpf");
    denied(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), "clone");
    denied(syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0), "clone");
    // What is left: processes, pipes, files.
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
    cr_assert_eq(read(ends[0], &byte, 1), 1);
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
}
