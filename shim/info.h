// The answer to `-info`.
#ifndef SHIM_INFO_H
#define SHIM_INFO_H

#include "base/buf.h"
#include "base/error.h"

// Longest standard input that is read, and how long we wait for its end in milliseconds: containerd
// closes it at once, but the caller may be a terminal or have left a pipe open.
#define INFO_INPUT_MAX  (64u * 1024)
#define INFO_INPUT_WAIT 250

// Reads what there is on `fd` within these limits. Errors end the reading, no more.
void info_read_input(int fd, struct buf *input);

// The OCI runtime that the options name (google.protobuf.Any of containerd.runc.v1.Options, or of
// runtimeoptions.v1.Options with runc's keys; empty, or of any other type: no wish). Returns a
// malloc'ed string, NULL for none.
char *info_wanted_engine(const struct buf *input);

// The default OCI runtime of our configuration; NULL: it names none. A file that the daemons would
// refuse must not take the handler's features away: -1 with *err set, and what was read before. The
// caller frees *ret in any case.
int info_configured_engine(const char *path, char **ret, struct error *err);

struct info {
    const char *name; // of the runtime: "io.containerd.kuasar-runc.v2"
    const char *version, *revision;
    const struct buf *features; // JSON
};
// Appends a containerd.types.RuntimeInfo. Returns 0 or a negative errno.
int info_encode(const struct info *info, struct buf *out);

#endif
