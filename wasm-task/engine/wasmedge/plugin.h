// Plugins of WasmEdge: native code that the node's operator has installed and allowed.
#ifndef WASM_ENGINE_WASMEDGE_PLUGIN_H
#define WASM_ENGINE_WASMEDGE_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>

#include <wasmedge/wasmedge.h>

#include "base/error.h"

// Most modules that one program imports from plugins.
#define PLUGIN_MODULES_MAX 32

// Modules that plugins have made for a program.
struct plugin_modules {
    WasmEdge_ModuleInstanceContext *list[PLUGIN_MODULES_MAX];
    size_t n;
};

// Loads all that lie where WasmEdge looks for them: in the directory "wasmedge" beside its library
// (if that is the system's). Their constructors run. One that cannot be loaded is passed over.
void plugin_load_all(void);
// Has the plugins make the modules that `program` imports from, but the one named `but` (WASI's).
// With nn_preload (NULL: none; preload.h) WASI-NN's gets that model. FAILED_PRECONDITION if there
// is no such plugin or no such model. 0 or -1.
int plugin_make(struct plugin_modules *m, const WasmEdge_ASTModuleContext *program,
                WasmEdge_String but, const char *nn_preload, struct error *err);
// The one of that name; NULL: there is none.
const WasmEdge_ModuleInstanceContext *plugin_find(const struct plugin_modules *m,
                                                  WasmEdge_String name);
// For who imports what nobody has: puts what is to be done about it behind the text of *err.
// Returns -1.
int plugin_advise(struct error *err);

#endif
