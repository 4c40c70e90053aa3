// The command line of runc-task.
#ifndef RUNC_TASK_OPTIONS_H
#define RUNC_TASK_OPTIONS_H

#include "base/log.h"

#define DEFAULT_CONFIG KUASAR_SYSCONFDIR "/runc.toml"

// Strings are borrowed from argv.
struct options {
    const char *dir, *listen, *config, *events;
    enum log_level level;
};

// Fills *ret with the defaults and argv. Returns -1 to go on, else the exit status: 0 after
// --version and --help, 2 for bad usage (told on standard error).
int options_read(int argc, char **argv, struct options *ret);

#endif
