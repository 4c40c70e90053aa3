// Which engine it is, from class, annotation and configuration.
#include "choose.h"

#include <criterion/criterion.h>
#include <string.h>

#define WASM     "io.containerd.kuasar-wasm.v2"
#define WASMTIME "io.containerd.kuasar-wasmtime.v2"
#define WASMEDGE "io.containerd.kuasar-wasmedge.v1"

Test(choose, what_decides)
{
    static const struct {
        const char *type, *annotation, *fallback, *engine;
    } cases[] = {
        {WASM, NULL, "wasmtime", "wasmtime"},
        {WASM, NULL, "wasmedge", "wasmedge"},
        {WASM, "wasmedge", "wasmtime", "wasmedge"},
        {WASMTIME, NULL, "wasmedge", "wasmtime"},
        {WASMEDGE, NULL, "wasmtime", "wasmedge"},
        {WASMEDGE, "wasmedge", "wasmtime", "wasmedge"},
        {WASMEDGE, NULL, "nonsense", "wasmedge"},
        // Pods of another version, of containerd's own type, of a type that begins alike.
        {NULL, NULL, "wasmtime", "wasmtime"},
        {"", "wasmedge", "wasmtime", "wasmedge"},
        {"io.containerd.runc.v2", NULL, "wasmtime", "wasmtime"},
        {"io.containerd.kuasar-wasmedge2.v2", NULL, "wasmtime", "wasmtime"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        const char *engine =
            choose_engine(cases[i].type, cases[i].annotation, cases[i].fallback, &err);
        cr_expect(engine && strcmp(engine, cases[i].engine) == 0, "case %zu: %s", i,
                  engine ? engine : err.text);
    }
}

static void expect_refused(const char *type, const char *annotation, const char *fallback,
                           const char *says)
{
    struct error err = {0};
    cr_expect_null(choose_engine(type, annotation, fallback, &err));
    cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_expect_not_null(strstr(err.text, says), "%s", err.text);
}

Test(choose, what_is_refused)
{
    expect_refused(WASM, "wasmer", "wasmtime", "annotation io.kuasar.wasm.engine \"wasmer\"");
    expect_refused(WASM, "", "wasmtime", "annotation");
    expect_refused(WASM, "../wasmtime", "wasmtime", "want wasmtime or wasmedge");
    expect_refused(WASMTIME, "wasmedge", "wasmtime", "the pod's runtime class is wasmtime's");
    expect_refused(WASMTIME, "wasmer", "wasmtime", "want wasmtime or wasmedge");
    expect_refused(WASM, NULL, "v8", "engine in the configuration \"v8\"");
}
