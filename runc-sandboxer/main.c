// runc-sandboxer: pods as namespaces and cgroups, containers by an OCI runtime (runc, crun).
#include "sandbox/daemon.h"
#include "sandbox/host_pod.h"

static const struct sandbox_ops runc_sandbox_ops = {
    .name = "runc",
    .plan = host_pod_plan,
    .make = host_pod_make,
    .check = host_pod_check,
    .resize = host_pod_resize,
};

static const struct sandboxer runc_sandboxer = {
    .name = "runc-sandboxer",
    .version = KUASAR_VERSION "-" KUASAR_COMMIT,
    .dir = "/run/kuasar-runc",
    .listen = "/run/runc-sandboxer.sock",
    .config = KUASAR_SYSCONFDIR "/runc.toml",
    .task_program = "runc-task",
    .libexec_dir = KUASAR_LIBEXECDIR,
    .ops = &runc_sandbox_ops,
};

int main(int argc, char **argv)
{
    return sandboxer_main(&runc_sandboxer, argc, argv);
}
