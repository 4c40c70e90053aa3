// vmm-relay: the task server of pods that are virtual machines. containerd's calls for their
// containers come here; what is of the host is done here, the rest is asked of each machine's agent
// (libsandbox/task/remote_ops.c). Options, signals and files: task/daemon.h.
#include "task/daemon.h"
#include "task/remote_ops.h"
#include "vmm/config.h"

static const struct task_daemon vmm_relay = {
    .name = "vmm-relay",
    .summary = "Serve containerd's Task API for the containers in this node's virtual machines.",
    .version = KUASAR_VERSION "-" KUASAR_COMMIT,
    .dir = "/run/kuasar-vmm",
    .config = KUASAR_SYSCONFDIR "/vmm.toml",
    .more = &vmm_config_table,
    .shim = "containerd-shim-kuasar-vmm-v1",
    .ops = &task_remote_ops,
};

int main(int argc, char **argv)
{
    return task_daemon_main(&vmm_relay, argc, argv);
}
