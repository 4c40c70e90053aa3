// User-Mode Linux: the guest's kernel is an ordinary program. Its processes are processes of the
// host, held by seccomp filters, whose system calls the kernel's process serves; no hardware is
// needed. It has one processor. Devices are virtio over vhost-user sockets; the network is a tap
// that it gets as a descriptor.
//
// Facts: Documentation/virt/uml, arch/um/drivers/{virtio_uml,vector_kern}.c of the kernel.
#include "vmm/vmm.h"

// Numbers of virtio devices.
#define VIRTIO_VSOCK 19
#define VIRTIO_FS    26

static void uml_command(const struct vmm_machine *m, struct vmm_command *c)
{
    vmm_word(c, "%s", m->kernel);
    vmm_word(c, "mem=%lluM", (unsigned long long)(m->memory >> 20));
    vmm_word(c, "initrd=%s", m->initrd);
    vmm_word(c, "uml_dir=.");
    vmm_word(c, "umid=uml");
    vmm_word(c, "con=null");
    vmm_word(c, "con0=null,fd:1");
    vmm_word(c, "seccomp=on");
    vmm_word(c, "virtio_uml.device=" VMM_VSOCK_DEVICE ":%d", VIRTIO_VSOCK);
    vmm_word(c, "virtio_uml.device=" VMM_FS_DEVICE ":%d", VIRTIO_FS);
    for (size_t i = 0; i < m->n_nics; i++) {
        const struct vmm_nic *n = &m->nics[i];
        vmm_word(c, "vec%zu:transport=tap,ifname=%s,mac=%02x:%02x:%02x:%02x:%02x:%02x", i, n->tap,
                 n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
    }
    vmm_word(c, "%s", m->parameters);
}

const struct vmm_ops vmm_uml = {
    .name = "uml",
    .kernel = "/var/lib/kuasar/kernel-uml",
    .initrd = "/var/lib/kuasar/guest.img",
    .command = uml_command,
};
