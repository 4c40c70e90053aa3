// What the task server and a worker say to each other.
//
// The worker first tells which module it has found (struct worker_module), as long as it is nothing
// but our program, on a socket (SOCK_SEQPACKET), whose other end learns from the kernel who it is;
// both close that then. Then it becomes the container, compiles what was in no cache, and says
// whether it is ready (struct worker_ready) in a pipe. The server answers WORKER_RUN in another one
// when the module is to run; the end of that pipe means that it is not. (An engine whose compiler
// writes files compiles before the worker becomes the container, in a process that is less:
// apart.h.)
//
// From the compiler on the worker may be an enemy's. So no socket is between the two then, by which
// he could send descriptors that cost whoever gets them: what he can write is one bounded message.
// Compiled code is in a file of the server's making, which grows no more; once it is sealed against
// writing it is kept for others, under the name of that module alone, whatever the compiler was
// talked into.
#ifndef WASM_WORKER_H
#define WASM_WORKER_H

#include <stdint.h>

#include "base/error.h"

// Descriptors of a worker, behind the standard ones.
enum worker_fd {
    WORKER_CONTROL = 3, // the socket
    WORKER_READY,       // pipe: one struct worker_ready, which is less than PIPE_BUF
    WORKER_GO,          // pipe: WORKER_RUN
    WORKER_CODE,        // memfd of WORKER_CODE_MAX bytes, to be cut to what it holds and sealed
    WORKER_EXTRA,       // an exec: memfd with the OCI process, and behind it a pidfd of init
    WORKER_FDS = WORKER_EXTRA + 2,
};
#define WORKER_RUN 'R'
// Largest module, and largest code that is kept: of those that others have some are to remain.
#define WORKER_MODULE_MAX (256u * 1024 * 1024)
#define WORKER_CODE_MAX   (256u * 1024 * 1024)

// Name of a module's code in the cache: "<engine>-<version>-<options>-<processor>-<SHA-256 of the
// module>"; options are how the engine compiles, and the processor is known by its features
// (processor.h).
#define WORKER_NAME_MAX 160

struct worker_module {
    uint32_t cached;            // its code was found
    char name[WORKER_NAME_MAX]; // "": a native program (execs alone)
};

struct worker_ready {
    uint32_t code;    // compiled code is in WORKER_CODE
    struct error err; // STATUS_OK: ready
};

#endif
