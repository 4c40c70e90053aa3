// What an OCI runtime can do, as the JSON of its `features` command.
#ifndef SHIM_FEATURES_H
#define SHIM_FEATURES_H

#include "base/buf.h"
#include "base/error.h"

// Longest output of `features`.
#define FEATURES_SIZE_MAX (256u * 1024)
// How long the runtime may take, in seconds.
#define FEATURES_TIMEOUT 3

// Appends the features of `engine` (a name in $PATH or an absolute path) to `out`, always: from the
// cache in `dir` if the program file is the one that was asked, else from the program itself, else
// those that every runtime has. Returns 0, or -1 when they are the last (the reason is in *err), or
// when there is no memory (then `out` is empty).
int features_get(const char *engine, const char *dir, struct buf *out, struct error *err);

#endif
