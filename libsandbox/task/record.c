#include "task/record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "base/log.h"
#include "task/internal.h"

// ---- writing --------------------------------------------------------------------------------

static void add_text(json_object *o, const char *key, const char *text)
{
    if (text)
        json_object_object_add(o, key, json_object_new_string(text));
}

static json_object *encode_pid(const struct process_id *id)
{
    json_object *o = json_object_new_object();
    json_object_object_add(o, "pid", json_object_new_int64(id->pid));
    json_object_object_add(o, "start_time", json_object_new_int64((int64_t)id->start_time));
    return o;
}

static void encode_stdio(json_object *o, const struct task_process *p)
{
    add_text(o, "stdin", p->stdin_url);
    add_text(o, "stdout", p->stdout_url);
    add_text(o, "stderr", p->stderr_url);
}

static json_object *encode_execs(const struct task *t)
{
    json_object *list = json_object_new_array();
    const struct task_process *p;
    TAILQ_FOREACH(p, &t->execs, link)
    {
        if (!p->pid.pid || p->state == PROCESS_STOPPED)
            continue;
        json_object *o = json_object_new_object();
        add_text(o, "id", p->exec_id);
        json_object_object_add(o, "process", encode_pid(&p->pid));
        encode_stdio(o, p);
        json_object_array_add(list, o);
    }
    return list;
}

static json_object *encode(const struct task *t)
{
    json_object *o = json_object_new_object();
    if (!o)
        return NULL;
    json_object_object_add(o, "version", json_object_new_int(TASK_RECORD_VERSION));
    add_text(o, "namespace", t->ns);
    add_text(o, "id", t->id);
    add_text(o, "bundle", t->bundle);
    add_text(o, "sandbox", t->sandbox_id);
    add_text(o, "name", t->name);
    add_text(o, "cgroup", t->cgroup);
    json_object_object_add(o, "mounted", json_object_new_boolean(t->mounted));
    json_object_object_add(o, "engaged", json_object_new_boolean(t->engaged));
    json_object_object_add(o, "stopped", json_object_new_boolean(t->init.state == PROCESS_STOPPED));
    encode_stdio(o, &t->init);
    if (t->init.pid.pid)
        json_object_object_add(o, "init", encode_pid(&t->init.pid));
    json_object_object_add(o, "execs", encode_execs(t));
    json_object_object_add(o, "kind", json_object_new_string(t->ops->name));
    json_object_object_add(o, "engine", t->ops->describe(t));
    return o;
}

static int record_path(const struct task *t, char *out, size_t size)
{
    return path_format(out, size, "%s/tasks/%s/%s.json", t->server->dir, t->ns, t->id);
}

int task_record_store(struct task *t, struct error *err)
{
    char path[PATH_MAX], dir[PATH_MAX];
    _cleanup_json_ json_object *o = encode(t);
    const char *text = o ? json_text(o) : NULL;
    if (!text)
        return error_errno(err, ENOMEM, "record of container %s", t->id);
    int r = path_format(dir, sizeof(dir), "%s/tasks/%s", t->server->dir, t->ns);
    if (r == 0 && !t->recorded)
        r = file_mkdir_all(dir, 0700);
    if (r == 0)
        r = record_path(t, path, sizeof(path));
    if (r == 0)
        r = file_write_atomic_at(AT_FDCWD, path, text, strlen(text), 0600);
    if (r < 0)
        return error_errno(err, r, "record of container %s in %s", t->id, dir);
    t->recorded = true;
    return 0;
}

void task_record_remove(struct task *t)
{
    char path[PATH_MAX];
    if (!t->recorded || record_path(t, path, sizeof(path)) < 0)
        return;
    if (unlink(path) < 0 && errno != ENOENT)
        log_warn("remove %s: %s", path, strerror(errno));
    t->recorded = false;
}

// ---- reading --------------------------------------------------------------------------------

static int decode_pid(json_object *parent, const char *key, struct process_id *ret,
                      struct error *err)
{
    json_object *o = NULL;
    int64_t pid = 0, start = 0;
    if (json_get_object(parent, key, &o, err) < 0)
        return -1;
    if (!o)
        return 0;
    if (json_get_int(o, "pid", &pid, err) < 0 || json_get_int(o, "start_time", &start, err) < 0)
        return error_wrap(err, "%s", key);
    // 1 is never ours; 0 and negative numbers mean whole groups to kill(2).
    if (pid < 2 || pid > INT_MAX || start < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: not a process", key);
    *ret = (struct process_id){.pid = (pid_t)pid, .start_time = (uint64_t)start};
    return 0;
}

static int decode_exec(json_object *o, struct task_record_exec *ret, struct error *err)
{
    if (!json_object_is_type(o, json_type_object))
        return error_set(err, STATUS_INVALID_ARGUMENT, "not an object");
    if (json_get_string(o, "id", &ret->id, err) < 0 || ident_check(ret->id, "id", err) < 0)
        return -1;
    return decode_pid(o, "process", &ret->pid, err);
}

static int decode_execs(struct task_record *r, struct error *err)
{
    json_object *list = NULL;
    if (json_get_array(r->root, "execs", &list, err) < 0)
        return -1;
    size_t n = list ? json_object_array_length(list) : 0;
    if (n > TASK_EXECS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "execs: more than %d", TASK_EXECS_MAX);
    if (n && !(r->execs = calloc(n, sizeof(*r->execs))))
        return error_errno(err, ENOMEM, "execs");
    for (size_t i = 0; i < n; i++) {
        if (decode_exec(json_object_array_get_idx(list, i), &r->execs[i], err) < 0)
            return error_wrap(err, "execs[%zu]", i);
        r->n_execs++;
    }
    return 0;
}

static int decode_ids(struct task_record *r, struct error *err)
{
    if (json_get_string(r->root, "namespace", &r->ns, err) < 0 ||
        ident_check(r->ns, "namespace", err) < 0 ||
        json_get_string(r->root, "id", &r->id, err) < 0 || ident_check(r->id, "id", err) < 0 ||
        json_get_string(r->root, "bundle", &r->bundle, err) < 0 ||
        ident_path_check(r->bundle, "bundle", err) < 0 ||
        json_get_string(r->root, "sandbox", &r->sandbox_id, err) < 0 ||
        json_get_string(r->root, "name", &r->name, err) < 0 ||
        json_get_string(r->root, "cgroup", &r->cgroup, err) < 0)
        return -1;
    if (r->name && strlen(r->name) > TASK_NAME_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "name: longer than %d", TASK_NAME_MAX);
    if (r->sandbox_id && ident_check(r->sandbox_id, "sandbox", err) < 0)
        return -1;
    if (!r->cgroup)
        return 0;
    // "/" is the whole machine.
    if (ident_path_check(r->cgroup, "cgroup", err) < 0)
        return -1;
    return r->cgroup[strspn(r->cgroup, "/")]
               ? 0
               : error_set(err, STATUS_INVALID_ARGUMENT, "cgroup: the root cgroup is no container");
}

static int check_version(json_object *root, struct error *err)
{
    int64_t version = 0;
    if (!json_object_is_type(root, json_type_object))
        return error_set(err, STATUS_INVALID_ARGUMENT, "record: not an object");
    if (json_get_int(root, "version", &version, err) < 0)
        return -1;
    if (version != TASK_RECORD_VERSION)
        return error_set(err, STATUS_FAILED_PRECONDITION, "version: %lld is not known here (%d is)",
                         (long long)version, TASK_RECORD_VERSION);
    return 0;
}

static int decode(struct task_record *r, struct error *err)
{
    if (check_version(r->root, err) < 0 || decode_ids(r, err) < 0 ||
        json_get_bool(r->root, "mounted", &r->mounted, err) < 0 ||
        json_get_bool(r->root, "engaged", &r->engaged, err) < 0 ||
        json_get_bool(r->root, "stopped", &r->stopped, err) < 0 ||
        json_get_string(r->root, "kind", &r->kind, err) < 0 ||
        json_get_object(r->root, "engine", &r->engine, err) < 0 ||
        decode_pid(r->root, "init", &r->init, err) < 0)
        return -1;
    if (!r->engine || !r->kind)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: missing",
                         r->engine ? "kind" : "engine");
    return decode_execs(r, err);
}

int task_record_parse(const void *data, size_t len, struct task_record *ret, struct error *err)
{
    struct task_record r = {0};
    if (len > TASK_RECORD_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "record: larger than %u bytes",
                         TASK_RECORD_MAX);
    r.root = json_parse(data, len, "record", err);
    if (!r.root || decode(&r, err) < 0) {
        task_record_done(&r);
        return -1;
    }
    *ret = r;
    return 0;
}

void task_record_done(struct task_record *r)
{
    json_object_put(r->root);
    free(r->execs);
    *r = (struct task_record){0};
}
