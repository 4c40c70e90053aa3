// What every sandboxer's main does: options, one instance, recovery, listening, a graceful end. A
// main fills a `struct sandboxer` and returns sandboxer_main().
#ifndef SANDBOX_DAEMON_H
#define SANDBOX_DAEMON_H

#include "sandbox/sandbox.h"

struct sandboxer {
    const char *name;    // "runc-sandboxer"
    const char *version; // as --version prints it after "Version: "
    const char *dir;     // defaults of the options
    const char *listen;
    const char *config;              // default configuration file; may be absent
    const struct config_table *more; // keys of this kind alone; NULL: none
    const char *task_program; // name of the task server's program, looked for beside our own first
    const char *libexec_dir;  // where the pod's init program is installed
    const struct sandbox_ops *ops;
};

// Exit status: 0 after a requested end or --help/--version, 1 when something failed (said on
// standard error), 2 for wrong usage.
int sandboxer_main(const struct sandboxer *kind, int argc, char **argv);

#endif
