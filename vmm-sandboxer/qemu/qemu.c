// QEMU: a PC (q35) with the devices of a pod and no others, the kernel loaded directly.
//
// Facts: QEMU's manual (invocation, vhost-user devices); on "-M microvm" QEMU 11 ends with
// vhost-user devices, so it is q35.
#include <string.h>

#include "vmm/vmm.h"

// TCG keeps translations of pages of code until it sees the page written, and what virtiofsd writes
// into the guest's memory it does not see: a page that held code before, and then gets another
// program's from a file, was executed as what it had been (3 of 17 programs lived). Pages that the
// guest's kernel clears before it gives them away are written by the guest.
#define TCG_PARAMETERS "init_on_alloc=1 "

static void qemu_nic(struct vmm_command *c, size_t i, const struct vmm_nic *n)
{
    vmm_word(c, "-netdev");
    vmm_word(c, "tap,id=net%zu,ifname=%s,script=no,downscript=no", i, n->tap);
    vmm_word(c, "-device");
    vmm_word(c, "virtio-net-pci,netdev=net%zu,romfile=,mac=%02x:%02x:%02x:%02x:%02x:%02x", i,
             n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
}

// Devices outside of the monitor; they need its memory to be shared.
static void qemu_outside(struct vmm_command *c)
{
    vmm_word(c, "-chardev");
    vmm_word(c, "socket,id=vsock,path=%s", VMM_VSOCK_DEVICE);
    vmm_word(c, "-device");
    vmm_word(c, "vhost-user-vsock-pci,chardev=vsock");
    vmm_word(c, "-chardev");
    vmm_word(c, "socket,id=fs,path=%s", VMM_FS_DEVICE);
    vmm_word(c, "-device");
    vmm_word(c, "vhost-user-fs-pci,chardev=fs,tag=%s", VMM_FS_TAG);
}

static void qemu_command(const struct vmm_machine *m, struct vmm_command *c)
{
    static const char *const words[] = {
        "-no-user-config",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-serial",
        "stdio",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-object",
        "rng-random,id=rng,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=rng"};
    const bool emulated = strcmp(m->accelerator, "tcg") == 0;
    unsigned long long mib = m->memory >> 20;
    vmm_word(c, "%s", m->program);
    vmm_word(c, "-machine");
    vmm_word(c, "q35,accel=%s,memory-backend=memory,usb=off,vmport=off", m->accelerator);
    vmm_word(c, "-cpu");
    vmm_word(c, "max");
    vmm_word(c, "-smp");
    vmm_word(c, "%u", m->vcpus);
    vmm_word(c, "-m");
    vmm_word(c, "%lluM", mib);
    vmm_word(c, "-object");
    vmm_word(c, "memory-backend-memfd,id=memory,size=%lluM,share=on", mib);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        vmm_word(c, "%s", words[i]);
    if (!m->bare)
        qemu_outside(c);
    for (size_t i = 0; i < m->n_nics; i++)
        qemu_nic(c, i, &m->nics[i]);
    vmm_word(c, "-kernel");
    vmm_word(c, "%s", m->kernel);
    vmm_word(c, "-initrd");
    vmm_word(c, "%s", m->initrd);
    vmm_word(c, "-append");
    vmm_word(c, "console=ttyS0 panic=-1 reboot=t quiet %s%s", emulated ? TCG_PARAMETERS : "",
             m->parameters);
}

static const char *const accelerators[] = {"kvm", "tcg", NULL};

const struct vmm_ops vmm_qemu = {
    .name = "qemu",
    .program = "/usr/bin/qemu-system-x86_64",
    .kernel = "/var/lib/kuasar/kernel-vm",
    .initrd = "/var/lib/kuasar/guest.img",
    .accelerators = accelerators,
    .command = qemu_command,
};
