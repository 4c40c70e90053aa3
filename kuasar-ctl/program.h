// Running another program and waiting for it, with a deadline.
#ifndef CTL_PROGRAM_H
#define CTL_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl/ctl.h"

// $PATH of what is run here, and of a service manager's services.
#define PROGRAM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct program {
    uint32_t code;   // as a shell shows it
    bool timed_out;  // killed by us
    char *out, *err; // owned; never NULL, at most COMMAND_OUTPUT_MAX
    bool cut;        // it printed more
};

// `argv` ends with NULL; argv[0] is a path. The environment is PATH and LANG alone. Returns 0, or
// -1 if it could not be run. program_done in any case.
int program_run(const struct ctl *ctl, const char *const *argv, double timeout, struct program *ret,
                struct error *err);
void program_done(struct program *p);

// The last line of a text that says something, borrowed from and cut in it.
const char *program_last_line(char *text);

#endif
