// What every task server's main does: options, one instance, recovery of what a dead predecessor
// left, listening, a graceful end. A main fills a `struct task_daemon` and returns
// task_daemon_main().
//
// One process serves containerd.task.v3.Task and containerd.task.v2.Task (ttrpc) on a unix socket
// for every pod of the runtime handler. One instance per directory: a second one says so and ends
// with 1.
//
// START  What a dead predecessor left behind is ended and removed first: containerd has already
// given up those containers. Then the socket appears and the service manager is told READY=1.
//
// END  The containers of a task server that ends are dead to containerd (exit code 255). So SIGTERM
// and SIGINT end it at once only if it has no container. Otherwise it says how many run, takes no
// new ones, and ends when the last one has been deleted; a second signal ends it at once and gives
// the containers up (its successor kills what is left of them). SIGHUP does nothing.
//
// FILES  DIR/task.sock (--listen), DIR/task-metrics.sock, DIR/task.lock,
// DIR/tasks/NAMESPACE/ID.json (journal), DIR/quarantine (records that could not be read),
// DIR/console, DIR/sandboxes/ID/pod.json (written by the sandboxer).
#ifndef TASK_DAEMON_H
#define TASK_DAEMON_H

#include "task/ops.h"
#include "task/settings.h"

struct task_daemon {
    const char *name;    // "runc-task"
    const char *summary; // what it serves, for --help
    const char *version; // as --version prints it after "Version: "
    const char *dir;     // defaults of the options
    const char *config;
    const struct config_table *more; // keys of this kind alone; NULL: none
    const char *shim;                // the stub that is looked for beside our own program
    // What the kind itself wants of the configuration, which has been read. 0, or -1 with a text
    // that names the key. NULL: nothing.
    int (*check)(const struct settings *settings, struct error *err);
    const struct task_ops *ops;
};

// Exit status: 0 after a requested end or --help/--version, 1 when something failed (said on
// standard error), 2 for wrong usage.
int task_daemon_main(const struct task_daemon *kind, int argc, char **argv);

#endif
