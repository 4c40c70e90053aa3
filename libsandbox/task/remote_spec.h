// What a container's spec becomes when the container is made in a virtual machine: what names
// things of the host is left out, shared, or refused with the reason. The agent in the guest joins
// the rest to its pod.
#ifndef TASK_REMOTE_SPEC_H
#define TASK_REMOTE_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/json.h"

// Most directories and files of the host that one container has mounted.
#define REMOTE_SHARES_MAX 256

// A directory or file of the host that is to be seen in the guest as <shared>/<container>/<name>.
struct remote_share {
    char *source; // owned
    char name[16];
    enum remote_access { REMOTE_RW, REMOTE_RO, REMOTE_RRO } access; // RRO: mounts below, too
};

struct remote_shares {
    struct remote_share list[REMOTE_SHARES_MAX];
    size_t n;
};

// Rewrites a copy of `spec`; sources of bind mounts become paths below `guest_dir` ("GUEST_SHARED/
// <container>"), linux.cgroupsPath becomes `cgroup`. A mount that is read-only without those below
// it is so by the host alone: to the guest they all are one. Touches
// nothing outside the process. Returns the text of the guest's config.json (malloc), or NULL:
// INVALID_ARGUMENT or UNIMPLEMENTED names the field.
char *remote_spec_make(json_object *spec, const char *guest_dir, const char *cgroup,
                       struct remote_shares *ret_shares, struct error *err);
// Why a guest cannot have a file of the host of this type; NULL: it can.
const char *remote_share_refused(mode_t mode);
// The same for the resources of an update (JSON text of OCI LinuxResources).
char *remote_resources_make(const void *resources, size_t len, struct error *err);
void remote_shares_done(struct remote_shares *s);

#endif
