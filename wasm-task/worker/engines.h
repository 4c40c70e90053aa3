// The engines that are installed: modules (engine/engine.h) beside this program, or where
// KUASAR_LIBDIR says.
#ifndef WASM_WORKER_ENGINES_H
#define WASM_WORKER_ENGINES_H

#include "engine/engine.h"

// How much of an engine a process needs.
enum engine_extent {
    // All of it.
    ENGINE_WHOLE,
    // What runs code that is there. An engine with compile_apart is not to be asked for it then:
    // its
    // compiler may not be there (engine/without-compiler), which most of the time and of the memory
    // of loading it goes to.
    ENGINE_LEAN,
};

// Loads one, for as long as the process lives; once in a process. UNIMPLEMENTED: it is not
// installed; names the remedy.
const struct engine_ops *engines_load(const char *name, enum engine_extent extent,
                                      struct error *err);
// Prints them, "NAME VERSION" a line. Returns an exit code.
int engines_print(void);

#endif
