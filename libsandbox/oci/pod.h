// What the task server must know about a sandbox, and nothing more. The sandboxer writes it once,
// when the sandbox has been created, as <sandbox dir>/pod.json; it never changes afterwards.
#ifndef OCI_POD_H
#define OCI_POD_H

#include <stddef.h>

#include "base/error.h"
#include "base/id_map.h"

// Name of the file in a sandbox's directory.
#define POD_FILE "pod.json"
// Version of its format; a reader refuses others.
#define POD_VERSION 1
// Largest file that is written or read.
#define POD_SIZE_MAX (64u * 1024)

enum pod_pid_mode {
    POD_PID_CONTAINER, // every container has its own pid namespace
    POD_PID_POD,       // all share the pod's (namespaces.pid)
    POD_PID_NODE,      // the host's
};

// All strings are owned (malloc) and may be NULL.
struct pod {
    char *id;
    char *runtime_type; // of its runtime class, as containerd says it; NULL if unknown
    enum pod_pid_mode pid_mode;
    // Paths of pinned namespaces. NULL: the containers stay in the host's.
    char *net_ns, *ipc_ns, *uts_ns;
    char *pid_ns;       // only with POD_PID_POD
    char *user_ns;      // NULL: the host's
    struct id_maps ids; // of user_ns; lengths 0 without
    // Host files that every container gets at /etc/hosts, /etc/hostname, /etc/resolv.conf unless
    // its spec already mounts something there; and the pod's /dev/shm, which replaces a private
    // tmpfs. shm NULL: leave what the spec has.
    char *hosts, *hostname, *resolv_conf, *shm;
    // Cgroup that containers of the pod live below; NULL if unknown.
    char *cgroup_parent;
};

// Frees the strings, not the struct.
void pod_done(struct pod *pod);
// Writes <dir>/pod.json atomically, 0600. INVALID_ARGUMENT for what pod_load would refuse: an id
// that is none, a path that is not absolute, a pid_ns that does not go with pid_mode, ids that do
// not go with user_ns. Returns 0 or -1.
int pod_store(const struct pod *pod, const char *dir, struct error *err);
// Reads <dir>/pod.json. NOT_FOUND if absent, FAILED_PRECONDITION for an unknown version,
// INVALID_ARGUMENT for broken contents. Returns 0 or -1; *pod is untouched on failure.
int pod_load(struct pod *pod, const char *dir, struct error *err);
// The same from memory (also the fuzzer's entry point).
int pod_parse(struct pod *pod, const void *data, size_t len, struct error *err);

#endif
