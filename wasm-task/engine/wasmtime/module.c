// Core modules: commands for WASI preview 1.
#include <string.h>
#include <unistd.h>

#include "kind.h"

static wasmtime_error_t *restore(struct loaded *l, const char *path)
{
    return wasmtime_module_deserialize_file(l->engine, path, &l->module.code);
}

static wasmtime_error_t *compile(struct loaded *l, const void *bytes, size_t len)
{
    return wasmtime_module_new(l->engine, bytes, len, &l->module.code);
}

static wasmtime_error_t *serialize(const struct loaded *l, wasm_byte_vec_t *ret)
{
    return wasmtime_module_serialize(l->module.code, ret);
}

// ---- exit ---------------------------------------------------------------------------------------

// Wasmtime's own traps for codes above 125; a process may end with any.
static wasm_trap_t *proc_exit(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args,
                              size_t n_args, wasmtime_val_t *results, size_t n_results)
{
    _exit(args[0].of.i32 & 0xff);
}

static int define_exit(wasmtime_linker_t *linker, struct error *err)
{
    static const char *const modules[] = {"wasi_snapshot_preview1", "wasi_unstable"};
    static const char name[] = "proc_exit";
    wasm_functype_t *type = wasm_functype_new_1_0(wasm_valtype_new_i32());
    wasmtime_error_t *e = NULL;
    wasmtime_linker_allow_shadowing(linker, true);
    for (size_t i = 0; i < 2 && !e; i++)
        e = wasmtime_linker_define_func(linker, modules[i], strlen(modules[i]), name, strlen(name),
                                        type, proc_exit, NULL, NULL);
    wasmtime_linker_allow_shadowing(linker, false);
    wasm_functype_delete(type);
    return e ? kind_failed(e, STATUS_INTERNAL, "WASI", err) : 0;
}

// ---- linking ------------------------------------------------------------------------------------

// What a program must export (WASI's application ABI: a command).
static int check_start(const struct loaded *l, struct error *err)
{
    static const char name[] = "_start";
    wasm_exporttype_vec_t exports;
    bool found = false;
    wasmtime_module_exports(l->module.code, &exports);
    for (size_t i = 0; i < exports.size && !found; i++) {
        const wasm_name_t *n = wasm_exporttype_name(exports.data[i]);
        found = n->size == strlen(name) && memcmp(n->data, name, n->size) == 0 &&
                wasm_externtype_kind(wasm_exporttype_type(exports.data[i])) == WASM_EXTERN_FUNC;
    }
    wasm_exporttype_vec_delete(&exports);
    if (!found)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "no command: the module exports no function %s; build a program, not a "
                         "library",
                         name);
    return 0;
}

static int link_module(struct loaded *l, struct error *err)
{
    wasmtime_linker_t *linker = wasmtime_linker_new(l->engine);
    wasmtime_error_t *e = wasmtime_linker_define_wasi(linker);
    if (e)
        return kind_failed(e, STATUS_INTERNAL, "WASI", err);
    if (define_exit(linker, err) < 0)
        return -1;
    e = wasmtime_linker_instantiate_pre(linker, l->module.code, &l->module.linked);
    if (e)
        return kind_failed(e, STATUS_FAILED_PRECONDITION, "imports that nobody offers", err);
    return check_start(l, err);
}

// ---- running ------------------------------------------------------------------------------------

static int run(struct loaded *l)
{
    wasmtime_context_t *context = wasmtime_store_context(l->store);
    wasmtime_instance_t instance;
    wasmtime_extern_t start;
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *e =
        wasmtime_instance_pre_instantiate(l->module.linked, context, &instance, &trap);
    if (!e && !trap && wasmtime_instance_export_get(context, &instance, "_start", 6, &start))
        e = wasmtime_func_call(context, &start.of.func, NULL, 0, NULL, 0, &trap);
    return e ? kind_exit_by_error(e) : trap ? kind_exit_by_trap(trap) : 0;
}

const struct kind_ops kind_module = {
    .name = "module",
    .restore = restore,
    .compile = compile,
    .serialize = serialize,
    .link = link_module,
    .run = run,
};
