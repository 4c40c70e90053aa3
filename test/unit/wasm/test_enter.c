// What a process gives up when it becomes a container's, and in which order: traced.
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "linux/userns.h"
#include "worker/enter.h"

// More than it ever makes.
#define CALLS_MAX 1000

// users: a user namespace; -1: none.
static _Noreturn void become_a_container(int users)
{
    static const struct plan plan = {0}; // of root
    struct error err = {0};
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(99);
    (void)raise(SIGSTOP);
    _exit(enter_identity(&plan, users, -1, &err) < 0 || prctl(PR_GET_DUMPABLE) != 0);
}

// Lets it go to where it enters or leaves a system call. False: it has ended; *ret_status.
static bool next(pid_t pid, struct __ptrace_syscall_info *ret, int *ret_status)
{
    cr_assert(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0 && waitpid(pid, ret_status, 0) == pid);
    return WIFSTOPPED(*ret_status) &&
           ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(*ret), ret) > 0;
}

static bool hides(const struct __ptrace_syscall_info *call)
{
    return call->entry.nr == SYS_prctl && call->entry.args[0] == PR_SET_DUMPABLE &&
           call->entry.args[1] == 0;
}

// Traces one that becomes a container: it must be hidden when it makes one of these calls, and it
// makes all of them.
static void expect_hidden_at(const int *calls, size_t n, int users)
{
    struct __ptrace_syscall_info call;
    bool hidden = false;
    size_t made = 0;
    int status;
    pid_t pid = fork();
    if (pid == 0)
        become_a_container(users);
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
    cr_assert_eq(
        ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)),
        0);
    for (int i = 0; i < CALLS_MAX && next(pid, &call, &status); i++) {
        if (call.op != PTRACE_SYSCALL_INFO_ENTRY)
            continue;
        hidden = hidden || hides(&call);
        if (made < n && call.entry.nr == (unsigned)calls[made]) {
            cr_expect(hidden, "at call %d", calls[made]);
            made++;
        }
    }
    cr_expect_eq(made, n);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

// Else a neighbour of the same user could look into it, with what it has open.
Test(enter, it_is_hidden_before_it_is_without_rights)
{
    if (geteuid() != 0)
        cr_skip("not root");
    expect_hidden_at((const int[]){SYS_capset}, 1, -1);
}

// In the user namespace a neighbour may have the right to look into others.
Test(enter, it_is_hidden_before_it_is_among_the_pods_users)
{
    const struct id_maps ids = {{0, 100000, 10}, {0, 200000, 10}};
    struct error err = {0};
    if (geteuid() != 0)
        cr_skip("not root");
    int users = userns_new(&ids, &err);
    cr_assert_geq(users, 0, "%s", err.text);
    expect_hidden_at((const int[]){SYS_setns, SYS_capset}, 2, users);
    close(users);
}

// 0, or what is wrong.
static int leave_the_keyring(void)
{
    static const struct plan plan = {0};
    struct error err = {0};
    long ours = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    if (ours < 0)
        return errno == ENOSYS ? 0 : 1;
    if (enter_identity(&plan, -1, -1, &err) < 0)
        return 2;
    return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) == ours ? 3 : 0;
}

Test(enter, keys_of_the_server_are_not_the_containers)
{
    int status;
    if (geteuid() != 0)
        cr_skip("not root");
    pid_t pid = fork();
    if (pid == 0)
        _exit(leave_the_keyring());
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

// A host's directory may be among the mounts, that of procfs, too.
Test(enter, the_working_directory_is_behind_no_link_of_procfs)
{
    struct error err = {0};
    cr_expect_eq(enter_directory(&(struct plan){.cwd = "/proc/self/root/tmp"}, &err), -1);
    cr_expect(strstr(err.text, "process.cwd /proc/self/root/tmp"), "%s", err.text);
    cr_expect_eq(enter_directory(&(struct plan){.cwd = "/tmp"}, &err), 0, "%s", err.text);
    cr_expect_eq(enter_directory(&(struct plan){.cwd = "/none"}, &err), -1);
}

// 0, or what differs. Without a pid namespace there is no fork, by which it would be so.
static int stay_in_the_hosts_pids(void)
{
    static const struct plan plan = {0};
    struct error err = {0};
    int number = -1;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || enter_pids(&plan, &err) < 0 ||
        prctl(PR_GET_PDEATHSIG, &number) < 0)
        return 1;
    return number == 0 ? 0 : 2;
}

Test(enter, a_container_does_not_end_with_the_server)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(stay_in_the_hosts_pids());
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}
