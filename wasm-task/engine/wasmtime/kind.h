// Inside of the Wasmtime engine: the two kinds of program, core modules and components.
#ifndef WASM_ENGINE_WASMTIME_KIND_H
#define WASM_ENGINE_WASMTIME_KIND_H

#include <wasmtime.h>

#include "engine/engine.h"

struct kind_ops;

struct loaded {
    const struct kind_ops *kind;
    wasm_engine_t *engine;
    wasmtime_store_t *store; // from `link` on: with WASI, and the limit of memory
    union {
        struct {
            wasmtime_module_t *code;
            wasmtime_instance_pre_t *linked;
        } module;
        struct {
            wasmtime_component_t *code;
            wasmtime_component_linker_t *linker;
            wasmtime_component_export_index_t *run;
        } component;
    };
};

// As those of struct engine_ops, but that errors of the first three are Wasmtime's, for the caller
// to delete.
struct kind_ops {
    const char *name;
    // An error too for code of the other kind.
    wasmtime_error_t *(*restore)(struct loaded *l, const char *path);
    wasmtime_error_t *(*compile)(struct loaded *l, const void *bytes, size_t len);
    wasmtime_error_t *(*serialize)(const struct loaded *l, wasm_byte_vec_t *ret);
    int (*link)(struct loaded *l, struct error *err);
    int (*run)(struct loaded *l);
};

extern const struct kind_ops kind_module, kind_component;

// Sets `err` to "WHAT: the text of e" and deletes e. Returns -1.
int kind_failed(wasmtime_error_t *e, enum status status, const char *what, struct error *err);

// The exit code for how a run ended: the program's own if it called exit, or 128 + a signal, with
// the text on standard error.
int kind_exit_by_error(const wasmtime_error_t *e);
int kind_exit_by_trap(const wasm_trap_t *trap);

#endif
