// The command line: every option of every command in one table. A command names those that it
// takes.
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"

struct command_entry;

struct options {
    bool help, version;
    // For every command.
    bool json;
    const char *kind;    // only this one; NULL: all
    const char *run_dir; // where the state directories are
    double timeout;      // seconds that a daemon has to answer
    // For some.
    bool long_ids;
    bool recent;
    bool no_logs;
    bool quiet;
    const char *ns;
    const char *output;
    const char *root;
    const char *containerd_config;
    // What is left.
    const char *arguments[2];
    int n_arguments;
};

// Longest --timeout, in seconds.
#define OPTIONS_TIMEOUT_MAX 3600

// Takes `argv` behind the command's name (argv[0] is the name). INVALID_ARGUMENT that names the
// argument and the remedy. Returns 0 or -1. Strings are borrowed.
int options_parse(const struct command_entry *command, int argc, char **argv, struct options *ret,
                  struct error *err);
// Usage of one command.
void options_help(const struct command_entry *command, FILE *out);

#endif
