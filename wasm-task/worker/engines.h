// The engines that are installed: modules (engine/engine.h) beside this program, or where
// KUASAR_LIBDIR says.
#ifndef WASM_WORKER_ENGINES_H
#define WASM_WORKER_ENGINES_H

#include "engine/engine.h"

// How much of an engine a process needs.
enum engine_extent {
    // All of it.
    ENGINE_WHOLE,
    // What runs code that is there. Its compiler, which most of the time and of the memory of
    // loading an engine may go to, may be missing (engine/wasmedge/without-compiler):
    // compile_apart is not for this one.
    ENGINE_LEAN,
};

// Loads one, for as long as the process lives; each but once. UNIMPLEMENTED: it is not
// installed; names the remedy.
const struct engine_ops *engines_load(const char *name, enum engine_extent extent,
                                      struct error *err);
// Prints them, "NAME VERSION" a line. Returns an exit code.
int engines_print(void);

#endif
