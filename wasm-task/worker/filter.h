// System calls that are left to a worker, in two steps, of which none can be taken back. All
// threads are bound. Meant for a process that has given up everything else already (no_new_privs
// is needed). Not for native programs, which are not the engine's.
//
// linux.seccomp of the spec is a list for native programs. It is not read: what is left here is
// less than any list that a program could run with.
#ifndef WASM_WORKER_FILTER_H
#define WASM_WORKER_FILTER_H

#include "base/error.h"

// Before the engine looks at the module, or at code that others have compiled: what follows, code
// that is made, and the way to the second step. 0 or -1.
int filter_before_compile(struct error *err);
// Behind that, before the module runs: what the host functions of WASI and the engine's threads
// need. No memory becomes executable any more. 0 or -1.
int filter_before_run(struct error *err);

#endif
