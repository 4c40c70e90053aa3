// io.kuasar.wasm.nn_preload: a model that WasmEdge's plugin for WASI-NN has ready when the module
// asks for it by its alias.
#ifndef WASM_WORKER_PRELOAD_H
#define WASM_WORKER_PRELOAD_H

#include "base/error.h"
#include "base/json.h"

// An annotation of the pod, or a variable of the container's environment.
#define PRELOAD_NAME "io.kuasar.wasm.nn_preload"
// Longest text of it.
#define PRELOAD_MAX 4096

// Finds it: the environment (NULL-terminated) is the container's own, so it goes before the
// annotation. NULL in *ret: there is none. "alias:backend:target:path", where the path may be
// several with ":" between them; INVALID_ARGUMENT names the part that is none. The string is
// borrowed. 0 or -1.
int preload_find(json_object *spec, char *const *env, const char **ret, struct error *err);

#endif
