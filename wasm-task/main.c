// wasm-task: serve containerd's Task API for the WebAssembly containers of a node.
#include "base/cleanup.h"
#include "debug_rootfs.h"
#include "ops.h"
#include "task/daemon.h"

// Workers look again, each time that they need it.
static int check_settings(const struct settings *s, struct error *err)
{
    if (!*s->debug_rootfs)
        return 0;
    _cleanup_close_ int dir = debug_rootfs_open(s->debug_rootfs, err);
    return dir < 0 ? -1 : 0;
}

static const struct task_daemon wasm_task = {
    .name = "wasm-task",
    .summary = "Serve containerd's Task API for the WebAssembly containers of this node.",
    .version = KUASAR_VERSION "-" KUASAR_COMMIT,
    .dir = "/run/kuasar-wasm",
    .config = KUASAR_SYSCONFDIR "/wasm.toml",
    .shim = "containerd-shim-kuasar-wasm-v1",
    .check = check_settings,
    .ops = &task_wasm_ops,
};

int main(int argc, char **argv)
{
    return task_daemon_main(&wasm_task, argc, argv);
}
