// Compiling in a process of its own, for engines whose compiler writes files.
#ifndef WASM_WORKER_APART_H
#define WASM_WORKER_APART_H

#include <stddef.h>
#include <sys/types.h>

#include "engine/engine.h"
#include "plan.h"

// A worker's side: executes this program again, to compile the module in the file `module`
// (apart_main). `users` is as for enter_identity, and stays open. `code` is the server's memfd
// (worker.h): 1: the engine's code is in it, and nobody can write it any more; 0: this module is to
// be compiled as others are. Or -1. Waits for it, however long that takes. Needs root, and the
// host's files.
int apart_compile(const struct engine_ops *engine, const struct plan *p, int users, int module,
                  int code, struct error *err);
// The other side: `wasm-worker compile NAME VERSION UIDS GIDS`, with the descriptors that
// apart_compile gives it; UIDS and GIDS are plan->ids as id_map_parse reads them, or "". Returns an
// exit code.
int apart_main(char **argv);

// What they are made of, for who has an engine of his own (the unit tests).
//
// In the process that compiles there is the module and nothing else of the container or the host:
// an empty directory is its root, beside standard input, output and error, `code` and `said` no
// other file is open, its namespaces are its own or the container's, as are its user, its limits
// and its cgroup, and of system calls it has what a compiler needs. What comes of it goes to the
// pipe `said`. Needs one thread.
_Noreturn void apart_work(const struct engine_ops *engine, const struct plan *p, int users,
                          const void *module, size_t len, int code, int said);
// Waits for that process, which is a child of ours and the only one, and reads its pipe, whose
// other end we have not. As apart_compile.
int apart_wait(const char *engine, pid_t pid, int said, int code, struct error *err);

#endif
