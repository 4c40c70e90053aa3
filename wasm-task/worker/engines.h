// The engines that are installed: modules (engine/engine.h) beside this program, or where
// KUASAR_LIBDIR says.
#ifndef WASM_WORKER_ENGINES_H
#define WASM_WORKER_ENGINES_H

#include "engine/engine.h"

// Loads one, for as long as the process lives. UNIMPLEMENTED: it is not installed; names the
// remedy.
const struct engine_ops *engines_load(const char *name, struct error *err);
// Prints them, "NAME VERSION" a line. Returns an exit code.
int engines_print(void);

#endif
