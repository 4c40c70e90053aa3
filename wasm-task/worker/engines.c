#include "engines.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/instance.h"

static const char *const known[] = {"wasmtime", "wasmedge"};

static int find(const char *name, const char *more, char path[PATH_MAX])
{
    char file[NAME_MAX];
    if (path_format(file, sizeof(file), "engine-%s%s.so", name, more) < 0)
        return -1;
    if (instance_find_beside(file, path))
        return 0;
    return path_format(path, PATH_MAX, KUASAR_LIBDIR "/%s", file) < 0 || access(path, R_OK) < 0 ? -1
                                                                                                : 0;
}

// What there is, for a text.
static const char *installed(char out[64])
{
    char path[PATH_MAX];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (find(known[i], "", path) == 0)
            n += (size_t)snprintf(out + n, 64 - n, "%s%s", n ? ", " : "", known[i]);
    }
    return n ? out : "there is none";
}

// What is loaded takes the place of the compiler's library. If it is not there, or not made for
// this engine, the true one is loaded.
static void *load_lean(const char *name, const char *path)
{
    char lean[PATH_MAX];
    void *instead = find(name, "-lean", lean) < 0 ? NULL : dlopen(lean, RTLD_NOW | RTLD_LOCAL);
    void *module = instead ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (instead && !module)
        dlclose(instead);
    return module;
}

const struct engine_ops *engines_load(const char *name, enum engine_extent extent,
                                      struct error *err)
{
    char path[PATH_MAX], others[64];
    const struct engine_ops *const *engine;
    if (find(name, "", path) < 0) {
        error_set(err, STATUS_UNIMPLEMENTED,
                  "engine %.60s is not installed: there is no " KUASAR_LIBDIR
                  "/engine-%.60s.so; install it, or choose another (%s)",
                  name, name, installed(others));
        return NULL;
    }
    void *module = extent == ENGINE_LEAN ? load_lean(name, path) : NULL;
    if (!module)
        module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    engine = module ? dlsym(module, ENGINE_SYMBOL) : NULL;
    if (!engine) {
        error_set(err, STATUS_FAILED_PRECONDITION, "engine %.60s: %s", name, dlerror());
        return NULL;
    }
    if (strcmp((*engine)->built_as, ENGINE_BUILT_AS) != 0) {
        error_set(err, STATUS_FAILED_PRECONDITION,
                  "%s is of another version (%.60s) than wasm-worker (" ENGINE_BUILT_AS
                  "): install both from one build",
                  path, (*engine)->built_as);
        return NULL;
    }
    return *engine;
}

int engines_print(void)
{
    char path[PATH_MAX];
    int code = 0;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        struct error err = {0};
        if (find(known[i], "", path) < 0)
            continue;
        const struct engine_ops *engine = engines_load(known[i], ENGINE_WHOLE, &err);
        if (engine) {
            printf("%s %s\n", engine->name, engine->version());
        } else {
            fprintf(stderr, "%s\n", err.text);
            code = 1;
        }
    }
    return code;
}
