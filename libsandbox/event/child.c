// Signals are blocked across the fork: the handlers of the loop must not run in the child, where
// they would wake the parent. The child sets every signal to its default before it unblocks them.
#include "event/child.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

// The kernel's struct sigaction, large enough on every architecture; all zero is the default.
#define KERNEL_SIGACTION_MAX 64

static void reset_signals(void)
{
    static const char dfl[KERNEL_SIGACTION_MAX];
    // Not by sigaction(): glibc keeps 32 and 33 to itself, and a parent that starts us by
    // posix_spawn (GNU make) may have left them ignored. It fails for those that cannot be changed.
    for (int sig = 1; sig < NSIG; sig++)
        syscall(SYS_rt_sigaction, sig, dfl, NULL, (NSIG - 1) / 8);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static pid_t clone_first(void)
{
    struct clone_args args = {.flags = CLONE_NEWPID, .exit_signal = SIGCHLD};
    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

// Whether it was too late.
static bool die_with(pid_t parent)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || (parent && getppid() != parent);
}

// `parent` 0: cannot be seen from where the child is.
static pid_t fork_by(pid_t (*how)(void), bool mortal, pid_t parent)
{
    sigset_t all, saved;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &saved);
    pid_t pid = how();
    if (pid == 0) {
        if (mortal && die_with(parent))
            _exit(127);
        reset_signals();
        return 0;
    }
    int e = errno;
    sigprocmask(SIG_SETMASK, &saved, NULL);
    errno = e;
    return pid;
}

pid_t child_fork(bool mortal)
{
    return fork_by(fork, mortal, getpid());
}

pid_t child_fork_first(void)
{
    pid_t pid = fork_by(clone_first, true, 0);
    return pid < 0 && errno == ENOSYS ? child_fork(true) : pid;
}

static bool is_managers(const char *entry)
{
    static const char *const names[] = {
        "NOTIFY_SOCKET",  "LISTEN_PID",   "LISTEN_FDS",
        "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC",
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        size_t len = strlen(names[i]);
        if (strncmp(entry, names[i], len) == 0 && entry[len] == '=')
            return true;
    }
    return false;
}

char **child_environment(void)
{
    size_t n = 0;
    while (environ[n])
        n++;
    char **env = calloc(n + 1, sizeof(*env));
    for (size_t i = 0, k = 0; env && i < n; i++)
        if (!is_managers(environ[i]))
            env[k++] = environ[i];
    return env;
}
