// wasm-sandboxer: pods as namespaces and cgroups, containers by WebAssembly engines.
#include "sandbox/daemon.h"
#include "sandbox/host_pod.h"

static const struct sandbox_ops wasm_sandbox_ops = {
    .name = "wasm",
    .plan = host_pod_plan,
    .make = host_pod_make,
    .check = host_pod_check,
    .resize = host_pod_resize,
};

static const struct sandboxer wasm_sandboxer = {
    .name = "wasm-sandboxer",
    .version = KUASAR_VERSION "-" KUASAR_COMMIT,
    .dir = "/run/kuasar-wasm",
    .listen = "/run/wasm-sandboxer.sock",
    .config = KUASAR_SYSCONFDIR "/wasm.toml",
    .task_program = "wasm-task",
    .libexec_dir = KUASAR_LIBEXECDIR,
    .ops = &wasm_sandbox_ops,
};

int main(int argc, char **argv)
{
    return sandboxer_main(&wasm_sandboxer, argc, argv);
}
