// Compiled code of modules, kept for the next container of the same module: "<name>/code" in a
// directory of root's alone, a file whose pages all workers share. Each is in a directory of its
// own, which is all of it that a worker shows to the process that loads it: that is an enemy's
// code, perhaps, so it has no rights by then.
#ifndef WASM_CACHE_H
#define WASM_CACHE_H

#include "base/error.h"

// Most bytes and files that are kept; what has not been used for the longest time makes room.
#define CACHE_BYTES_MAX (1024ull * 1024 * 1024)
#define CACHE_FILES_MAX 4096

// Name of the file.
#define CACHE_CODE "code"

// Keeps what is in `code`, a memfd that nobody can write any more (FAILED_PRECONDITION otherwise),
// under `name`. Makes the directory; one that is there must be ours alone, and no link
// (FAILED_PRECONDITION), for whoever can write there can have his code run. Several at a time do
// not disturb each other. Blocks: for a job. 0 or -1.
int cache_keep(const char *dir, const char *name, int code, struct error *err);

#endif
