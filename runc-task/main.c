// runc-task: serve containerd's Task API for the OCI containers of a node.
//
// It drives runc, crun, or any program that speaks like them. The configuration is the sandboxer's
// file (TOML); runtime, runtime_root, containerd_events and task_metrics_address are for us. What
// every task server does, and its files, are in task/daemon.h.
#include "task/daemon.h"

static const struct task_daemon runc_task = {
    .name = "runc-task",
    .summary = "Serve containerd's Task API for the OCI containers of this node.",
    .version = KUASAR_VERSION "-" KUASAR_COMMIT,
    .dir = "/run/kuasar-runc",
    .config = KUASAR_SYSCONFDIR "/runc.toml",
    .shim = "containerd-shim-kuasar-runc-v1",
    .ops = &task_oci_ops,
};

int main(int argc, char **argv)
{
    return task_daemon_main(&runc_task, argc, argv);
}
