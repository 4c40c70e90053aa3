// The OCI runtime spec of a bundle (config.json): read within limits, checked where we depend on
// it, rewritten in place. Fields that we do not know pass through untouched.
#ifndef OCI_SPEC_H
#define OCI_SPEC_H

#include <stdbool.h>

#include "base/error.h"
#include "base/json.h"
#include "oci/pod.h"

// Largest config.json.
#define OCI_SPEC_MAX (8u * 1024 * 1024)

// Reads <bundle>/config.json; checks that it is an object with process.args (non-empty strings),
// root, mounts (array of objects with a destination) and linux.namespaces (array of objects with a
// type) of the right types. NULL on error: NOT_FOUND names the path, INVALID_ARGUMENT names the
// field.
json_object *oci_spec_load(const char *bundle, struct error *err);
// Entry point without a file (also the fuzzer's).
json_object *oci_spec_parse(const void *data, size_t len, struct error *err);
// Writes <bundle>/config.json atomically with the mode of the old file. Returns 0 or -1.
int oci_spec_store(json_object *spec, const char *bundle, struct error *err);

// Borrowed strings; NULL if absent.
const char *oci_spec_annotation(json_object *spec, const char *key);
const char *oci_spec_sandbox_id(json_object *spec); // io.kubernetes.cri.sandbox-id
const char *oci_spec_cgroups_path(json_object *spec);
const char *oci_spec_root_path(json_object *spec);
bool oci_spec_root_readonly(json_object *spec);
// Does the container have a pid namespace of its own (an entry without a path)?
bool oci_spec_private_pid(json_object *spec);

// Makes the container a member of the pod:
// - namespaces: net, ipc, uts, user entries get the pod's path, or are dropped where the pod is in
// the
//   host's; a "pid" entry whose path is /proc/0/ns/pid follows pod->pid_mode (POD: pod->pid_ns,
//   NODE: dropped); a pid entry with another path (mode TARGET) or without a path is left alone.
//   With a host uts namespace a `hostname` in the spec is dropped.
// - mounts: /etc/hosts, /etc/hostname, /etc/resolv.conf are bound from the pod's files unless the
//   destination is already there (compared as cleaned paths), options rbind,rprivate and ro if the
//   root is read-only, else rw; a tmpfs at /dev/shm is replaced by a bind of pod->shm
//   (rbind,rprivate, rw); a bind there stays.
// Changes nothing on failure. Returns 0 or -1.
int oci_spec_join_pod(json_object *spec, const struct pod *pod, struct error *err);

// Checks an OCI Process (exec): object, args non-empty array of strings, cwd absolute, terminal a
// bool. Returns 0 or -1.
int oci_process_check(json_object *process, struct error *err);

#endif
