// Making a container a member of its pod.
//
// containerd writes a container's config.json as if the pod had a pause process: namespaces are
// named as /proc/<pid of the sandbox>/ns/<type>. Our pods have no such process (the pid is 0), and
// even a path that looks right proves nothing, so the pod's own record decides which namespace a
// container joins, and the text of config.json is only read where it tells something that the
// record cannot know: a pid namespace of one certain other container (CRI's mode TARGET).
//
// For the same reason containerd mounts none of the pod's files into the container, and gives it a
// private /dev/shm; both are put right here.
//
// The new lists are built beside the old ones and put into place when nothing can be refused any
// more, so what is refused leaves the spec as it was.
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/spec.h"

// What containerd writes for the pid namespace of the pod (or of the host: it does not say which).
#define SANDBOX_PID_NS "/proc/0/ns/pid"

enum verdict { NS_KEEP, NS_DROP, NS_PATH, NS_PRIVATE, NS_REFUSE };

// Namespaces that belong to the pod.
static const struct {
    const char *type;
    size_t offset; // of the path in struct pod
    // Without one in the pod: leaving it out makes the container a member of the host's.
    enum verdict without;
} pod_namespaces[] = {
    {"network", offsetof(struct pod, net_ns), NS_DROP},
    {"ipc", offsetof(struct pod, ipc_ns), NS_DROP},
    {"uts", offsetof(struct pod, uts_ns), NS_DROP},
    // Dropping this one would turn the container's root into the host's.
    {"user", offsetof(struct pod, user_ns), NS_REFUSE},
};

static const char *pod_namespace(const struct pod *pod, size_t i)
{
    return *(char *const *)(const void *)((const char *)pod + pod_namespaces[i].offset);
}

static const char *get_string(json_object *obj, const char *key)
{
    const char *value = NULL;
    return json_get_string(obj, key, &value, NULL) < 0 ? NULL : value;
}

// Consumes value. Returns 0 or -1 (no memory; also when value is NULL).
static int put(json_object *obj, const char *key, json_object *value)
{
    if (value && json_object_object_add(obj, key, value) == 0)
        return 0;
    json_object_put(value);
    return -1;
}

static int append(json_object *array, json_object *value)
{
    if (value && json_object_array_add(array, value) == 0)
        return 0;
    json_object_put(value);
    return -1;
}

// Sets "key" of obj to a string. Returns 0 or -1.
static int put_string(json_object *obj, const char *key, const char *value)
{
    return put(obj, key, json_object_new_string(value));
}

static enum verdict judge_pid(const struct pod *pod, const char *path, const char **ret_path)
{
    if (!path || strcmp(path, SANDBOX_PID_NS) != 0)
        return NS_KEEP;
    switch (pod->pid_mode) {
    case POD_PID_POD:
        *ret_path = pod->pid_ns;
        return pod->pid_ns ? NS_PATH : NS_REFUSE;
    case POD_PID_NODE:
        return NS_DROP;
    case POD_PID_CONTAINER:
        break;
    }
    // The container asks for a namespace that its pod does not share: it gets one of its own.
    return NS_PRIVATE;
}

static enum verdict judge(const struct pod *pod, json_object *ns, const char **ret_path)
{
    const char *type = get_string(ns, "type");
    if (!type)
        return NS_KEEP;
    if (strcmp(type, "pid") == 0)
        return judge_pid(pod, get_string(ns, "path"), ret_path);
    for (size_t i = 0; i < ARRAY_SIZE(pod_namespaces); i++) {
        if (strcmp(type, pod_namespaces[i].type) != 0)
            continue;
        *ret_path = pod_namespace(pod, i);
        return *ret_path ? NS_PATH : pod_namespaces[i].without;
    }
    return NS_KEEP;
}

// A copy of the entry (with all that we do not know) and another path; NULL: without one.
static json_object *with_path(json_object *ns, const char *path)
{
    json_object *copy = NULL;
    if (json_object_deep_copy(ns, &copy, NULL) < 0)
        return NULL;
    json_object_object_del(copy, "path");
    if (path && put_string(copy, "path", path) < 0) {
        json_object_put(copy);
        return NULL;
    }
    return copy;
}

static int join_namespace(json_object *ns, const struct pod *pod, json_object *out,
                          struct error *err)
{
    const char *path = NULL;
    int r = 0;
    switch (judge(pod, ns, &path)) {
    case NS_DROP:
        break;
    case NS_KEEP:
        r = append(out, json_object_get(ns));
        break;
    case NS_PATH:
        r = append(out, with_path(ns, path));
        break;
    case NS_PRIVATE:
        r = append(out, with_path(ns, NULL));
        break;
    case NS_REFUSE:
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "linux.namespaces: the container asks for the %s namespace of pod %s, "
                         "which has none; give pod and container the same namespace options",
                         get_string(ns, "type"), pod->id ? pod->id : "?");
    }
    return r < 0 ? error_errno(err, ENOMEM, "linux.namespaces") : 0;
}

static bool has_namespace(json_object *namespaces, const char *type)
{
    for (size_t i = 0; i < json_object_array_length(namespaces); i++) {
        const char *t = get_string(json_object_array_get_idx(namespaces, i), "type");
        if (t && strcmp(t, type) == 0)
            return true;
    }
    return false;
}

static json_object *new_namespace(const char *type, const char *path)
{
    json_object *ns = json_object_new_object();
    if (ns && put_string(ns, "type", type) == 0 && put_string(ns, "path", path) == 0)
        return ns;
    json_object_put(ns);
    return NULL;
}

// The new linux.namespaces. NULL on error.
static json_object *joined_namespaces(json_object *old, const struct pod *pod, struct error *err)
{
    _cleanup_json_ json_object *out = json_object_new_array();
    if (!out) {
        error_errno(err, ENOMEM, "linux.namespaces");
        return NULL;
    }
    for (size_t i = 0; i < json_object_array_length(old); i++) {
        if (join_namespace(json_object_array_get_idx(old, i), pod, out, err) < 0)
            return NULL;
    }
    // A type that is not in the list would mean the host's.
    for (size_t i = 0; i < ARRAY_SIZE(pod_namespaces); i++) {
        const char *path = pod_namespace(pod, i);
        if (!path || has_namespace(out, pod_namespaces[i].type))
            continue;
        if (append(out, new_namespace(pod_namespaces[i].type, path)) < 0) {
            error_errno(err, ENOMEM, "linux.namespaces");
            return NULL;
        }
    }
    return take_ptr(out);
}

// Lexically cleans a mount destination ("//etc/./x/../hosts" is "/etc/hosts"; relative ones are
// taken from the root, as runtimes do). Returns false if it does not fit.
static bool clean_path(const char *path, char *out, size_t size)
{
    size_t n = 0;
    for (const char *p = path; *p;) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.') {
            while (n > 0 && out[--n] != '/')
                ;
        } else if (len > 0 && !(len == 1 && p[0] == '.')) {
            if (n + 1 + len + 1 > size)
                return false;
            out[n++] = '/';
            memcpy(out + n, p, len);
            n += len;
        }
        p += len;
        p += *p == '/';
    }
    if (n == 0)
        out[n++] = '/';
    out[n] = '\0';
    return true;
}

bool oci_path_is(const char *path, const char *clean)
{
    char out[PATH_MAX];
    return clean_path(path, out, sizeof(out)) && strcmp(out, clean) == 0;
}

static bool is_at(json_object *mount, const char *destination)
{
    const char *raw = get_string(mount, "destination");
    return raw && oci_path_is(raw, destination);
}

static bool mounted_at(json_object *mounts, const char *destination)
{
    for (size_t i = 0; i < json_object_array_length(mounts); i++) {
        if (is_at(json_object_array_get_idx(mounts, i), destination))
            return true;
    }
    return false;
}

bool oci_spec_mounts_at(json_object *spec, const char *destination)
{
    json_object *mounts = NULL;
    return json_get_array(spec, "mounts", &mounts, NULL) == 0 && mounts &&
           mounted_at(mounts, destination);
}

static int append_words(json_object *array, const char *const *words)
{
    for (; *words; words++)
        if (append(array, json_object_new_string(*words)) < 0)
            return -1;
    return 0;
}

// A private bind of a tree with more options, which end in NULL. NULL without memory.
static json_object *new_bind(const char *source, const char *destination, const char *const *more)
{
    static const char *const words[] = {"rbind", "rprivate", NULL};
    _cleanup_json_ json_object *mount = json_object_new_object();
    json_object *options = json_object_new_array();
    if (!mount || put(mount, "options", options) < 0 || append_words(options, words) < 0 ||
        append_words(options, more) < 0)
        return NULL;
    if (put_string(mount, "destination", destination) < 0 ||
        put_string(mount, "type", "bind") < 0 || put_string(mount, "source", source) < 0)
        return NULL;
    return take_ptr(mount);
}

json_object *oci_id_mappings(const struct id_map *m)
{
    _cleanup_json_ json_object *run = json_object_new_object();
    if (!run || put(run, "containerID", json_object_new_int64(m->inside)) < 0 ||
        put(run, "hostID", json_object_new_int64(m->outside)) < 0 ||
        put(run, "size", json_object_new_int64(m->length)) < 0)
        return NULL;
    _cleanup_json_ json_object *list = json_object_new_array();
    if (!list || append(list, take_ptr(run)) < 0)
        return NULL;
    return take_ptr(list);
}

static int read_run(json_object *run, struct id_map *ret, struct error *err)
{
    int64_t numbers[3] = {-1, -1, -1};
    static const char *const keys[] = {"containerID", "hostID", "size"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (json_get_int(run, keys[i], &numbers[i], err) < 0)
            return -1;
        if (numbers[i] < 0 || numbers[i] > UINT32_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: want a number from 0 to 4294967295",
                             keys[i]);
    }
    *ret = (struct id_map){(uint32_t)numbers[0], (uint32_t)numbers[1], (uint32_t)numbers[2]};
    return id_map_valid(ret) ? 0 : error_set(err, STATUS_INVALID_ARGUMENT, "no run of ids");
}

int oci_id_mappings_read(json_object *o, const char *key, struct id_map *ret, struct error *err)
{
    json_object *list = NULL;
    *ret = (struct id_map){0};
    if (json_get_array(o, key, &list, err) < 0)
        return -1;
    size_t n = list ? json_object_array_length(list) : 0;
    if (n > 1)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: %zu runs of ids, want one", key, n);
    return n && read_run(json_object_array_get_idx(list, 0), ret, err) < 0
               ? error_wrap(err, "%s[0]", key)
               : 0;
}

// In a pod with a user namespace the files, which belong to the host's root, are mounted with the
// pod's id mappings, so that they belong to its root.
static int add_file(json_object *mounts, json_object *spec, const struct pod *pod,
                    const char *source, const char *destination)
{
    if (!source || mounted_at(mounts, destination))
        return 0;
    const char *const access[] = {oci_spec_root_readonly(spec) ? "ro" : "rw", NULL};
    json_object *mount = new_bind(source, destination, access);
    if (mount && pod->user_ns &&
        (put(mount, "uidMappings", oci_id_mappings(&pod->ids.uid)) < 0 ||
         put(mount, "gidMappings", oci_id_mappings(&pod->ids.gid)) < 0)) {
        json_object_put(mount);
        return -1;
    }
    return append(mounts, mount);
}

static int add_files(json_object *mounts, json_object *spec, const struct pod *pod)
{
    if (add_file(mounts, spec, pod, pod->hosts, "/etc/hosts") < 0 ||
        add_file(mounts, spec, pod, pod->hostname, "/etc/hostname") < 0 ||
        add_file(mounts, spec, pod, pod->resolv_conf, "/etc/resolv.conf") < 0)
        return -1;
    return 0;
}

static bool is_private_shm(json_object *mount)
{
    const char *type = get_string(mount, "type");
    return type && strcmp(type, "tmpfs") == 0 && is_at(mount, "/dev/shm");
}

static bool is_sysfs(json_object *mount)
{
    const char *type = get_string(mount, "type");
    return type && strcmp(type, "sysfs") == 0;
}

// What a mount of the spec becomes. NULL without memory.
static json_object *joined_mount(json_object *mount, const struct pod *pod)
{
    if (pod->shm && is_private_shm(mount))
        return new_bind(pod->shm, "/dev/shm", (const char *const[]){"rw", NULL});
    // sysfs shows the network, and the kernel mounts it only for users whom that belongs to.
    // containerd 2.3 writes such a bind itself, 2.1 does not.
    if (pod->user_ns && !pod->net_ns && is_sysfs(mount))
        return new_bind("/sys", get_string(mount, "destination"),
                        (const char *const[]){"rro", "nosuid", "noexec", "nodev", NULL});
    return json_object_get(mount);
}

// The new mounts. NULL without memory.
static json_object *joined_mounts(json_object *spec, const struct pod *pod)
{
    _cleanup_json_ json_object *out = json_object_new_array();
    json_object *old = NULL;
    if (!out || json_get_array(spec, "mounts", &old, NULL) < 0)
        return NULL;
    size_t n = old ? json_object_array_length(old) : 0;
    for (size_t i = 0; i < n; i++) {
        if (append(out, joined_mount(json_object_array_get_idx(old, i), pod)) < 0)
            return NULL;
    }
    return add_files(out, spec, pod) < 0 ? NULL : take_ptr(out);
}

// Whose ids they are says the namespace, and the pod's record knows it.
static int check_ids(json_object *lin, const struct pod *pod, struct error *err)
{
    struct id_maps ids = {0};
    if (!pod->user_ns)
        return 0;
    if (oci_id_mappings_read(lin, "uidMappings", &ids.uid, err) < 0 ||
        oci_id_mappings_read(lin, "gidMappings", &ids.gid, err) < 0)
        return error_wrap(err, "linux");
    return (!ids.uid.length && !ids.gid.length) || id_maps_equal(&ids, &pod->ids)
               ? 0
               : error_set(err, STATUS_INVALID_ARGUMENT,
                           "linux.uidMappings, gidMappings: others than the pod's");
}

int oci_spec_join_pod(json_object *spec, const struct pod *pod, struct error *err)
{
    json_object *lin = NULL, *old = NULL;
    if (json_get_object(spec, "linux", &lin, err) < 0 ||
        (lin && json_get_array(lin, "namespaces", &old, err) < 0))
        return -1;
    if (!old)
        return error_set(err, STATUS_INVALID_ARGUMENT, "linux.namespaces: missing or empty");

    _cleanup_json_ json_object *namespaces = joined_namespaces(old, pod, err);
    if (!namespaces || check_ids(lin, pod, err) < 0)
        return -1;
    json_object *mounts = joined_mounts(spec, pod);
    if (put(spec, "mounts", mounts) < 0)
        return error_errno(err, ENOMEM, "mounts");
    if (put(lin, "namespaces", take_ptr(namespaces)) < 0)
        return error_errno(err, ENOMEM, "linux.namespaces");
    if (pod->user_ns && (put(lin, "uidMappings", oci_id_mappings(&pod->ids.uid)) < 0 ||
                         put(lin, "gidMappings", oci_id_mappings(&pod->ids.gid)) < 0))
        return error_errno(err, ENOMEM, "linux.uidMappings");
    // Setting a name in a namespace that is not the pod's own would rename the host.
    if (!pod->uts_ns) {
        json_object_object_del(spec, "hostname");
        json_object_object_del(spec, "domainname");
    }
    return 0;
}
