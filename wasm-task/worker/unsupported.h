// What a spec may ask for and a WebAssembly container does not have. Nothing of it is passed over
// in silence: docs/decisions/wasm-worker.md says which fields are refused, and which need nothing
// done.
#ifndef WASM_WORKER_UNSUPPORTED_H
#define WASM_WORKER_UNSUPPORTED_H

#include "base/error.h"
#include "base/json.h"

// Of a whole spec (without its process). UNIMPLEMENTED names the field and the remedy. 0 or -1.
int unsupported_check(json_object *spec, struct error *err);
// Of LinuxResources, the spec's or an update's. NULL: none.
int unsupported_check_resources(json_object *resources, struct error *err);
// Of a process, a container's or an exec's.
int unsupported_check_process(json_object *process, struct error *err);

#endif
