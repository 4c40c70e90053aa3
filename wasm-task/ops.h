// Containers whose entry is WebAssembly, each by a worker (worker/) of its own.
#ifndef WASM_OPS_H
#define WASM_OPS_H

#include "task/ops.h"

extern const struct task_ops task_wasm_ops;

#endif
