// Wasmtime by its C API: what modules and components have in common.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <wasi.h>

#include "base/cleanup.h"
#include "kind.h"

static const char *version(void)
{
    return WASMTIME_VERSION;
}

int kind_failed(wasmtime_error_t *e, enum status status, const char *what, struct error *err)
{
    wasm_byte_vec_t text;
    wasmtime_error_message(e, &text);
    error_set(err, status, "%s: %.*s", what, (int)text.size, text.data);
    wasm_byte_vec_delete(&text);
    wasmtime_error_delete(e);
    return -1;
}

// Cranelift's level of optimization; all else is as this version has it by itself. What is set here
// and changes code must be told here, too: code that is compiled in another way has another name.
#define OPTIONS "speed"

static wasm_engine_t *make_engine(void)
{
    wasm_config_t *config = wasm_config_new();
    wasmtime_config_cranelift_flag_set(config, "opt_level", OPTIONS);
    wasmtime_config_parallel_compilation_set(config, false);
    return wasm_engine_new_with_config(config);
}

// ---- what the program sees ----------------------------------------------------------------------

static size_t count(char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    return n;
}

static bool set_env(wasi_config_t *wasi, char *const *env)
{
    size_t n = count(env);
    char *text = NULL;
    const char **names = calloc(n + 1, sizeof(*names)), **values = calloc(n + 1, sizeof(*values));
    bool good = names && values;
    for (size_t i = 0; good && i < n; i++) {
        text = strdup(env[i]);
        char *equals = text ? strchr(text, '=') : NULL;
        good = text;
        if (equals)
            *equals++ = '\0';
        names[i] = text;
        values[i] = equals ? equals : "";
    }
    good = good && wasi_config_set_env(wasi, n, names, values);
    for (size_t i = 0; names && i < n; i++)
        free((void *)names[i]);
    free(names);
    free(values);
    return good;
}

static int set_wasi(struct loaded *l, const struct engine_program *p, struct error *err)
{
    wasmtime_context_t *context = wasmtime_store_context(l->store);
    wasi_config_t *wasi = wasi_config_new();
    wasi_config_inherit_stdin(wasi);
    wasi_config_inherit_stdout(wasi);
    wasi_config_inherit_stderr(wasi);
    wasi_config_inherit_network(wasi);
    wasi_config_allow_ip_name_lookup(wasi, true);
    bool good = wasi_config_set_argv(wasi, count(p->args), (const char **)p->args) &&
                set_env(wasi, p->env) && wasi_config_preopen_dir(wasi, "/", "/", true);
    if (!good) {
        wasi_config_delete(wasi);
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "arguments or environment: text that is not UTF-8");
    }
    wasmtime_error_t *e = wasmtime_context_set_wasi(context, wasi);
    return e ? kind_failed(e, STATUS_INTERNAL, "WASI", err) : 0;
}

// ---- loading -----------------------------------------------------------------------------------

static struct loaded *loaded_new(const struct kind_ops *kind)
{
    struct loaded *l = calloc(1, sizeof(*l));
    if (l) {
        l->kind = kind;
        l->engine = make_engine();
    }
    return l;
}

// Compiled code says which kind it is, but to those alone who load it.
static void *restore(const char *path)
{
    static const struct kind_ops *const kinds[] = {&kind_module, &kind_component};
    struct loaded *l = loaded_new(NULL);
    for (size_t i = 0; l && i < ARRAY_SIZE(kinds); i++) {
        wasmtime_error_t *e = kinds[i]->restore(l, path);
        if (!e) {
            l->kind = kinds[i];
            return l;
        }
        wasmtime_error_delete(e);
    }
    return NULL;
}

// The header's last two bytes, 0 for a module and 1 for a component (the component model's binary
// format), are what the two have not in common.
static const struct kind_ops *kind_of(const void *bytes, size_t len)
{
    static const char layer[] = {1, 0};
    return len >= 8 && memcmp((const char *)bytes + 6, layer, sizeof(layer)) == 0 ? &kind_component
                                                                                  : &kind_module;
}

static void *compile(const void *bytes, size_t len, struct error *err)
{
    char what[64];
    struct loaded *l = loaded_new(kind_of(bytes, len));
    if (!l) {
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return NULL;
    }
    wasmtime_error_t *e = l->kind->compile(l, bytes, len);
    snprintf(what, sizeof(what), "no WebAssembly %s", l->kind->name);
    if (e)
        kind_failed(e, STATUS_INVALID_ARGUMENT, what, err);
    return e ? NULL : l;
}

static int save(void *program, int fd)
{
    const struct loaded *l = program;
    wasm_byte_vec_t code;
    wasmtime_error_t *e = l->kind->serialize(l, &code);
    if (e) {
        wasmtime_error_delete(e);
        return -EINVAL;
    }
    int r = 0;
    for (size_t done = 0; done < code.size && r == 0;) {
        ssize_t n = write(fd, code.data + done, code.size - done);
        r = n < 0 ? -errno : 0;
        done += n < 0 ? 0 : (size_t)n;
    }
    wasm_byte_vec_delete(&code);
    return r;
}

// ---- linking and running ------------------------------------------------------------------------

static int link_program(void *program, const struct engine_program *p, struct error *err)
{
    struct loaded *l = program;
    l->store = wasmtime_store_new(l->engine, NULL, NULL);
    if (p->memory_max)
        wasmtime_store_limiter(l->store, (int64_t)p->memory_max, -1, -1, -1, -1);
    return set_wasi(l, p, err) < 0 ? -1 : l->kind->link(l, err);
}

static int run(void *program)
{
    struct loaded *l = program;
    return l->kind->run(l);
}

// ---- traps --------------------------------------------------------------------------------------

// Others are SIGABRT.
static const struct {
    wasmtime_trap_code_t code;
    int signal;
} signals[] = {
    {WASMTIME_TRAP_CODE_STACK_OVERFLOW, SIGSEGV},
    {WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS, SIGSEGV},
    {WASMTIME_TRAP_CODE_TABLE_OUT_OF_BOUNDS, SIGSEGV},
    {WASMTIME_TRAP_CODE_INTEGER_OVERFLOW, SIGFPE},
    {WASMTIME_TRAP_CODE_INTEGER_DIVISION_BY_ZERO, SIGFPE},
    {WASMTIME_TRAP_CODE_BAD_CONVERSION_TO_INTEGER, SIGFPE},
    {WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED, SIGILL},
};

static int signal_of(wasmtime_trap_code_t code)
{
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        if (signals[i].code == code)
            return signals[i].signal;
    }
    return SIGABRT;
}

int kind_exit_by_trap(const wasm_trap_t *trap)
{
    wasm_byte_vec_t text;
    wasmtime_trap_code_t code = 0;
    bool known = wasmtime_trap_code(trap, &code);
    wasm_trap_message(trap, &text);
    fprintf(stderr, "%.*s\n", (int)text.size, text.data);
    return 128 + (known ? signal_of(code) : SIGABRT);
}

static bool is_about(const wasm_byte_vec_t *text, wasmtime_trap_code_t code)
{
    wasm_byte_vec_t about;
    wasm_trap_t *trap = wasmtime_trap_new_code(code);
    wasm_trap_message(trap, &about); // ends with a zero
    bool found = memmem(text->data, text->size, about.data, strnlen(about.data, about.size));
    wasm_byte_vec_delete(&about);
    wasm_trap_delete(trap);
    return found;
}

// An error that is a trap tells its code in its text alone.
static int signal_in(const wasm_byte_vec_t *text)
{
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        if (is_about(text, signals[i].code))
            return signals[i].signal;
    }
    return SIGABRT;
}

int kind_exit_by_error(const wasmtime_error_t *e)
{
    int code = 0;
    wasm_byte_vec_t text;
    if (wasmtime_error_exit_status(e, &code))
        return code & 0xff;
    wasmtime_error_message(e, &text);
    fprintf(stderr, "%.*s\n", (int)text.size, text.data);
    return 128 + signal_in(&text);
}

static const struct engine_ops wasmtime = {
    .built_as = ENGINE_BUILT_AS,
    .name = "wasmtime",
    .version = version,
    .options = OPTIONS,
    .restore = restore,
    .compile = compile,
    .save = save,
    .link = link_program,
    .run = run,
};

const struct engine_ops *const kuasar_engine = &wasmtime;
