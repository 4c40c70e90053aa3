// Whose the program is, by its name.
#include "shim/family.h"

#include <criterion/criterion.h>
#include <string.h>

static void expect(const char *program, const char *runtime, const char *dir)
{
    const struct family *f = family_of(program);
    cr_expect(strcmp(f->runtime, runtime) == 0, "%s: %s", program, f->runtime);
    cr_expect(strcmp(f->dir, dir) == 0, "%s: %s", program, f->dir);
    cr_expect(strncmp(f->task_socket, dir, strlen(dir)) == 0, "%s: %s", program, f->task_socket);
}

Test(family, every_name)
{
    expect("containerd-shim-kuasar-runc-v1", "kuasar-runc", "/run/kuasar-runc");
    expect("containerd-shim-kuasar-runc-v2", "kuasar-runc", "/run/kuasar-runc");
    expect("containerd-shim-kuasar-wasm-v1", "kuasar-wasm", "/run/kuasar-wasm");
    expect("containerd-shim-kuasar-wasm-v2", "kuasar-wasm", "/run/kuasar-wasm");
    expect("containerd-shim-kuasar-wasmtime-v2", "kuasar-wasmtime", "/run/kuasar-wasm");
    expect("containerd-shim-kuasar-wasmedge-v1", "kuasar-wasmedge", "/run/kuasar-wasm");
}

Test(family, another_name_is_the_runc_kinds)
{
    static const char *const names[] = {"",
                                        "x",
                                        "containerd-shim-",
                                        "containerd-shim-kuasar-wasm",
                                        "containerd-shim-kuasar-wasm-v3",
                                        "containerd-shim-kuasar-wasmer-v2",
                                        "shim-kuasar-wasm-v2x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect(names[i], "kuasar-runc", "/run/kuasar-runc");
}
