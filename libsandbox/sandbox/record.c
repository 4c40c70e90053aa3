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
    free(r->runtime_type);
    json_object_put(r->labels);
    json_object_put(r->annotations);
    pod_done(&r->pod);
    undo_done(&r->undo);
    *r = (struct sandbox_record){0};
}

// ---- writing ---------------------------------------------------------------------------------

static void add_string(json_object *o, const char *key, const char *value)
{
    if (value)
        json_object_object_add(o, key, json_object_new_string(value));
}

static void add_time(json_object *o, const char *key, const struct timespec *t)
{
    json_object *pair = json_object_new_array();
    json_object_array_add(pair, json_object_new_int64(t->tv_sec));
    json_object_array_add(pair, json_object_new_int64(t->tv_nsec));
    json_object_object_add(o, key, pair);
}

int record_store(const struct sandbox_record *r, const char *dir, struct error *err)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    if (!o)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the record of %s", r->id);
    json_object_object_add(o, "version", json_object_new_int(RECORD_VERSION));
    add_string(o, "id", r->id);
    add_string(o, "state", sandbox_state_name(r->state));
    add_time(o, "created_at", &r->created_at);
    add_time(o, "exited_at", &r->exited_at);
    json_object_object_add(o, "exit_status", json_object_new_int64(r->exit_status));
    add_string(o, "netns", r->netns);
    add_string(o, "hostname", r->hostname);
    add_string(o, "runtime_type", r->runtime_type);
    if (r->labels)
        json_object_object_add(o, "labels", json_object_get(r->labels));
    if (r->annotations)
        json_object_object_add(o, "annotations", json_object_get(r->annotations));
    json_object_object_add(o, "init_pid", json_object_new_int(r->init.pid));
    json_object_object_add(o, "init_start_time",
                           json_object_new_int64((int64_t)r->init.start_time));
    json_object_object_add(o, "undo", undo_to_json(&r->undo));

    const char *text = json_text(o);
    _cleanup_close_ int fd = open(dir, O_DIRECTORY | O_PATH | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, errno, "state directory %s", dir);
    int e = text ? file_write_atomic_at(fd, RECORD_FILE, text, strlen(text), 0600) : -ENOMEM;
    return e < 0 ? error_errno(err, e, "cannot write %s/%s", dir, RECORD_FILE) : 0;
}

// ---- reading ---------------------------------------------------------------------------------

static int get_string_copy(json_object *o, const char *key, char **ret, struct error *err)
{
    const char *text = NULL;
    if (json_get_string(o, key, &text, err) < 0)
        return -1;
    if (text && !(*ret = strdup(text)))
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
    json_object_object_foreach(
        map, name,
        value) if (!json_object_is_type(value,
                                        json_type_string)) return error_set(err,
                                                                            STATUS_INVALID_ARGUMENT,
                                                                            "%s.%s: not a string",
                                                                            key, name);
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

static int fill(struct sandbox_record *r, json_object *o, const char *dir, const char *id,
                struct error *err)
{
    int64_t exit_status = 0, init_pid = 0, init_start = 0;
    json_object *undo = NULL;
    if (get_string_copy(o, "id", &r->id, err) < 0 || get_state(o, &r->state, err) < 0 ||
        get_time(o, "created_at", &r->created_at, err) < 0 ||
        get_time(o, "exited_at", &r->exited_at, err) < 0 ||
        json_get_int(o, "exit_status", &exit_status, err) < 0 ||
        get_string_copy(o, "netns", &r->netns, err) < 0 ||
        get_string_copy(o, "hostname", &r->hostname, err) < 0 ||
        get_string_copy(o, "runtime_type", &r->runtime_type, err) < 0 ||
        get_string_map(o, "labels", &r->labels, err) < 0 ||
        get_string_map(o, "annotations", &r->annotations, err) < 0 ||
        json_get_int(o, "init_pid", &init_pid, err) < 0 ||
        json_get_int(o, "init_start_time", &init_start, err) < 0 ||
        json_get_array(o, "undo", &undo, err) < 0)
        return -1;
    if (!r->id || strcmp(r->id, id) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "id: the record is of another sandbox");
    if (exit_status < 0 || exit_status > UINT32_MAX || init_pid < 0 || init_pid > INT32_MAX ||
        init_start < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "exit_status or init: out of range");
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
