// What a process gives up when it becomes a container's, and in which order: traced.
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/enter.h"

// More than it ever makes.
#define CALLS_MAX 1000

static _Noreturn void become_a_container(void)
{
    static const struct plan plan = {0}; // of root
    struct error err = {0};
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(99);
    (void)raise(SIGSTOP);
    _exit(enter_identity(&plan, -1, -1, &err) < 0 || prctl(PR_GET_DUMPABLE) != 0);
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

// Between the two a neighbour of the same user could look into it, with what it has open.
Test(enter, it_is_hidden_before_it_is_without_rights)
{
    struct __ptrace_syscall_info call;
    bool hidden = false, bare = false;
    int status;
    if (geteuid() != 0)
        cr_skip("not root");
    pid_t pid = fork();
    if (pid == 0)
        become_a_container();
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
    cr_assert_eq(
        ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)),
        0);
    for (int i = 0; i < CALLS_MAX && next(pid, &call, &status); i++) {
        if (call.op != PTRACE_SYSCALL_INFO_ENTRY)
            continue;
        hidden = hidden || hides(&call);
        if (call.entry.nr == SYS_capset) {
            cr_expect(hidden);
            bare = true;
        }
    }
    cr_expect(bare);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
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
