#include "shim/family.h"

#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"

#define PREFIX "containerd-shim-"

#define WASM(name)                                                                                 \
    {                                                                                              \
        .runtime = (name), .sandboxer = "wasm-sandboxer", .plugin = "wasm",                        \
        .dir = "/run/kuasar-wasm", .task_socket = "/run/kuasar-wasm/task.sock",                    \
        .config = KUASAR_SYSCONFDIR "/wasm.toml"                                                   \
    }

static const struct family families[] = {
    {.runtime = "kuasar-runc",
     .sandboxer = "runc-sandboxer",
     .plugin = "runc",
     .dir = "/run/kuasar-runc",
     .task_socket = "/run/kuasar-runc/task.sock",
     .config = KUASAR_SYSCONFDIR "/runc.toml"},
    WASM("kuasar-wasm"),
    WASM("kuasar-wasmtime"),
    WASM("kuasar-wasmedge"),
    {.runtime = "kuasar-vmm",
     .sandboxer = "vmm-sandboxer",
     .plugin = "vmm",
     .dir = "/run/kuasar-vmm",
     .task_socket = "/run/kuasar-vmm/task.sock",
     .config = KUASAR_SYSCONFDIR "/vmm.toml"},
};

const struct family *family_of(const char *program)
{
    const char *name = program;
    if (strncmp(program, PREFIX, strlen(PREFIX)) == 0)
        name += strlen(PREFIX);
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        size_t len = strlen(families[i].runtime);
        if (strncmp(name, families[i].runtime, len) == 0 &&
            (strcmp(name + len, "-v1") == 0 || strcmp(name + len, "-v2") == 0))
            return &families[i];
    }
    return &families[0];
}
