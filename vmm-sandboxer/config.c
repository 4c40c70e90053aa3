#include "vmm/config.h"

#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/ident.h"

struct vmm_config vmm_config = {.vcpus = 1, .memory_in_mb = 512};

#define ROW(name, kind, field, ...)                                                                \
    {                                                                                              \
        .key = (name), .type = (kind), .offset = offsetof(struct vmm_config, field), __VA_ARGS__   \
    }
#define UNUSED(name)                                                                               \
    {                                                                                              \
        .key = (name), .type = CONFIG_UNUSED                                                       \
    }

// Names of upstream's keys: the kuasar project's vmm/sandbox/config_*.toml and their readers.
static const struct config_key keys[] = {
    ROW("hypervisor.type", CONFIG_STRING, type),
    ROW("hypervisor.vcpus", CONFIG_INT, vcpus, .min = 1, .max = VMM_VCPUS_MAX),
    ROW("hypervisor.memory_in_mb", CONFIG_INT, memory_in_mb, .min = VMM_MEMORY_MIN_MB,
        .max = VMM_MEMORY_MAX_MB),
    ROW("hypervisor.accelerator", CONFIG_STRING, accelerator),
    ROW("hypervisor.kernel_params", CONFIG_STRING, kernel_params),
    ROW("hypervisor.task.debug", CONFIG_BOOL, debug),
    ROW("hypervisor.qemu_path", CONFIG_STRING, qemu.program),
    ROW("hypervisor.kernel_path", CONFIG_STRING, qemu.kernel),
    ROW("hypervisor.initrd_path", CONFIG_STRING, qemu.initrd),
    ROW("hypervisor.uml.kernel_path", CONFIG_STRING, uml.kernel),
    ROW("hypervisor.uml.initrd_path", CONFIG_STRING, uml.initrd),
    UNUSED("sandbox.log_level"),
    UNUSED("sandbox.enable_tracing"),
    UNUSED("hypervisor.block_device_driver"),
    UNUSED("hypervisor.cpu_*"),
    UNUSED("hypervisor.debug"),
    UNUSED("hypervisor.default_*"),
    UNUSED("hypervisor.disable_nvdimm"),
    UNUSED("hypervisor.enable_*"),
    UNUSED("hypervisor.entropy_source"),
    UNUSED("hypervisor.file_backend_mem_path"),
    UNUSED("hypervisor.firmware*"),
    UNUSED("hypervisor.hugepages"),
    UNUSED("hypervisor.image_path"),
    UNUSED("hypervisor.machine_*"),
    UNUSED("hypervisor.mem_*"),
    UNUSED("hypervisor.memory_path"),
    UNUSED("hypervisor.msize_9p"),
    UNUSED("hypervisor.path"),
    UNUSED("hypervisor.share_fs"),
    UNUSED("hypervisor.task.enable_tracing"),
    UNUSED("hypervisor.use_vsock"),
    UNUSED("hypervisor.virtio_*"),
    UNUSED("hypervisor.virtiofs_*"),
    UNUSED("hypervisor.virtiofsd*"),
};

// NULL: the monitor has none of that name.
static const char *accelerator_of(const struct vmm_ops *vmm, const char *name)
{
    for (size_t i = 0; name && vmm->accelerators && vmm->accelerators[i]; i++) {
        if (strcmp(vmm->accelerators[i], name) == 0)
            return vmm->accelerators[i];
    }
    return NULL;
}

static int check_path(const char *path, const char *key, struct error *err)
{
    return path && *path ? ident_path_check(path, key, err) : 0;
}

static int check(const void *target, struct error *err)
{
    const struct vmm_config *c = target;
    if (c->type && strcmp(c->type, vmm_uml.name) != 0 && strcmp(c->type, vmm_qemu.name) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "hypervisor.type: \"%.40s\": there are uml and qemu", c->type);
    if (c->accelerator && *c->accelerator && !accelerator_of(&vmm_qemu, c->accelerator))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "hypervisor.accelerator: \"%.40s\": there are kvm and tcg; leave it empty "
                         "for what is found to work",
                         c->accelerator);
    return check_path(c->qemu.program, "hypervisor.qemu_path", err) < 0 ||
                   check_path(c->qemu.kernel, "hypervisor.kernel_path", err) < 0 ||
                   check_path(c->qemu.initrd, "hypervisor.initrd_path", err) < 0 ||
                   check_path(c->uml.kernel, "hypervisor.uml.kernel_path", err) < 0 ||
                   check_path(c->uml.initrd, "hypervisor.uml.initrd_path", err) < 0
               ? -1
               : 0;
}

const struct config_table vmm_config_table = {
    .keys = keys, .n = ARRAY_SIZE(keys), .target = &vmm_config, .check = check};

static const char *either(const char *configured, const char *otherwise)
{
    return configured && *configured ? configured : otherwise;
}

void vmm_config_files(const struct vmm_ops *vmm, struct vmm_machine *m)
{
    const struct vmm_files *f = vmm == &vmm_uml ? &vmm_config.uml : &vmm_config.qemu;
    m->program = either(f->program, vmm->program);
    m->kernel = either(f->kernel, vmm->kernel);
    m->initrd = either(f->initrd, vmm->initrd);
    m->accelerator = accelerator_of(vmm, vmm_config.accelerator);
}
