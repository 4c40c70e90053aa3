// What every command gets, and what a command is. The exit status of the program:
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <ev.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"
#include "ctl/options.h"
#include "event/reaper.h"

// In the order of their badness; a run that has met several ends with the worst.
enum exit_code {
    EXIT_OK = 0,
    EXIT_WARNING = 1, // done, but not with all that was asked for; doctor: warnings
    EXIT_ERROR = 2,   // not done; doctor: errors
    EXIT_USAGE = 64,  // wrong command line (sysexits.h: EX_USAGE)
};

// Name and version of this program, as --version prints it and daemons report theirs.
#define CTL_VERSION KUASAR_VERSION "-" KUASAR_COMMIT

struct ctl {
    const struct options *options;
    struct ev_loop *loop;
    struct reaper *reaper;
    FILE *out;
};

// A command; one file each (cmd_NAME.c), which exports this and nothing else.
struct command_entry {
    const char *name, *alias; // alias: NULL if it has none
    const char *arguments;    // "[ID]", for the usage
    const char *summary;      // one line
    const char *description;  // the rest of --help
    const char *letters;      // of the options it takes beside the common ones (options.c)
    int min_arguments, max_arguments;
    // Returns an exit_code; an error is in *err if it is EXIT_ERROR or EXIT_USAGE.
    int (*run)(struct ctl *ctl, struct error *err);
};

extern const struct command_entry cmd_list, cmd_show, cmd_events, cmd_dump, cmd_doctor;

#endif
