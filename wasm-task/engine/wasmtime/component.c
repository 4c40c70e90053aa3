// Components: commands for WASI 0.2 (wasi:cli/run).
#include <string.h>

#include "kind.h"

// Wasmtime finds any 0.2 by these names (semantic versions).
#define RUN     "wasi:cli/run@0.2.0"
#define HANDLER "wasi:http/incoming-handler@0.2.0"

static wasmtime_error_t *restore(struct loaded *l, const char *path)
{
    return wasmtime_component_deserialize_file(l->engine, path, &l->component.code);
}

static wasmtime_error_t *compile(struct loaded *l, const void *bytes, size_t len)
{
    return wasmtime_component_new(l->engine, bytes, len, &l->component.code);
}

static wasmtime_error_t *serialize(const struct loaded *l, wasm_byte_vec_t *ret)
{
    return wasmtime_component_serialize(l->component.code, ret);
}

// ---- linking ------------------------------------------------------------------------------------

// The index of what an interface exports, or NULL.
static wasmtime_component_export_index_t *find_export(const wasmtime_component_t *code,
                                                      const char *interface, const char *name)
{
    wasmtime_component_export_index_t *in =
        wasmtime_component_get_export_index(code, NULL, interface, strlen(interface));
    wasmtime_component_export_index_t *found =
        in ? wasmtime_component_get_export_index(code, in, name, strlen(name)) : NULL;
    if (in)
        wasmtime_component_export_index_delete(in);
    return found;
}

static int find_run(struct loaded *l, struct error *err)
{
    l->component.run = find_export(l->component.code, RUN, "run");
    if (l->component.run)
        return 0;
    if (find_export(l->component.code, HANDLER, "handle"))
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "the component answers HTTP requests (wasi:http/incoming-handler), which "
                         "Wasmtime's C API has no way to give it; build a command "
                         "(wasi:cli/command)");
    return error_set(err, STATUS_FAILED_PRECONDITION,
                     "no command: the component exports no wasi:cli/run of version 0.2; build a "
                     "program, not a library");
}

// The C API has no instantiate_pre for components, and an instantiation runs code of the component.
// So this is one in a store that may hold no instance: it fails at the first one, which comes after
// imports and their types are looked at, and before any code.
static int check_imports(const struct loaded *l, struct error *err)
{
    static const char full[] = "resource limit exceeded";
    wasmtime_component_instance_t instance;
    wasm_byte_vec_t text;
    wasmtime_store_t *store = wasmtime_store_new(l->engine, NULL, NULL);
    wasmtime_store_limiter(store, -1, -1, 0, -1, -1);
    wasmtime_error_t *e = wasmtime_component_linker_instantiate(
        l->component.linker, wasmtime_store_context(store), l->component.code, &instance);
    wasmtime_store_delete(store);
    if (!e) // it has no core instance
        return 0;
    wasmtime_error_message(e, &text);
    bool good = memmem(text.data, text.size, full, strlen(full));
    wasm_byte_vec_delete(&text);
    if (!good)
        return kind_failed(e, STATUS_FAILED_PRECONDITION, "imports that nobody offers", err);
    wasmtime_error_delete(e);
    return 0;
}

static int link_component(struct loaded *l, struct error *err)
{
    if (find_run(l, err) < 0)
        return -1;
    l->component.linker = wasmtime_component_linker_new(l->engine);
    wasmtime_error_t *e = wasmtime_component_linker_add_wasip2(l->component.linker);
    if (!e)
        e = wasmtime_component_linker_add_wasi_http(l->component.linker);
    if (e)
        return kind_failed(e, STATUS_INTERNAL, "WASI", err);
    wasmtime_context_set_wasi_http(wasmtime_store_context(l->store));
    return check_imports(l, err);
}

// ---- running ------------------------------------------------------------------------------------

static int run(struct loaded *l)
{
    wasmtime_context_t *context = wasmtime_store_context(l->store);
    wasmtime_component_instance_t instance;
    wasmtime_component_func_t func;
    wasmtime_component_val_t result = {.kind = WASMTIME_COMPONENT_BOOL};
    wasmtime_error_t *e = wasmtime_component_linker_instantiate(l->component.linker, context,
                                                                l->component.code, &instance);
    if (!e && wasmtime_component_instance_get_func(&instance, context, l->component.run, &func))
        e = wasmtime_component_func_call(&func, context, NULL, 0, &result, 1);
    if (e)
        return kind_exit_by_error(e);
    return result.kind == WASMTIME_COMPONENT_RESULT && result.of.result.is_ok ? 0 : 1;
}

const struct kind_ops kind_component = {
    .name = "component",
    .restore = restore,
    .compile = compile,
    .serialize = serialize,
    .link = link_component,
    .run = run,
};
