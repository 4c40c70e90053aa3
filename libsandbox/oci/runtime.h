// The command line of OCI runtimes (runc, crun and everybody who speaks like runc): arguments in,
// error text out. Runs nothing.
#ifndef OCI_RUNTIME_H
#define OCI_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

// How to call the runtime, from containerd's options or our configuration. Strings are owned.
struct oci_runtime {
    char *binary; // "runc", "crun", or an absolute path
    char *root;   // state directory with the namespace appended: <root>/<namespace>
    bool systemd_cgroup;
    bool no_pivot_root;
    bool no_new_keyring;
};
void oci_runtime_done(struct oci_runtime *rt);

// Checks binary (a name without slashes, or an absolute path; INVALID_ARGUMENT otherwise) and root
// (absolute). Returns 0 or -1.
int oci_runtime_check(const struct oci_runtime *rt, struct error *err);

// Longest argument vector that we build.
#define OCI_ARGV_MAX 32

// An argument vector; the strings are owned by `text` (bounded, no allocation).
struct oci_argv {
    const char *argv[OCI_ARGV_MAX + 1];
    size_t n;
    char text[16384];
    size_t used;
    bool overflow;
};

// <binary> --root R --log <log> --log-format json [--systemd-cgroup], as the start of every
// command.
void oci_argv_begin(struct oci_argv *a, const struct oci_runtime *rt, const char *log_path);
// Appends a formatted argument.
void oci_argv_add(struct oci_argv *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// create --bundle B --pid-file P [--console-socket S] [--no-pivot] [--no-new-keyring] ID
void oci_argv_create(struct oci_argv *a, const struct oci_runtime *rt, const char *bundle,
                     const char *pid_file, const char *console_socket, const char *id);
// exec --process F --pid-file P [--console-socket S] --detach ID
void oci_argv_exec(struct oci_argv *a, const char *process_file, const char *pid_file,
                   const char *console_socket, const char *id);

// Turns a failed command into an error "OCI runtime <command> failed: <text>": the last line of the
// runtime's JSON log with level "error" or "fatal", else the last line of its standard error, else
// its exit code; bounded, printable. `command` is the verb ("create"). Either text may be NULL.
// Status: NOT_FOUND when the text says that the container does not exist, and for "kill" also when
// it says that its process has ended; else UNKNOWN. Returns -1.
int oci_runtime_error(struct error *err, const struct oci_runtime *rt, const char *command,
                      const char *log_text, const char *stderr_text, unsigned exit_code);

#endif
