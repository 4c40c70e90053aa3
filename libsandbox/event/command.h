// Runs a program and reports its end and its output, without blocking the loop.
#ifndef EVENT_COMMAND_H
#define EVENT_COMMAND_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "event/reaper.h"

// Most of a command's standard error (and captured standard output) that is kept; the rest is read
// and dropped.
#define COMMAND_OUTPUT_MAX (64 * 1024)
// Largest input.
#define COMMAND_INPUT_MAX (1024 * 1024)
// Seconds that a killed program has to disappear.
#define COMMAND_KILL_GRACE 5.0

struct command;

// What to run. Strings are only used during the call.
struct command_spec {
    const char *const *argv; // NULL-terminated; argv[0] is looked up in $PATH
    const char *const *env;  // NULL: inherit, but for what a service manager says to us alone
    const char *cwd;         // NULL: inherit
    int stdin_fd;            // borrowed, dup'ed onto 0; -1: /dev/null
    int stdout_fd;           // onto 1; -1: captured if capture_stdout, else /dev/null
    int stderr_fd;           // onto 2; -1: captured
    bool capture_stdout;
    const void *input; // written to the command's stdin through a pipe (stdin_fd must be -1)
    size_t input_len;  // at most COMMAND_INPUT_MAX
    double timeout;    // seconds after which the process group is killed; 0: none
    const struct rlimit *files; // its limit of open files; NULL: inherit
    bool mortal;                // killed when we end, at whatever moment
    // Called in the child, which has our descriptors still; a negative errno is why it is not
    // started. NULL: nothing.
    int (*enter)(const void *arg);
    const void *enter_arg;
};

struct command_result {
    uint32_t code;   // as exit_info.code
    bool timed_out;  // killed by us
    const char *out; // captured standard output, NUL-terminated
    const char *err; // captured standard error, NUL-terminated
};

typedef void (*command_fn)(const struct command_result *result, void *arg);

// Starts it in a process group of its own, all other descriptors closed, signals at default. When
// it has ended (its output may still be held open by grandchildren; that is not waited for) fn is
// called once from the loop and the command is freed (fn must not use it any more). A program that
// has not ended COMMAND_KILL_GRACE seconds after it was killed (it hangs in the kernel) counts as
// ended. With `input` SIGPIPE must be ignored (event_signals_start does that). Returns NULL on
// failure: NOT_FOUND names the program if it does not exist.
struct command *command_start(struct ev_loop *loop, struct reaper *reaper,
                              const struct command_spec *spec, command_fn fn, void *arg,
                              struct error *err);

// Kills the process group; fn is still called (with the kill's code).
void command_kill(struct command *c);
// Kills the process group and forgets it: fn is not called, the child is reaped silently, c is
// gone.
void command_abandon(struct command *c);
// The process, which is also the number of its process group.
pid_t command_pid(const struct command *c);

#endif
