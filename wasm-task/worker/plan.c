#include "plan.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "oci/spec.h"
#include "preload.h"
#include "unsupported.h"

// ---- strings ------------------------------------------------------------------------------------

static int read_strings(json_object *o, const char *key, char ***ret, struct error *err)
{
    json_object *list = NULL;
    if (json_get_array(o, key, &list, err) < 0)
        return -1;
    size_t n = list ? json_object_array_length(list) : 0;
    if (n > PLAN_STRINGS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: more than %d", key, PLAN_STRINGS_MAX);
    char **strings = calloc(n + 1, sizeof(*strings));
    if (!strings)
        return error_errno(err, ENOMEM, "%s", key);
    for (size_t i = 0; i < n; i++) {
        json_object *s = json_object_array_get_idx(list, i);
        if (!json_object_is_type(s, json_type_string) ||
            strlen(json_object_get_string(s)) != (size_t)json_object_get_string_len(s)) {
            free(strings);
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s[%zu]: want a string", key, i);
        }
        strings[i] = (char *)json_object_get_string(s);
    }
    *ret = strings;
    return 0;
}

// ---- process ------------------------------------------------------------------------------------

static int read_id(json_object *o, const char *key, uint32_t *ret, struct error *err)
{
    int64_t v = 0;
    if (json_get_int(o, key, &v, err) < 0)
        return -1;
    if (v < 0 || v >= UINT32_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %lld is none", key, (long long)v);
    *ret = (uint32_t)v;
    return 0;
}

static int read_groups(struct plan *p, json_object *user, struct error *err)
{
    json_object *list = NULL;
    if (json_get_array(user, "additionalGids", &list, err) < 0)
        return -1;
    size_t n = list ? json_object_array_length(list) : 0;
    if (n > PLAN_GROUPS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "additionalGids: more than %d",
                         PLAN_GROUPS_MAX);
    p->groups = calloc(n + 1, sizeof(*p->groups));
    if (!p->groups)
        return error_errno(err, ENOMEM, "additionalGids");
    for (size_t i = 0; i < n; i++) {
        json_object *v = json_object_array_get_idx(list, i);
        int64_t id = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : -1;
        if (id < 0 || id >= UINT32_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "additionalGids[%zu]: not a group", i);
        p->groups[p->n_groups++] = (gid_t)id;
    }
    return 0;
}

static int read_user(struct plan *p, json_object *process, struct error *err)
{
    json_object *user = NULL;
    uint32_t mask = 022;
    if (json_get_object(process, "user", &user, err) < 0)
        return -1;
    if (!user)
        return 0;
    if (read_id(user, "uid", &p->uid, err) < 0 || read_id(user, "gid", &p->gid, err) < 0 ||
        read_id(user, "umask", &mask, err) < 0 || read_groups(p, user, err) < 0)
        return error_wrap(err, "user");
    p->umask = mask & 0777;
    return 0;
}

static const struct {
    const char *name;
    int resource;
} resources[] = {
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
};

// The spec has unsigned numbers of 64 bits.
static int read_limit(json_object *o, const char *key, rlim_t *ret, struct error *err)
{
    json_object *v = json_object_object_get(o, key);
    if (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: want a number from 0 on", key);
    *ret = json_object_get_uint64(v);
    return 0;
}

static int read_rlimit(struct plan_rlimit *ret, json_object *o, struct error *err)
{
    const char *name = NULL;
    if (json_get_string(o, "type", &name, err) < 0 ||
        read_limit(o, "soft", &ret->limit.rlim_cur, err) < 0 ||
        read_limit(o, "hard", &ret->limit.rlim_max, err) < 0)
        return -1;
    for (size_t i = 0; name && i < ARRAY_SIZE(resources); i++) {
        if (strcmp(resources[i].name, name) == 0) {
            ret->resource = resources[i].resource;
            return 0;
        }
    }
    return error_set(err, STATUS_INVALID_ARGUMENT, "type: %.60s is no resource limit",
                     name ? name : "missing");
}

static int read_rlimits(struct plan *p, json_object *process, struct error *err)
{
    json_object *list = NULL;
    if (json_get_array(process, "rlimits", &list, err) < 0)
        return -1;
    size_t n = list ? json_object_array_length(list) : 0;
    if (n > PLAN_RLIMITS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "rlimits: more than %d", PLAN_RLIMITS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (read_rlimit(&p->rlimits[i], json_object_array_get_idx(list, i), err) < 0)
            return error_wrap(err, "rlimits[%zu]", i);
        p->n_rlimits++;
    }
    return 0;
}

static int read_oom_score_adj(struct plan *p, json_object *process, struct error *err)
{
    int64_t v = INT64_MIN;
    if (json_get_int(process, "oomScoreAdj", &v, err) < 0)
        return -1;
    p->has_oom_score_adj = v != INT64_MIN;
    if (p->has_oom_score_adj && (v < -1000 || v > 1000))
        return error_set(err, STATUS_INVALID_ARGUMENT, "oomScoreAdj: want -1000 to 1000");
    p->oom_score_adj = (int)v;
    return 0;
}

// The name of a profile goes into a line for the kernel.
static int read_apparmor(struct plan *p, json_object *process, struct error *err)
{
    const char *name = NULL;
    if (json_get_string(process, "apparmorProfile", &name, err) < 0)
        return -1;
    if (name && (strlen(name) > PLAN_PROFILE_MAX || strchr(name, '\n')))
        return error_set(err, STATUS_INVALID_ARGUMENT, "apparmorProfile: no name of a profile");
    p->apparmor = name && name[0] && strcmp(name, "unconfined") != 0 ? name : NULL;
    return 0;
}

static int read_process(struct plan *p, json_object *process, struct error *err)
{
    p->process = process;
    if (json_get_string(process, "cwd", &p->cwd, err) < 0 ||
        read_strings(process, "args", &p->args, err) < 0 ||
        read_strings(process, "env", &p->env, err) < 0 || read_user(p, process, err) < 0 ||
        read_rlimits(p, process, err) < 0 || read_oom_score_adj(p, process, err) < 0 ||
        read_apparmor(p, process, err) < 0 || unsupported_check_process(process, err) < 0)
        return error_wrap(err, "process");
    return 0;
}

// ---- mounts -------------------------------------------------------------------------------------

// What shows the host's kernel or is for native programs: a module can do nothing with it, and who
// breaks out of one should find nothing. (In a pod with a user namespace on the host's network,
// /sys is the host's, bound.)
static bool is_for_native(const struct plan_mount *m)
{
    static const char *const types[] = {"proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts"};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (strcmp(types[i], m->spec.type) == 0)
            return true;
    }
    return oci_path_is(m->destination, "/proc") || oci_path_is(m->destination, "/sys") ||
           oci_path_is(m->destination, "/dev");
}

// What belongs to the host's users, mounted as if it were the container's.
static int read_mapping(const struct plan *p, bool *ret, json_object *o, struct error *err)
{
    struct id_maps ids = {0};
    if (oci_id_mappings_read(o, "uidMappings", &ids.uid, err) < 0 ||
        oci_id_mappings_read(o, "gidMappings", &ids.gid, err) < 0)
        return -1;
    *ret = ids.uid.length || ids.gid.length;
    return !*ret || id_maps_equal(&ids, &p->ids)
               ? 0
               : error_set(err, STATUS_UNIMPLEMENTED,
                           "uidMappings, gidMappings: a WebAssembly container can only have those "
                           "of its user namespace");
}

// An option may be several, separated by commas.
static bool says_owner(const char *option)
{
    for (; option; option = strchr(option, ',')) {
        option += *option == ',';
        if (strncmp(option, "uid=", 4) == 0 || strncmp(option, "gid=", 4) == 0)
            return true;
    }
    return false;
}

// With users of the pod's own, ids in a spec are theirs: what takes the host's would be another's.
static int check_owners(const struct plan *p, const struct plan_mount *m, struct error *err)
{
    if (m->mapped && !mount_is_bind(&m->spec))
        return error_set(err, STATUS_UNIMPLEMENTED, "uidMappings, gidMappings: only of a bind");
    for (size_t i = 0; p->user_ns && i < m->spec.n_options; i++) {
        const char *option = m->spec.options[i];
        if (says_owner(option))
            return error_set(err, STATUS_UNIMPLEMENTED,
                             "options[%zu]: %.40s in a user namespace: leave it out", i, option);
    }
    return 0;
}

static int read_mount(const struct plan *p, struct plan_mount *ret, json_object *o,
                      struct error *err)
{
    char **options = NULL;
    ret->spec.type = "bind";
    if (read_mapping(p, &ret->mapped, o, err) < 0 ||
        json_get_string(o, "destination", &ret->destination, err) < 0 ||
        json_get_string(o, "type", &ret->spec.type, err) < 0 ||
        json_get_string(o, "source", &ret->spec.source, err) < 0 ||
        read_strings(o, "options", &options, err) < 0)
        return -1;
    ret->spec.options = (const char *const *)options;
    while (options[ret->spec.n_options])
        ret->spec.n_options++;
    if (ret->destination && ret->destination[0] == '/')
        return 0;
    return error_set(err, STATUS_INVALID_ARGUMENT, "destination: want an absolute path");
}

static int read_mounts(struct plan *p, struct error *err)
{
    json_object *list = NULL;
    if (json_get_array(p->spec, "mounts", &list, err) < 0)
        return -1;
    size_t n = list ? json_object_array_length(list) : 0;
    if (n > PLAN_MOUNTS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "mounts: more than %d", PLAN_MOUNTS_MAX);
    p->mounts = calloc(n + 1, sizeof(*p->mounts));
    if (!p->mounts)
        return error_errno(err, ENOMEM, "mounts");
    for (size_t i = 0; i < n; i++) {
        struct plan_mount *m = &p->mounts[p->n_mounts++];
        if (read_mount(p, m, json_object_array_get_idx(list, i), err) < 0)
            return error_wrap(err, "mounts[%zu]", i);
        if (is_for_native(m)) {
            free((void *)m->spec.options);
            p->n_mounts--;
            *m = (struct plan_mount){0};
        } else if (check_owners(p, m, err) < 0) {
            return error_wrap(err, "mounts[%zu]", i);
        }
    }
    return 0;
}

// ---- namespaces ---------------------------------------------------------------------------------

struct namespace_type {
    const char *type;
    int flag;
    size_t path; // offset of it in struct plan
};

// A mount namespace of its own it has in any case.
static const struct namespace_type namespace_types[] = {
    {"network", CLONE_NEWNET, offsetof(struct plan, net_ns)},
    {"ipc", CLONE_NEWIPC, offsetof(struct plan, ipc_ns)},
    {"uts", CLONE_NEWUTS, offsetof(struct plan, uts_ns)},
    {"pid", CLONE_NEWPID, offsetof(struct plan, pid_ns)},
    {"cgroup", CLONE_NEWCGROUP, offsetof(struct plan, cgroup_ns)},
    {"user", 0, offsetof(struct plan, user_ns)}, // never new: checked
};

static int add_namespace(struct plan *p, const char *type, const char *path, struct error *err)
{
    if (strcmp(type, "user") == 0 && !(path && path[0]))
        return error_set(
            err, STATUS_UNIMPLEMENTED,
            "user: a WebAssembly container cannot have one of its own, only its pod's, "
            "by path");
    if (strcmp(type, "mount") == 0 && !(path && path[0]))
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(namespace_types); i++) {
        const struct namespace_type *t = &namespace_types[i];
        if (strcmp(t->type, type) != 0)
            continue;
        if (path && path[0])
            *(const char **)(void *)((char *)p + t->path) = path;
        else
            p->new_ns |= t->flag;
        return 0;
    }
    return error_set(err, STATUS_UNIMPLEMENTED, "%.40s%s: a WebAssembly container has none", type,
                     path && path[0] ? " with a path" : "");
}

static int read_namespaces(struct plan *p, json_object *os, struct error *err)
{
    json_object *list = NULL;
    if (json_get_array(os, "namespaces", &list, err) < 0)
        return -1;
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        json_object *o = json_object_array_get_idx(list, i);
        const char *type = "", *path = NULL;
        if (json_get_string(o, "type", &type, err) < 0 ||
            json_get_string(o, "path", &path, err) < 0 || add_namespace(p, type, path, err) < 0)
            return error_wrap(err, "namespaces[%zu]", i);
    }
    return 0;
}

// ---- ids ----------------------------------------------------------------------------------------

static int read_ids(struct plan *p, json_object *os, struct error *err)
{
    if (oci_id_mappings_read(os, "uidMappings", &p->ids.uid, err) < 0 ||
        oci_id_mappings_read(os, "gidMappings", &p->ids.gid, err) < 0)
        return -1;
    const bool mapped = p->ids.uid.length && p->ids.gid.length;
    if (mapped != (p->user_ns != NULL) || !p->ids.uid.length != !p->ids.gid.length)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "uidMappings, gidMappings: want both with a user namespace, and none "
                         "without one");
    return 0;
}

static uint32_t outside(const struct id_map *m, uint32_t id)
{
    uint32_t host = UINT32_MAX; // nobody
    (void)id_map_outside(m, id, &host);
    return host;
}

uid_t plan_host_uid(const struct plan *p)
{
    return outside(&p->ids.uid, p->uid);
}

gid_t plan_host_gid(const struct plan *p)
{
    return outside(&p->ids.gid, p->gid);
}

int plan_check_ids(const struct plan *p, struct error *err)
{
    static const char text[] =
        "process: user: %s: %u is none of the pod's: its user namespace has %u ids from %u on";
    const struct id_map *u = &p->ids.uid, *g = &p->ids.gid;
    if (outside(u, p->uid) == UINT32_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, text, "uid", p->uid, u->length, u->inside);
    if (outside(g, p->gid) == UINT32_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, text, "gid", p->gid, g->length, g->inside);
    for (size_t i = 0; i < p->n_groups; i++) {
        if (outside(g, p->groups[i]) == UINT32_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, text, "additionalGids", p->groups[i],
                             g->length, g->inside);
    }
    return 0;
}

// ---- all of it ---------------------------------------------------------------------------------

static int read_paths(json_object *os, const char *key, char ***ret, struct error *err)
{
    if (read_strings(os, key, ret, err) < 0)
        return -1;
    for (size_t i = 0; (*ret)[i]; i++) {
        if ((*ret)[i][0] != '/')
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s[%zu]: want an absolute path", key,
                             i);
    }
    return 0;
}

static int read_linux(struct plan *p, struct error *err)
{
    json_object *os = NULL;
    if (json_get_object(p->spec, "linux", &os, err) < 0)
        return -1;
    if (os && (read_namespaces(p, os, err) < 0 || read_ids(p, os, err) < 0 ||
               read_paths(os, "maskedPaths", &p->masked, err) < 0 ||
               read_paths(os, "readonlyPaths", &p->readonly, err) < 0))
        return error_wrap(err, "linux");
    return 0;
}

static int read_root(struct plan *p, const char *bundle, struct error *err)
{
    const char *root = oci_spec_root_path(p->spec); // relative to the bundle
    if (path_format(p->root, sizeof(p->root), "%s%s%s", root[0] == '/' ? "" : bundle,
                    root[0] == '/' ? "" : "/", root) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "root.path: too long");
    p->root_readonly = oci_spec_root_readonly(p->spec);
    return 0;
}

static int read_spec(struct plan *p, const char *bundle, struct error *err)
{
    json_object *process = NULL;
    if (unsupported_check(p->spec, err) < 0 ||
        json_get_object(p->spec, "process", &process, err) < 0 ||
        read_process(p, process, err) < 0 || read_linux(p, err) < 0 || plan_check_ids(p, err) < 0 ||
        read_mounts(p, err) < 0 || json_get_string(p->spec, "hostname", &p->hostname, err) < 0 ||
        json_get_string(p->spec, "domainname", &p->domainname, err) < 0 ||
        preload_find(p->spec, p->env, &p->nn_preload, err) < 0)
        return -1;
    p->cgroup = oci_spec_cgroups_path(p->spec);
    return read_root(p, bundle, err);
}

int plan_make(struct plan *p, json_object *spec, const char *bundle, struct error *err)
{
    *p = (struct plan){.spec = spec, .cwd = "/", .umask = 022};
    if (read_spec(p, bundle, err) == 0)
        return 0;
    plan_done(p);
    return error_wrap(err, "config.json");
}

int plan_read(struct plan *p, const char *bundle, struct error *err)
{
    json_object *spec = oci_spec_load(bundle, err);
    return spec ? plan_make(p, spec, bundle, err) : -1;
}

int plan_parse_process(struct plan *p, const void *text, size_t len, struct error *err)
{
    *p = (struct plan){.cwd = "/", .umask = 022};
    p->spec = json_parse(text, len, "process", err);
    if (p->spec && oci_process_check(p->spec, err) == 0 && read_process(p, p->spec, err) == 0)
        return 0;
    plan_done(p);
    return -1;
}

int plan_read_process(struct plan *p, int fd, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > OCI_SPEC_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "process: larger than %u bytes",
                         OCI_SPEC_MAX);
    void *text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (text == MAP_FAILED)
        return error_errno(err, errno, "process");
    int r = plan_parse_process(p, text, (size_t)st.st_size, err);
    munmap(text, (size_t)st.st_size);
    return r;
}

static const char *find_env(const struct plan *p, const char *name)
{
    size_t len = strlen(name);
    for (char *const *env = p->env; *env; env++) {
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    }
    return NULL;
}

const char *plan_path(const struct plan *p)
{
    const char *path = find_env(p, "PATH");
    return path ? path : "/";
}

int plan_tell_cwd(struct plan *p, struct error *err)
{
    size_t n = 0;
    if (strcmp(p->cwd, "/") == 0 || find_env(p, "PWD"))
        return 0;
    while (p->env[n])
        n++;
    char **env = reallocarray(p->env, n + 2, sizeof(*env));
    if (env)
        p->env = env;
    if (!env || asprintf(&p->pwd, "PWD=%s", p->cwd) < 0) {
        p->pwd = NULL;
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    }
    p->env[n] = p->pwd;
    p->env[n + 1] = NULL;
    return 0;
}

void plan_done(struct plan *p)
{
    for (size_t i = 0; i < p->n_mounts; i++)
        free((void *)p->mounts[i].spec.options);
    free(p->mounts);
    free(p->groups);
    free(p->args);
    free(p->env);
    free(p->pwd);
    free(p->masked);
    free(p->readonly);
    json_object_put(p->spec);
    *p = (struct plan){0};
}
