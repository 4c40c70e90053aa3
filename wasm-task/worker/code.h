// Compiled code: its name, where it is found, and how it is handed on.
#ifndef WASM_WORKER_CODE_H
#define WASM_WORKER_CODE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/engine.h"
#include "worker.h"

// The name of a module's code (worker.h). All that the code depends on is in it, whatever the
// engine finds out by itself: another version or configuration of it may have filled the cache, and
// the disk may have been another machine's.
void code_name(const struct engine_ops *engine, const void *module, size_t len,
               char ret[WORKER_NAME_MAX]);
// The directory with a module's code (cache.h), which only root can have written; -1: none. It is a
// mount that is nowhere but behind this descriptor: out of it no ".." leads, and what is opened
// there can be written by nobody, not even by who has taken over the process and is root by name.
int code_find(const char *cache, const char *name);
// Loads it: what others have compiled, so without rights, as compiling is done. NULL: it is to be
// compiled. The directory becomes the process's working directory.
void *code_load(const struct engine_ops *engine, int dir);
// Leaves what the engine has compiled in the server's memfd, which nobody can write any more then.
// False: it is not to be kept.
bool code_leave(const struct engine_ops *engine, void *loaded, int file);
// The last step of that: a memfd is cut to where it has been written to, and sealed. False: it is
// not to be kept, and not to be loaded.
bool code_seal(int file);

#endif
