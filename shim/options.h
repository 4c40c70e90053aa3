// The shim's command line, as containerd writes it (Go's flag package): one or two dashes, the
// value behind "=" or as the next argument, the action last.
#ifndef SHIM_OPTIONS_H
#define SHIM_OPTIONS_H

#include <stdbool.h>

enum shim_action { SHIM_NONE, SHIM_START, SHIM_DELETE, SHIM_INFO, SHIM_VERSION, SHIM_HELP };

// Strings are borrowed from argv; "" if not given.
struct shim_options {
    enum shim_action action;
    const char *name_space, *id, *bundle;
    const char *unknown; // an argument that is neither a flag nor an action; NULL
};

// Reads the command line. Flags that we do not know are skipped, with their value if they have one:
// a newer containerd may send more, and `delete` must not fail over it.
void shim_options_parse(struct shim_options *o, int argc, char *const argv[]);

#endif
