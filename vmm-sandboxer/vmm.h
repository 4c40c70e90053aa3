// A virtual machine monitor: what differs between them. Everything else (network, helpers, cgroup,
// the guest's agent, the end) is common (machine.c).
//
// Rules: a monitor is one program, started once for each machine as a process without rights in the
// machine's directory, which is its working directory; the paths of its sockets are relative to it.
// It ends when the guest does.
#ifndef VMM_SANDBOXER_VMM_H
#define VMM_SANDBOXER_VMM_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

// Most network interfaces of a machine, words of a command line, bytes of all of them.
#define VMM_NICS_MAX  16
#define VMM_WORDS_MAX 96
#define VMM_TEXT_MAX  (16 * 1024)

// Most virtual processors, least and most memory in MiB.
#define VMM_VCPUS_MAX     8
#define VMM_MEMORY_MIN_MB 96
#define VMM_MEMORY_MAX_MB (1024 * 1024)

// The pod's annotation that names a monitor.
#define VMM_ANNOTATION "io.kuasar.vmm"

// Names of files in the machine's directory.
#define VMM_VSOCK_DEVICE "vsock.vu" // vhost-user socket of the vsock device
#define VMM_VSOCK        "vsock"    // its socket for us ("CONNECT <port>"); "_<port>" for the guest
#define VMM_FS_DEVICE    "fs.vu"    // vhost-user socket of the file system device
#define VMM_CONSOLE      "console.log"
// The tag of the file system device, and the guest's number on vsock.
#define VMM_FS_TAG    "kuasar"
#define VMM_GUEST_CID 3

struct vmm_nic {
    char tap[IFNAMSIZ];
    uint8_t mac[6];
};

// What the machine is to be.
struct vmm_machine {
    const char *program, *kernel, *initrd; // absolute paths
    const char *parameters;                // words for the kernel's command line
    const char *accelerator;               // one of the monitor's; NULL: it has none
    bool bare;                             // no devices but the console
    unsigned vcpus;
    uint64_t memory; // bytes
    struct vmm_nic nics[VMM_NICS_MAX];
    size_t n_nics;
};

// A command line that is being made. Words are copied; a word too many, or too long, sets
// `overflow`.
struct vmm_command {
    const char *argv[VMM_WORDS_MAX + 1]; // ends with NULL
    size_t n;
    char text[VMM_TEXT_MAX];
    size_t used;
    bool overflow;
};
void vmm_word(struct vmm_command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct vmm_ops {
    const char *name;
    const char *program, *kernel, *initrd; // defaults
    // What runs the guest's processors, best first, up to NULL. NULL: there is no choice.
    const char *const *accelerators;
    // The command line that runs the machine; standard output is the console's log.
    void (*command)(const struct vmm_machine *m, struct vmm_command *ret);
};

extern const struct vmm_ops vmm_uml, vmm_qemu;

#endif
