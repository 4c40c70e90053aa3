// vmm-sandboxer: pods as virtual machines.
#include "sandbox/daemon.h"
#include "vmm/config.h"
#include "vmm/machine.h"

static const struct sandbox_ops machine_ops = {
    .name = "vmm",
    .plan = machine_plan,
    .make = machine_make,
    .check = machine_check,
    .resize = machine_resize,
};

static const struct sandboxer vmm_sandboxer = {
    .name = "vmm-sandboxer",
    .version = KUASAR_VERSION "-" KUASAR_COMMIT,
    .dir = "/run/kuasar-vmm",
    .listen = "/run/vmm-sandboxer.sock",
    .config = KUASAR_SYSCONFDIR "/vmm.toml",
    .more = &vmm_config_table,
    .task_program = "vmm-relay",
    .libexec_dir = KUASAR_LIBEXECDIR,
    .ops = &machine_ops,
};

int main(int argc, char **argv)
{
    return sandboxer_main(&vmm_sandboxer, argc, argv);
}
