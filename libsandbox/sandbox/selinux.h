// SELinux: what runs in a pod has one label, so that its containers can share volumes, and no other
// pod has it. Labels are user:role:type:level; a level of one's own is two categories ("s0:c3,c9").
//
// Facts: containerd gives containers the label that Start's label "selinux_label" says, or parts of
// it (internal/cri/server/container_create.go), and nothing where its enable_selinux is off; where
// the policy has the defaults for containers, and 1024 categories: opencontainers/selinux.
#ifndef SANDBOX_SELINUX_H
#define SANDBOX_SELINUX_H

#include "sandbox/sandbox.h"

// The sandbox's label that says it. containerd's sandbox has it from Start.
#define SELINUX_LABEL "selinux_label"

// Where SELinux is looked for.
struct selinux_places {
    const char *fs;  // selinuxfs
    const char *etc; // its configuration
};
extern const struct selinux_places selinux_host;

// Adds SELINUX_LABEL to the labels of a record, or takes it away where SELinux is off or its policy
// has no label for containers. Returns 0, or -1: INVALID_ARGUMENT names the field.
int selinux_plan(const struct selinux_places *where, struct sandbox_manager *m,
                 struct sandbox_record *r, const struct sandbox_request *q, struct error *err);

#endif
