// Signals are blocked across the fork: the handlers of the loop must not run in the child, where
// they would wake the parent. The child sets every signal to its default before it unblocks them.
#include "event/child.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/cleanup.h"

static void reset_signals(void)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &dfl, NULL); // fails for those that cannot be changed
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

pid_t child_fork(bool mortal)
{
    sigset_t all, saved;
    pid_t parent = getpid();
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &saved);
    pid_t pid = fork();
    if (pid == 0) {
        if (mortal && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
            _exit(127);
        reset_signals();
        return 0;
    }
    int e = errno;
    sigprocmask(SIG_SETMASK, &saved, NULL);
    errno = e;
    return pid;
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
