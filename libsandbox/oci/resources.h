// LinuxResources of the OCI runtime spec as limits of a cgroup.
#ifndef OCI_RESOURCES_H
#define OCI_RESOURCES_H

#include "base/error.h"
#include "base/json.h"
#include "linux/cgroup_limits.h"

struct oci_resources {
    struct cgroup_limits limits;
    struct cgroup_value unified[CGROUP_UNIFIED_MAX];
};

// Reads memory, cpu, pids and unified; strings are borrowed from `o`. What else there may be
// (devices, block I/O weights, huge pages) is left out. INVALID_ARGUMENT names the field. 0 or -1.
int oci_resources_read(json_object *o, struct oci_resources *ret, struct error *err);

#endif
