// A stack that is too deep, which WasmEdge does not look for: the fault comes where its handler has
// no stack to run on, and the kernel would end the process without a word.
#ifndef WASM_ENGINE_WASMEDGE_STACK_H
#define WASM_ENGINE_WASMEDGE_STACK_H

#include <wasmedge/wasmedge.h>

// Before each run, on the thread that runs: from the first call on that the program makes (of WASI,
// or a plugin's), too deep a stack is the text of a trap, and the end with 128 + SIGSEGV. Before
// that call WasmEdge has not set its handler, which gets all other faults.
void stack_watch(WasmEdge_ExecutorContext *executor);

#endif
