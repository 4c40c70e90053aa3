// Compiling in a process of its own, for engines whose compiler writes files.
#ifndef WASM_WORKER_APART_H
#define WASM_WORKER_APART_H

#include <stddef.h>

#include "engine/engine.h"
#include "plan.h"

// In that process there is the module and nothing else of the container or the host: an empty
// directory is its root, beside standard input, output and error no other file is open, its
// namespaces are its own or the container's, as are its user, its limits and its cgroup, and of
// system calls it has what a compiler needs. `code` is the server's memfd (worker.h): 1: the
// engine's code is in it, and nobody can write it any more; 0: this module is to be compiled as
// others are. Or -1. Waits for it, however long that takes. Needs root, and one thread.
int apart_compile(const struct engine_ops *engine, const struct plan *p, const void *module,
                  size_t len, int code, struct error *err);

#endif
