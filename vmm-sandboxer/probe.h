// Which accelerator runs guests on this host. That /dev/kvm is there says little: without nested
// virtualisation, or on another hypervisor, a guest ends or hangs in it. So one is run.
#ifndef VMM_SANDBOXER_PROBE_H
#define VMM_SANDBOXER_PROBE_H

#include "base/error.h"
#include "vmm/vmm.h"

// Seconds that a guest which only says a word may take.
#define PROBE_SECONDS 5.0
// What was found out is kept in the state directory, in this and the monitor's name.
#define PROBE_FILE "accelerator-"

// Sets m->accelerator to the first of the monitor's that runs the machine's kernel here; the last
// is taken without a trial. Nothing happens if it has none. The answer holds while program, kernel
// and image are the same files, until the state directory (on a tmpfs) or the file is gone; one
// caller tries, others wait. Blocks, `PROBE_SECONDS` for each but the last. `user`: of the guest
// that is run. Returns 0 or -1.
int probe_accelerator(const struct vmm_ops *vmm, const char *dir, uid_t user, struct vmm_machine *m,
                      struct error *err);

#endif
