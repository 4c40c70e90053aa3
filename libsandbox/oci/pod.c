#include "oci/pod.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "base/json.h"

static const char *const pid_mode_names[] = {
    [POD_PID_CONTAINER] = "container",
    [POD_PID_POD] = "pod",
    [POD_PID_NODE] = "node",
};

// The strings of a pod and where they stand in the file: object `group`, key `key`.
struct field {
    const char *group;
    const char *key;
    size_t offset;
    bool any_text; // else an absolute path
};

static const struct field fields[] = {
    {"runtime", "type", offsetof(struct pod, runtime_type), true},
    {"namespaces", "network", offsetof(struct pod, net_ns), false},
    {"namespaces", "ipc", offsetof(struct pod, ipc_ns), false},
    {"namespaces", "uts", offsetof(struct pod, uts_ns), false},
    {"namespaces", "pid", offsetof(struct pod, pid_ns), false},
    {"namespaces", "user", offsetof(struct pod, user_ns), false},
    {"files", "hosts", offsetof(struct pod, hosts), false},
    {"files", "hostname", offsetof(struct pod, hostname), false},
    {"files", "resolv_conf", offsetof(struct pod, resolv_conf), false},
    {"files", "shm", offsetof(struct pod, shm), false},
    // A systemd cgroup parent ("a.slice") is not a path from the root.
    {"cgroup", "parent", offsetof(struct pod, cgroup_parent), true},
};

static char **field_of(struct pod *pod, const struct field *f)
{
    return (char **)(void *)((char *)pod + f->offset);
}

static const char *field_value(const struct pod *pod, const struct field *f)
{
    return *(char *const *)(const void *)((const char *)pod + f->offset);
}

void pod_done(struct pod *pod)
{
    free(pod->id);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        free(*field_of(pod, &fields[i]));
    *pod = (struct pod){0};
}

// Consumes value. Returns 0 or -1 (no memory; also when value is NULL).
static int put(json_object *obj, const char *key, json_object *value)
{
    if (value && json_object_object_add(obj, key, value) == 0)
        return 0;
    json_object_put(value);
    return -1;
}

// The object `key` inside obj, made if it is missing. NULL without memory. Borrowed.
static json_object *sub_object(json_object *obj, const char *key)
{
    json_object *sub = NULL;
    if (json_object_object_get_ex(obj, key, &sub))
        return sub;
    sub = json_object_new_object();
    return put(obj, key, sub) < 0 ? NULL : sub;
}

// The mappings of the user namespace: object "ids", keys "uid" and "gid", each the numbers inside,
// outside, length.
static const struct {
    const char *key;
    size_t offset;
} id_keys[] = {
    {"uid", offsetof(struct pod, ids.uid)},
    {"gid", offsetof(struct pod, ids.gid)},
};

static const struct id_map *id_map_of(const struct pod *pod, size_t i)
{
    return (const struct id_map *)(const void *)((const char *)pod + id_keys[i].offset);
}

static json_object *id_map_to_json(const struct id_map *m)
{
    const uint32_t numbers[] = {m->inside, m->outside, m->length};
    json_object *array = json_object_new_array();
    for (size_t i = 0; array && i < ARRAY_SIZE(numbers); i++) {
        json_object *n = json_object_new_int64(numbers[i]);
        if (n && json_object_array_add(array, n) == 0)
            continue;
        json_object_put(n);
        json_object_put(array);
        return NULL;
    }
    return array;
}

static int ids_to_json(const struct pod *pod, json_object *doc)
{
    json_object *ids = pod->user_ns ? sub_object(doc, "ids") : NULL;
    if (!pod->user_ns)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(id_keys); i++)
        if (!ids || put(ids, id_keys[i].key, id_map_to_json(id_map_of(pod, i))) < 0)
            return -1;
    return 0;
}

static int pod_to_json(const struct pod *pod, json_object *doc)
{
    if (put(doc, "version", json_object_new_int(POD_VERSION)) < 0 ||
        put(doc, "id", json_object_new_string(pod->id)) < 0 ||
        put(doc, "pid_mode", json_object_new_string(pid_mode_names[pod->pid_mode])) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const char *value = field_value(pod, &fields[i]);
        if (!value)
            continue;
        json_object *group = sub_object(doc, fields[i].group);
        if (!group || put(group, fields[i].key, json_object_new_string(value)) < 0)
            return -1;
    }
    return ids_to_json(pod, doc);
}

static int ids_check(const struct pod *pod, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(id_keys); i++) {
        const struct id_map *m = id_map_of(pod, i);
        if (!pod->user_ns && m->length)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "ids.%s: present, though the pod has no user namespace",
                             id_keys[i].key);
        if (pod->user_ns && !id_map_valid(m))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "ids.%s: missing or not valid, though the pod has a user namespace",
                             id_keys[i].key);
    }
    return 0;
}

// What both the writer and the reader insist on.
static int pod_check(const struct pod *pod, struct error *err)
{
    if (ident_check(pod->id, "id", err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const char *value = field_value(pod, &fields[i]);
        char name[64];
        (void)path_format(name, sizeof name, "%s.%s", fields[i].group, fields[i].key);
        if (value && !fields[i].any_text && ident_path_check(value, name, err) < 0)
            return -1;
    }
    if (pod->pid_mode == POD_PID_POD && !pod->pid_ns)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "namespaces.pid: missing, though the pod shares its pid namespace");
    if (pod->pid_mode != POD_PID_POD && pod->pid_ns)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "namespaces.pid: present, though pid_mode is \"%s\"",
                         pid_mode_names[pod->pid_mode]);
    return ids_check(pod, err);
}

int pod_store(const struct pod *pod, const char *dir, struct error *err)
{
    if ((size_t)pod->pid_mode >= ARRAY_SIZE(pid_mode_names))
        return error_set(err, STATUS_INVALID_ARGUMENT, "pid_mode: %d is not a mode",
                         (int)pod->pid_mode);
    if (pod_check(pod, err) < 0)
        return error_wrap(err, "%s/%s", dir, POD_FILE);
    _cleanup_json_ json_object *doc = json_object_new_object();
    size_t len = 0;
    const char *text = NULL;
    if (doc && pod_to_json(pod, doc) == 0)
        text = json_object_to_json_string_length(
            doc, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    if (!text)
        return error_errno(err, ENOMEM, "%s/%s", dir, POD_FILE);
    if (len > POD_SIZE_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s/%s: over %u bytes", dir, POD_FILE,
                         (unsigned)POD_SIZE_MAX);
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "%s", dir);
    int r = file_write_atomic_at(fd, POD_FILE, text, len, 0600);
    return r < 0 ? error_errno(err, r, "%s/%s", dir, POD_FILE) : 0;
}

static int take_string(json_object *obj, const char *key, char **ret, struct error *err)
{
    const char *value = NULL;
    if (json_get_string(obj, key, &value, err) < 0)
        return -1;
    if (value && !(*ret = strdup(value)))
        return error_errno(err, ENOMEM, "%s", key);
    return 0;
}

static int take_pid_mode(json_object *doc, enum pod_pid_mode *ret, struct error *err)
{
    const char *name = NULL;
    if (json_get_string(doc, "pid_mode", &name, err) < 0)
        return -1;
    for (size_t i = 0; name && i < ARRAY_SIZE(pid_mode_names); i++) {
        if (strcmp(name, pid_mode_names[i]) == 0) {
            *ret = (enum pod_pid_mode)i;
            return 0;
        }
    }
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "pid_mode: must be \"container\", \"pod\" or \"node\"");
}

static int take_id_map(json_object *ids, const char *key, struct id_map *ret, struct error *err)
{
    json_object *array = NULL;
    uint32_t *const numbers[] = {&ret->inside, &ret->outside, &ret->length};
    if (json_get_array(ids, key, &array, err) < 0)
        return -1;
    if (!array)
        return 0;
    if (json_object_array_length(array) != ARRAY_SIZE(numbers))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: want [inside, outside, length]", key);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        json_object *n = json_object_array_get_idx(array, i);
        int64_t value = json_object_get_int64(n);
        if (!json_object_is_type(n, json_type_int) || value < 0 || value > UINT32_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: not a number of an id", key);
        *numbers[i] = (uint32_t)value;
    }
    return 0;
}

static int take_ids(json_object *doc, struct id_maps *ret, struct error *err)
{
    json_object *ids = NULL;
    if (json_get_object(doc, "ids", &ids, err) < 0)
        return -1;
    if (ids && (take_id_map(ids, "uid", &ret->uid, err) < 0 ||
                take_id_map(ids, "gid", &ret->gid, err) < 0))
        return error_wrap(err, "ids");
    return 0;
}

static int pod_from_json(json_object *doc, struct pod *pod, struct error *err)
{
    if (!json_object_is_type(doc, json_type_object))
        return error_set(err, STATUS_INVALID_ARGUMENT, "not a JSON object");
    int64_t version = 0;
    if (json_get_int(doc, "version", &version, err) < 0)
        return -1;
    if (version != POD_VERSION)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "version %lld, but this program reads version %d; run the same release "
                         "of the sandboxer and the task server",
                         (long long)version, POD_VERSION);
    if (take_string(doc, "id", &pod->id, err) < 0 || take_pid_mode(doc, &pod->pid_mode, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        json_object *group = NULL;
        if (json_get_object(doc, fields[i].group, &group, err) < 0)
            return -1;
        if (group && take_string(group, fields[i].key, field_of(pod, &fields[i]), err) < 0)
            return error_wrap(err, "%s", fields[i].group);
    }
    if (take_ids(doc, &pod->ids, err) < 0)
        return -1;
    return pod_check(pod, err);
}

int pod_parse(struct pod *pod, const void *data, size_t len, struct error *err)
{
    _cleanup_json_ json_object *doc = json_parse(data, len, POD_FILE, err);
    if (!doc)
        return -1;
    _cleanup_(pod_done) struct pod parsed = {0};
    if (pod_from_json(doc, &parsed, err) < 0)
        return -1;
    *pod = parsed;
    parsed = (struct pod){0};
    return 0;
}

int pod_load(struct pod *pod, const char *dir, struct error *err)
{
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "%s", dir);
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, POD_SIZE_MAX);
    int r = file_read_at(fd, POD_FILE, &text);
    if (r < 0)
        return error_errno(err, r, "%s/%s", dir, POD_FILE);
    if (pod_parse(pod, text.data, text.len, err) < 0)
        return error_wrap(err, "%s/%s", dir, POD_FILE);
    return 0;
}
