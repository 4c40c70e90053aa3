#include "sandbox/record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"

static const char *const state_names[] = {
    [SANDBOX_CREATING] = "creating", [SANDBOX_CREATED] = "created", [SANDBOX_READY] = "ready",
    [SANDBOX_STOPPING] = "stopping", [SANDBOX_STOPPED] = "stopped",
};
_Static_assert(ARRAY_SIZE(state_names) == SANDBOX_STATE_MAX_, "every state has a name");

const char *sandbox_state_name(enum sandbox_state state)
{
    return state < SANDBOX_STATE_MAX_ ? state_names[state] : "unknown";
}

void record_done(struct sandbox_record *r)
{
    free(r->id);
    free(r->netns);
    free(r->hostname);
    free(r->name);
    free(r->runtime_type);
    json_object_put(r->labels);
    json_object_put(r->annotations);
    pod_done(&r->pod);
    undo_done(&r->undo);
    *r = (struct sandbox_record){0};
}

// ---- writing ---------------------------------------------------------------------------------

// Adds a value, which is taken. Returns whether that worked: a member that is silently missing
// would make a successor forget what must be undone.
static bool add(json_object *o, const char *key, json_object *value)
{
    if (value && json_object_object_add(o, key, value) == 0)
        return true;
    json_object_put(value);
    return false;
}

static bool add_string(json_object *o, const char *key, const char *value)
{
    return !value || add(o, key, json_object_new_string(value));
}

static bool add_int(json_object *o, const char *key, int64_t value)
{
    return add(o, key, json_object_new_int64(value));
}

static bool add_time(json_object *o, const char *key, const struct timespec *t)
{
    const int64_t parts[] = {t->tv_sec, t->tv_nsec};
    json_object *pair = json_object_new_array();
    for (size_t i = 0; pair && i < ARRAY_SIZE(parts); i++) {
        json_object *part = json_object_new_int64(parts[i]);
        if (!part || json_object_array_add(pair, part) < 0) {
            json_object_put(part);
            json_object_put(pair);
            return false;
        }
    }
    return add(o, key, pair);
}

static bool fill_json(json_object *o, const struct sandbox_record *r)
{
    return add_int(o, "version", RECORD_VERSION) && add_string(o, "id", r->id) &&
           add_string(o, "state", sandbox_state_name(r->state)) &&
           add(o, "remove", json_object_new_boolean(r->remove)) &&
           add_time(o, "created_at", &r->created_at) && add_time(o, "exited_at", &r->exited_at) &&
           add_int(o, "exit_status", r->exit_status) && add_string(o, "netns", r->netns) &&
           add_string(o, "hostname", r->hostname) && add_string(o, "name", r->name) &&
           add_string(o, "runtime_type", r->runtime_type) &&
           (!r->labels || add(o, "labels", json_object_get(r->labels))) &&
           (!r->annotations || add(o, "annotations", json_object_get(r->annotations))) &&
           add(o, "resources", resources_to_json(&r->sizes.resources)) &&
           add(o, "overhead", resources_to_json(&r->sizes.overhead)) &&
           add_int(o, "init_pid", r->init.pid) &&
           add_int(o, "init_start_time", (int64_t)r->init.start_time) &&
           add(o, "undo", undo_to_json(&r->undo));
}

int record_store(const struct sandbox_record *r, const char *dir, struct error *err)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    const char *text = o && fill_json(o, r) ? json_text(o) : NULL;
    if (!text)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the record of %s", r->id);
    // The first one leaves room for what later ones add, so that only a Create can be refused.
    size_t len = strlen(text);
    size_t max = RECORD_SIZE_MAX - (r->state == SANDBOX_CREATING ? RECORD_GROWTH_MAX : 0);
    if (len > max)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "labels and annotations: too much, the record of %s would have %zu bytes "
                         "(at most %zu)",
                         r->id, len, max);
    _cleanup_close_ int fd = open(dir, O_DIRECTORY | O_PATH | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, errno, "state directory %s", dir);
    int e = file_write_atomic_at(fd, RECORD_FILE, text, len, 0600);
    return e < 0 ? error_errno(err, e, "cannot write %s/%s", dir, RECORD_FILE) : 0;
}

// ---- reading ---------------------------------------------------------------------------------

// A copy of the string, "" if it is absent.
static int get_string_copy(json_object *o, const char *key, char **ret, struct error *err)
{
    const char *text = "";
    if (json_get_string(o, key, &text, err) < 0)
        return -1;
    if (!(*ret = strdup(text)))
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return 0;
}

static int get_time(json_object *o, const char *key, struct timespec *ret, struct error *err)
{
    json_object *pair = NULL;
    if (json_get_array(o, key, &pair, err) < 0)
        return -1;
    if (!pair)
        return 0;
    if (json_object_array_length(pair) != 2)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: want [seconds, nanoseconds]", key);
    ret->tv_sec = json_object_get_int64(json_object_array_get_idx(pair, 0));
    ret->tv_nsec = json_object_get_int64(json_object_array_get_idx(pair, 1));
    if (ret->tv_nsec < 0 || ret->tv_nsec > 999999999)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: nanoseconds out of range", key);
    return 0;
}

static int get_string_map(json_object *o, const char *key, json_object **ret, struct error *err)
{
    json_object *map = NULL;
    if (json_get_object(o, key, &map, err) < 0)
        return -1;
    if (!map)
        return 0;
    for (struct lh_entry *e = json_object_get_object(map)->head; e; e = e->next)
        if (!json_object_is_type((json_object *)lh_entry_v(e), json_type_string))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s.%s: not a string", key,
                             (const char *)lh_entry_k(e));
    *ret = json_object_get(map);
    return 0;
}

static int get_state(json_object *o, enum sandbox_state *ret, struct error *err)
{
    const char *name = "";
    if (json_get_string(o, "state", &name, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(state_names); i++)
        if (strcmp(state_names[i], name) == 0) {
            *ret = (enum sandbox_state)i;
            return 0;
        }
    return error_set(err, STATUS_INVALID_ARGUMENT, "state: unknown state \"%s\"", name);
}

// Absent in the records of older versions.
static int get_resources(json_object *o, const char *key, struct sandbox_resources *ret,
                         struct error *err)
{
    json_object *value = NULL;
    if (json_get_object(o, key, &value, err) < 0)
        return -1;
    return resources_from_json(ret, value, key, err);
}

static int fill(struct sandbox_record *r, json_object *o, const char *dir, const char *id,
                struct error *err)
{
    int64_t exit_status = 0, init_pid = 0, init_start = 0;
    json_object *undo = NULL;
    if (get_string_copy(o, "id", &r->id, err) < 0 || get_state(o, &r->state, err) < 0 ||
        json_get_bool(o, "remove", &r->remove, err) < 0 ||
        get_time(o, "created_at", &r->created_at, err) < 0 ||
        get_time(o, "exited_at", &r->exited_at, err) < 0 ||
        json_get_int(o, "exit_status", &exit_status, err) < 0 ||
        get_string_copy(o, "netns", &r->netns, err) < 0 ||
        get_string_copy(o, "hostname", &r->hostname, err) < 0 ||
        get_string_copy(o, "name", &r->name, err) < 0 ||
        get_string_copy(o, "runtime_type", &r->runtime_type, err) < 0 ||
        get_string_map(o, "labels", &r->labels, err) < 0 ||
        get_string_map(o, "annotations", &r->annotations, err) < 0 ||
        get_resources(o, "resources", &r->sizes.resources, err) < 0 ||
        get_resources(o, "overhead", &r->sizes.overhead, err) < 0 ||
        json_get_int(o, "init_pid", &init_pid, err) < 0 ||
        json_get_int(o, "init_start_time", &init_start, err) < 0 ||
        json_get_array(o, "undo", &undo, err) < 0)
        return -1;
    if (strcmp(r->id, id) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "id: the record is of another sandbox");
    if (exit_status < 0 || exit_status > UINT32_MAX || init_pid < 0 || init_pid > INT32_MAX ||
        init_start < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "exit_status or init: out of range");
    if (!undo)
        return error_set(err, STATUS_INVALID_ARGUMENT, "undo: missing");
    r->exit_status = (uint32_t)exit_status;
    r->init = (struct process_id){.pid = (pid_t)init_pid, .start_time = (uint64_t)init_start};
    return undo_from_json(&r->undo, undo, dir, err);
}

int record_parse(struct sandbox_record *r, const void *data, size_t len, const char *dir,
                 const char *id, struct error *err)
{
    _cleanup_json_ json_object *o = json_parse(data, len, RECORD_FILE, err);
    if (!o)
        return -1;
    if (!json_object_is_type(o, json_type_object))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: not an object", RECORD_FILE);
    int64_t version = 0;
    if (json_get_int(o, "version", &version, err) < 0)
        return -1;
    if (version != RECORD_VERSION)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "%s: format version %lld, this program knows %d", RECORD_FILE,
                         (long long)version, RECORD_VERSION);
    struct sandbox_record fresh = {0};
    if (fill(&fresh, o, dir, id, err) < 0) {
        record_done(&fresh);
        return error_wrap(err, "%s", RECORD_FILE);
    }
    *r = fresh;
    return 0;
}

// What the containers were told is in pod.json. A sandbox that never got that far has none, and one
// that ends or has ended needs none; a living one would only seem to be whole without it.
static int load_pod(struct sandbox_record *r, const char *dir, struct error *err)
{
    struct error why = {0};
    if (pod_load(&r->pod, dir, &why) == 0) {
        if (strcmp(r->pod.id, r->id) == 0)
            return 0;
        pod_done(&r->pod);
        error_set(&why, STATUS_INVALID_ARGUMENT, "%s/%s: id: it is of another sandbox", dir,
                  POD_FILE);
    }
    bool living = r->state == SANDBOX_CREATED || r->state == SANDBOX_READY;
    if (r->state == SANDBOX_CREATING || (why.status == STATUS_NOT_FOUND && !living))
        return 0;
    return error_set(err, why.status == STATUS_NOT_FOUND ? STATUS_INVALID_ARGUMENT : why.status,
                     "%s", why.text);
}

int record_load(struct sandbox_record *r, const char *dir, const char *id, struct error *err)
{
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, RECORD_SIZE_MAX);
    _cleanup_close_ int fd = open(dir, O_DIRECTORY | O_PATH | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, errno, "state directory %s", dir);
    int e = file_read_at(fd, RECORD_FILE, &text);
    if (e < 0)
        return error_errno(err, e, "cannot read %s/%s", dir, RECORD_FILE);
    struct sandbox_record fresh;
    if (record_parse(&fresh, text.data, text.len, dir, id, err) < 0)
        return -1;
    if (load_pod(&fresh, dir, err) < 0) {
        record_done(&fresh);
        return -1;
    }
    *r = fresh;
    return 0;
}
