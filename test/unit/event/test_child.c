// Forked children.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "event/child.h"

// Ends without what the sanitizers do at the end: the C library knows nothing of such a child.
static void leave(int code)
{
    for (;;)
        syscall(SYS_exit_group, code);
}

static int status_of(pid_t pid)
{
    int status = 0;
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void handle(int number)
{
}

static int blocked(int number)
{
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    return sigismember(&now, number);
}

static int is_clean(void)
{
    struct sigaction is;
    return sigaction(SIGUSR1, NULL, &is) == 0 && is.sa_handler == SIG_DFL && !blocked(SIGUSR2);
}

Test(child, begins_with_clean_signals)
{
    sigset_t usr2;
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    signal(SIGUSR1, handle);
    sigprocmask(SIG_BLOCK, &usr2, NULL);
    pid_t pid = child_fork(false);
    if (pid == 0)
        leave(is_clean() ? 7 : 8);
    cr_expect_eq(status_of(pid), 7);
    cr_expect(blocked(SIGUSR2)); // here all is as it was
}

Test(child, is_the_first_of_a_pid_namespace)
{
    if (geteuid() != 0)
        cr_skip("not root");
    signal(SIGUSR1, handle);
    pid_t pid = child_fork_first();
    if (pid == 0)
        leave(getpid() == 1 && is_clean() ? 7 : 8);
    cr_expect_eq(status_of(pid), 7);
    cr_expect(getpid() != 1);
}

// The end of a pipe whose writing end such a child holds, and nobody else, when its parent is gone.
static int end_with_the_parent(pid_t (*how)(void))
{
    int gate[2], up[2];
    char c;
    cr_assert(pipe(gate) == 0 && pipe(up) == 0);
    alarm(20);
    pid_t parent = fork();
    if (parent == 0) {
        close(gate[1]);
        pid_t pid = how();
        if (pid == 0) {
            (void)!write(up[1], "x", 1);
            sleep(60);
            leave(1);
        }
        leave(pid < 0 || read(gate[0], &c, 1) != 1);
    }
    close(up[1]);
    cr_assert(read(up[0], &c, 1) == 1); // it is there
    cr_assert(write(gate[1], "x", 1) == 1 && status_of(parent) == 0);
    return (int)read(up[0], &c, 1);
}

static pid_t mortal(void)
{
    return child_fork(true);
}

Test(child, ends_with_the_parent)
{
    cr_expect_eq(end_with_the_parent(mortal), 0);
}

Test(child, the_first_of_a_pid_namespace_does_too)
{
    if (geteuid() != 0)
        cr_skip("not root");
    cr_expect_eq(end_with_the_parent(child_fork_first), 0);
}
