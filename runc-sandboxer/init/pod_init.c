// pod-init: pid 1 of a pod whose containers share a pid namespace.
//
// It is there so that the namespace lives, and to be the parent of orphans. It never runs for them:
// with SIGCHLD ignored the kernel reaps every child, also one that was a zombie when it came here.
// It ends on SIGTERM or SIGINT, and everything in the namespace with it.
//
// It is started with the signals blocked, without capabilities, in an empty root, under a filter
// that lets it make the calls below and no others (libsandbox/linux/confine.c).
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>

int main(int argc, char **argv)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    signal(SIGCHLD, SIG_IGN);

    // Containers see this process; they have no business in its /proc directory.
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    // It was executed by descriptor, so its name would be a number.
    if (argc > 0) {
        const char *slash = strrchr(argv[0], '/');
        prctl(PR_SET_NAME, slash ? slash + 1 : argv[0], 0, 0, 0);
    }
    while (sigwaitinfo(&ends, NULL) < 0)
        ; // stopped and continued
    return 0;
}
