// A WebAssembly engine, as a worker uses it: one process, one module or component, one run.
#ifndef WASM_ENGINE_H
#define WASM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct engine_program {
    char *const *args, *const *env; // NULL-terminated
    const char *cwd;
    uint64_t memory_max;    // bytes of linear memory; 0: no limit
    const char *nn_preload; // a model for WASI-NN (worker/preload.h); NULL: none
};

// One module (a component is meant too, for engines that have them) in one process, which ends with
// it: nothing is freed. In this order: restore or compile; save, if it was compiled; link; run. All
// of it without privileges, but load_plugins, which comes before everything.
struct engine_ops {
    const char *built_as; // ENGINE_BUILT_AS
    const char *name;
    const char *(*version)(void);
    const char *options; // how it compiles, for the name of compiled code (worker/code.h)
    // NULL, or loads what the node's operator has installed beside this engine and allowed: native
    // code that may offer modules something to import. As root, in the host's file system.
    void (*load_plugins)(void);
    // From a file that `save` has written: code that will run as it is, so from a file that only
    // root can have written; who made the code may have been an enemy all the same. NULL: there is
    // none, or it is of another version or processor.
    void *(*restore)(const char *path);
    // NULL, or how this engine makes code that it can restore if its compiler writes files: writes
    // the code to `fd`, in a process that does nothing else and may write to its root directory.
    // 1; 0 if this module is better off with compile; or -1 with errors as from compile.
    int (*compile_apart)(const void *bytes, size_t len, int fd, struct error *err);
    // restore, in the process that becomes the container, from what compile_apart has written.
    void *(*restore_apart)(int fd);
    // NULL on error: INVALID_ARGUMENT for what is no WebAssembly, UNIMPLEMENTED for what this
    // engine does not have.
    void *(*compile)(const void *bytes, size_t len, struct error *err);
    // Writes compiled code. 0 or a negative errno (there is none to keep: -ENODATA).
    int (*save)(void *module, int fd);
    // Gives it what it imports: the standard input, output and error of this process and its whole
    // file system. None of its code runs. FAILED_PRECONDITION for imports that nobody offers, and
    // for what is no command; UNIMPLEMENTED for another kind of program. 0 or -1.
    int (*link)(void *module, const struct engine_program *program, struct error *err);
    // Runs it. Returns the exit code: the module's own, or 128 + a signal for a trap, whose text
    // has been written to standard error.
    int (*run)(void *module);
};

// An engine is a module (dlopen) that has a `const struct engine_ops *` of this name.
#define ENGINE_SYMBOL "kuasar_engine"
// A worker takes none of another build: nothing between the two is promised.
#define ENGINE_BUILT_AS KUASAR_VERSION "-" KUASAR_COMMIT

extern const struct engine_ops *const kuasar_engine;

#endif
