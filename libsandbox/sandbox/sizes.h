// How much CPU and memory a pod may have: what its containers ask for together, and what its kind
// of sandbox needs beside them. (CRI: LinuxPodSandboxConfig.resources and .overhead; changed by
// UpdatePodSandboxResources.) Only the numbers that mean something for a whole pod are kept.
#ifndef SANDBOX_SIZES_H
#define SANDBOX_SIZES_H

#include "api/cri.pb-c.h"
#include "base/error.h"
#include "base/json.h"
#include "linux/cgroup_limits.h"

// Fields of runtime.v1.LinuxContainerResources; 0 is "not given" there.
struct sandbox_resources {
    int64_t cpu_period, cpu_quota, cpu_shares, memory_limit_in_bytes;
};

struct sandbox_sizes {
    struct sandbox_resources resources, overhead;
    // The first field that an Update gives and that is none of the above ("cpuset_cpus"); NULL:
    // none is. Not kept in the record.
    const char *beyond;
};

// From Create's configuration (may be NULL). Returns 0, or -1 with INVALID_ARGUMENT that names the
// field.
int sizes_from_config(struct sandbox_sizes *s, const Cri__PodSandboxConfig *config,
                      struct error *err);
// From the JSON of an update, {"Overhead": {...}|null, "Resources": {...}|null}: what it has
// replaces what *s has, field by field. On failure *s is unchanged. Returns 0 or -1 as above.
int sizes_update(struct sandbox_sizes *s, json_object *updated, struct error *err);

// The numbers that are given, as an object with CRI's names. NULL without memory.
json_object *resources_to_json(const struct sandbox_resources *r);
// Reads it back; absent (NULL) is nothing given. `name` is that of the object. Returns 0 or -1.
int resources_from_json(struct sandbox_resources *r, json_object *o, const char *name,
                        struct error *err);

// What the pod's cgroup gets: resources and overhead together. What the resources do not limit is
// left alone.
struct cgroup_limits sizes_limits(const struct sandbox_sizes *s);

#endif
