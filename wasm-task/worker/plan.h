// What a worker has to become: read from the bundle's config.json, which the task server has
// written.
#ifndef WASM_WORKER_PLAN_H
#define WASM_WORKER_PLAN_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/id_map.h"
#include "base/json.h"
#include "linux/mount.h"

// Limits on what a spec may ask for.
#define PLAN_STRINGS_MAX 16384 // arguments or environment, or masked paths
#define PLAN_GROUPS_MAX  65536
#define PLAN_RLIMITS_MAX 16
#define PLAN_MOUNTS_MAX  4096
#define PLAN_PROFILE_MAX 1024 // length of an AppArmor profile's name

struct plan_rlimit {
    int resource;
    struct rlimit limit;
};

struct plan_mount {
    const char *destination;
    struct mount_spec spec;
    bool mapped; // its ids are the container's
};

// Strings are borrowed from `spec`, or arrays of them.
struct plan {
    json_object *spec;    // owned
    json_object *process; // a part of it, or all (of an exec)
    char root[PATH_MAX];  // path of the rootfs
    bool root_readonly;
    char **args, **env; // NULL-terminated
    const char *cwd;
    char *pwd;            // owned; an entry of env, or NULL
    const char *apparmor; // profile; NULL: as we are
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t n_groups;
    mode_t umask;
    bool has_oom_score_adj;
    int oom_score_adj;
    struct plan_rlimit rlimits[PLAN_RLIMITS_MAX];
    size_t n_rlimits;
    const char *net_ns, *ipc_ns, *uts_ns, *pid_ns, *cgroup_ns; // paths; NULL: as we are, or new
    const char *user_ns;                                       // a path; NULL: as we are
    struct id_maps ids; // of it, or of an exec's container; lengths 0: ids are the host's
    int new_ns;         // CLONE_NEW* of those that are to be new, without a path
    const char *hostname, *domainname; // of a new uts namespace; NULL: as it is
    struct plan_mount *mounts;
    size_t n_mounts;
    char **masked, **readonly; // absolute paths, NULL-terminated
    const char *cgroup;        // as the spec says it; NULL: none
    const char *nn_preload;    // preload.h; NULL: none (as in an exec)
};

// Reads a container's. INVALID_ARGUMENT names the field, UNIMPLEMENTED one that asks for what
// there is not (unsupported.h). 0 or -1.
int plan_read(struct plan *p, const char *bundle, struct error *err);
// The same from a spec that has been read (also the fuzzer's entry point). Takes it in any case.
int plan_make(struct plan *p, json_object *spec, const char *bundle, struct error *err);
// Reads the OCI process of an exec from a file: `process` alone.
int plan_read_process(struct plan *p, int fd, struct error *err);
// The same from memory.
int plan_parse_process(struct plan *p, const void *text, size_t len, struct error *err);
// The user's ids, and the group's, as the host has them. Those of the spec are mapped: it is
// checked.
uid_t plan_host_uid(const struct plan *p);
gid_t plan_host_gid(const struct plan *p);
// INVALID_ARGUMENT for a user or a group that has none of `ids`. 0 or -1.
int plan_check_ids(const struct plan *p, struct error *err);
// $PATH of its environment; "/" if it has none.
const char *plan_path(const struct plan *p);
// Has PWD say what the working directory is if nothing in the environment does. WASI has none, so
// relative names begin at "/", but some languages have one of their own: Go's begins at $PWD
// (syscall/fs_wasip1.go). RESOURCE_EXHAUSTED. 0 or -1.
int plan_tell_cwd(struct plan *p, struct error *err);
void plan_done(struct plan *p);

#endif
