// Which engine runs the modules of a container.
#ifndef WASM_CHOOSE_H
#define WASM_CHOOSE_H

#include "base/error.h"

// Annotation of the pod, or of the container, that names one.
#define CHOOSE_ANNOTATION "io.kuasar.wasm.engine"

// The runtime type of the pod's class (NULL: unknown) decides if it names an engine, as
// io.containerd.kuasar-wasmtime.v2 does; then the annotation (NULL: none) must not name another.
// With any other type the annotation decides, else `fallback`. A constant string; NULL with
// INVALID_ARGUMENT for a name that is no engine's.
const char *choose_engine(const char *runtime_type, const char *annotation, const char *fallback,
                          struct error *err);

#endif
