// wasm-task: serve containerd's Task API for the WebAssembly containers of a node.
#include "ops.h"
#include "task/daemon.h"

static const struct task_daemon wasm_task = {
    .name = "wasm-task",
    .summary = "Serve containerd's Task API for the WebAssembly containers of this node.",
    .version = KUASAR_VERSION "-" KUASAR_COMMIT,
    .dir = "/run/kuasar-wasm",
    .config = KUASAR_SYSCONFDIR "/wasm.toml",
    .shim = "containerd-shim-kuasar-wasm-v1",
    .ops = &task_wasm_ops,
};

int main(int argc, char **argv)
{
    return task_daemon_main(&wasm_task, argc, argv);
}
