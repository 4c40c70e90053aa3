// What of the configuration file is of virtual machines: upstream Kuasar's tables [sandbox] and
// [hypervisor], so its files are accepted, and [hypervisor.uml], which is ours.
#ifndef VMM_SANDBOXER_CONFIG_H
#define VMM_SANDBOXER_CONFIG_H

#include <stdbool.h>

#include "base/config.h"
#include "vmm/vmm.h"

// Where a string is NULL or empty the monitor's own default holds.
struct vmm_config {
    char *type;           // the monitor of pods that name none: "uml", "qemu"
    int64_t vcpus;        // of a pod without a CPU limit
    int64_t memory_in_mb; // of a pod without a memory limit
    char *kernel_params;  // added to the kernel's command line
    char *accelerator;    // "kvm", "tcg"; NULL or empty: what is found to work
    bool debug;           // the guest's log says more
    struct vmm_files {
        char *program, *kernel, *initrd;
    } qemu, uml;
};

// What the file said; the defaults before it was read. (Of the process: the job that makes a
// machine is a copy of it.)
extern struct vmm_config vmm_config;
extern const struct config_table vmm_config_table;

// Sets the paths in a machine that are configured for this monitor, or its defaults, and the
// accelerator if one is configured.
void vmm_config_files(const struct vmm_ops *vmm, struct vmm_machine *m);

#endif
