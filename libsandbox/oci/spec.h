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

// Reads <bundle>/config.json and checks the types of what we depend on: process (as
// oci_process_check), root.path, mounts (if there: objects with a destination), linux.namespaces
// (objects with a type), linux.cgroupsPath, the annotation of the sandbox id. NULL on error:
// NOT_FOUND names the path, INVALID_ARGUMENT names the field.
json_object *oci_spec_load(const char *bundle, struct error *err);
// Entry point without a file (also the fuzzer's).
json_object *oci_spec_parse(const void *data, size_t len, struct error *err);
// Writes <bundle>/config.json atomically with the mode of the old file. Returns 0 or -1.
int oci_spec_store(json_object *spec, const char *bundle, struct error *err);

// Borrowed strings; NULL if absent.
const char *oci_spec_annotation(json_object *spec, const char *key);
const char *oci_spec_sandbox_id(json_object *spec);     // io.kubernetes.cri.sandbox-id
const char *oci_spec_container_name(json_object *spec); // io.kubernetes.cri.container-name
const char *oci_spec_cgroups_path(json_object *spec);
// Returns 0 or -ENOMEM.
int oci_spec_set_cgroups_path(json_object *spec, const char *path);
const char *oci_spec_root_path(json_object *spec);
// Another one, of a spec that was loaded. 0 or -ENOMEM.
int oci_spec_set_root_path(json_object *spec, const char *path);
bool oci_spec_root_readonly(json_object *spec);
// Is there a mount whose destination is this path (cleaned, without links being followed)?
bool oci_spec_mounts_at(json_object *spec, const char *destination);
// Is that what an absolute path comes to, ".", ".." and slashes cleaned away?
bool oci_path_is(const char *path, const char *clean);
// Does the container have a pid namespace of its own (an entry without a path)?
bool oci_spec_private_pid(json_object *spec);
bool oci_spec_has_hooks(json_object *spec);

// One run as the OCI runtime spec writes it (linux.uidMappings): a list of one. NULL without
// memory.
json_object *oci_id_mappings(const struct id_map *m);
// Reads such a list, `key` of `o`. None, or an empty one, is length 0. INVALID_ARGUMENT for what is
// no run, UNIMPLEMENTED for more than one. 0 or -1.
int oci_id_mappings_read(json_object *o, const char *key, struct id_map *ret, struct error *err);

// Makes the container a member of the pod:
// - namespaces: net, ipc and uts entries get the pod's path whatever they had, or are dropped where
//   the pod is in the host's; one that is missing is added where the pod has one. "user" alike,
//   but a container that asks for one in a pod without is refused (FAILED_PRECONDITION).
// - a "pid" entry with the path /proc/0/ns/pid follows pod->pid_mode (POD: pod->pid_ns, NODE:
//   dropped, CONTAINER: loses the path, the container gets its own); a pid entry with another path
//   (mode TARGET) or without a path is left alone.
// - with a host uts namespace, hostname and domainname in the spec are dropped.
// - mounts: /etc/hosts, /etc/hostname, /etc/resolv.conf are bound from the pod's files unless the
//   destination is already there (compared as cleaned paths), options rbind,rprivate and ro if the
//   root is read-only, else rw, with the pod's id mappings in a pod with a user namespace; a tmpfs
//   at /dev/shm is replaced in its place by a bind of pod->shm (rbind,rprivate,rw); a bind there
//   stays. A sysfs in a pod with a user namespace on the host's network, which such users cannot
//   mount, is replaced by a read-only bind of the host's /sys. (linux.uidMappings and
//   gidMappings are the pod's, those of the namespace at the path; others are INVALID_ARGUMENT.)
// What is refused changes nothing. Returns 0 or -1.
int oci_spec_join_pod(json_object *spec, const struct pod *pod, struct error *err);

// Checks an OCI Process (exec): object, args non-empty array of strings, cwd absolute, terminal a
// bool. Returns 0 or -1.
int oci_process_check(json_object *process, struct error *err);

#endif
