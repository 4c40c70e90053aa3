// Create.
//
// Create:  check ─► spec joins its pod ─► record ─► mount rootfs ─► stdio ─► ops->create ─► answer
//             │            │                 └────────┴───────┬───────┴───────────┘
//           refuse      refuse                        task_cleanup, then refuse
//
// The record is written before the first step that leaves something on the host. When containerd
// cancels (deadline, connection lost), the step that runs is ended and the rest is the same as a
// failure.
#include "task/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "api/any.h"
#include "api/events.pb-c.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "base/log.h"
#include "event/job.h"
#include "linux/mount.h"
#include "linux/mount_space.h"
#include "oci/spec.h"
#include "task/mountpoints.h"
#include "task/record.h"

// ---- checks ---------------------------------------------------------------------------------

static int check_mounts(const Task__CreateTaskRequest *req, struct error *err)
{
    if (req->n_rootfs > MOUNT_COUNT_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "rootfs: %zu mounts are more than %d",
                         req->n_rootfs, MOUNT_COUNT_MAX);
    for (size_t i = 0; i < req->n_rootfs; i++) {
        const Types__Mount *m = req->rootfs[i];
        if (m->n_options > MOUNT_OPTIONS_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "rootfs[%zu].options: %zu options are more than %d", i, m->n_options,
                             MOUNT_OPTIONS_MAX);
        if (m->target[0] && strcmp(m->target, "/") != 0)
            return error_set(err, STATUS_UNIMPLEMENTED,
                             "rootfs[%zu].target: a mount inside the rootfs (%s) is not supported",
                             i, m->target);
    }
    return 0;
}

static int check_request(const Task__CreateTaskRequest *req, struct error *err)
{
    const struct stdio_spec io = {
        .in = req->stdin, .out = req->stdout, .err = req->stderr, .terminal = req->terminal};
    if (ident_path_check(req->bundle, "bundle", err) < 0 || check_mounts(req, err) < 0 ||
        task_stdio_check(&io, err) < 0)
        return -1;
    if (req->checkpoint[0] || req->parent_checkpoint[0])
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "checkpoint: containers are not restored from checkpoints");
    return 0;
}

// ---- the pod --------------------------------------------------------------------------------

// Where the spec has no annotation containerd still wrote the sandbox's id into the bundle.
static int read_sandbox_file(struct task *t, struct error *err)
{
    char path[PATH_MAX];
    struct buf text;
    buf_init(&text, 4096);
    int r = path_format(path, sizeof(path), "%s/sandbox", t->bundle);
    if (r == 0)
        r = file_read_at(AT_FDCWD, path, &text);
    const char *s = r == 0 ? buf_cstr(&text) : NULL;
    if (s)
        t->sandbox_id = strndup(s, strcspn(s, "\n"));
    buf_free(&text);
    if (r == -ENOENT || (t->sandbox_id && !t->sandbox_id[0])) {
        free(t->sandbox_id);
        t->sandbox_id = NULL;
        return 0;
    }
    if (r < 0)
        return error_errno(err, r, "%s", path);
    return t->sandbox_id ? 0 : error_errno(err, ENOMEM, "%s", path);
}

static int find_sandbox(struct task *t, json_object *spec, struct error *err)
{
    const char *id = oci_spec_sandbox_id(spec);
    if (id && id[0] && !(t->sandbox_id = strdup(id)))
        return error_errno(err, ENOMEM, "container %s", t->id);
    if (!t->sandbox_id && read_sandbox_file(t, err) < 0)
        return -1;
    return t->sandbox_id ? ident_check(t->sandbox_id, "sandbox id of the container", err) : 0;
}

// Loads the pod of the container and makes the spec a member of it.
static int join_pod(const struct task *t, json_object *spec, struct pod *pod, struct error *err)
{
    char dir[PATH_MAX];
    if (path_format(dir, sizeof(dir), "%s/%s", t->server->sandboxes_dir, t->sandbox_id) < 0)
        return error_set(err, STATUS_INTERNAL, "sandbox %s: path too long", t->sandbox_id);
    if (pod_load(pod, dir, err) < 0) {
        if (err->status == STATUS_NOT_FOUND)
            return error_set(err, STATUS_FAILED_PRECONDITION,
                             "sandbox %s is not there (no %s/" POD_FILE "): its pod was stopped or "
                             "belongs to another runtime handler; make the pod anew",
                             t->sandbox_id, dir);
        return error_wrap(err, "sandbox %s", t->sandbox_id);
    }
    if (!pod->id || strcmp(pod->id, t->sandbox_id) != 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "sandbox %s: %s/" POD_FILE " is of another pod", t->sandbox_id, dir);
    return oci_spec_join_pod(spec, pod, err);
}

// Nothing depends on it: a name that is too long to be shown is as good as none.
static int take_name(struct task *t, json_object *spec, struct error *err)
{
    const char *name = oci_spec_container_name(spec);
    if (!name || !name[0] || strlen(name) > TASK_NAME_MAX)
        return 0;
    t->name = strdup(name);
    return t->name ? 0 : error_errno(err, ENOMEM, "container %s", t->id);
}

static void read_console_size(struct task *t, json_object *spec)
{
    json_object *process = NULL, *size = NULL;
    int64_t width = 0, height = 0;
    struct error ignored = {0};
    if (json_get_object(spec, "process", &process, &ignored) < 0 || !process ||
        json_get_object(process, "consoleSize", &size, &ignored) < 0 || !size ||
        json_get_int(size, "width", &width, &ignored) < 0 ||
        json_get_int(size, "height", &height, &ignored) < 0)
        return;
    if (width > 0 && width <= UINT16_MAX && height > 0 && height <= UINT16_MAX) {
        t->columns = (uint16_t)width;
        t->rows = (uint16_t)height;
    }
}

// Everything that can be refused before anything on the host is changed, the bundle's config.json
// last.
static int prepare(struct task *t, const Google__Any *options, struct error *err)
{
    _cleanup_json_ json_object *spec = oci_spec_load(t->bundle, err);
    _cleanup_(pod_done) struct pod pod = {0};
    if (!spec || find_sandbox(t, spec, err) < 0)
        return -1;
    bool joins = t->sandbox_id && !t->ops->elsewhere;
    if (take_name(t, spec, err) < 0 || (joins && join_pod(t, spec, &pod, err) < 0) ||
        t->ops->open(t, options, joins ? &pod : NULL, spec, err) < 0)
        return -1;
    t->private_pid = oci_spec_private_pid(spec);
    t->below = t->server->mountpoints && joins && mountpoints_fit(spec, &pod);
    read_console_size(t, spec);
    char root[PATH_MAX];
    bool elsewhere = t->n_mounts && t->server->mounts->own >= 0;
    if (elsewhere && task_rootfs_path(t, root, sizeof(root)) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "id: path too long");
    if (elsewhere && oci_spec_set_root_path(spec, root) < 0)
        return error_errno(err, ENOMEM, "container %s", t->id);
    return oci_spec_store(spec, t->bundle, err);
}

// ---- the steps ------------------------------------------------------------------------------

static void create_undone(void *arg, const struct error *err)
{
    struct task_op *op = arg;
    struct task *t = op->task;
    const struct error *why = op->data;
    if (t->create_call) {
        struct rpc_call *call = t->create_call;
        t->create_call = NULL;
        rpc_call_on_cancel(call, NULL, NULL);
        rpc_call_fail(call, why);
    }
    log_info("container %s: not created: %s", t->id, why->text);
    t->init.io = task_stdio_free(t->init.io);
    task_drop(t);
    task_op_end(op, NULL);
}

static void create_fail(struct task_op *op, const struct error *err)
{
    *(struct error *)op->data = *err;
    task_cleanup(op->task, (struct task_done){create_undone, op});
}

static bool create_is_cancelled(struct task_op *op)
{
    struct error err = {0};
    if (!op->task->cancelled)
        return false;
    error_set(&err, STATUS_CANCELLED, "Create was cancelled or its deadline passed");
    create_fail(op, &err);
    return true;
}

static void publish_create(const struct task *t)
{
    Events__TaskCreate e = EVENTS__TASK_CREATE__INIT;
    Events__TaskIO io = EVENTS__TASK_IO__INIT;
    io.stdin = t->init.stdin_url;
    io.stdout = t->init.stdout_url;
    io.stderr = t->init.stderr_url;
    io.terminal = t->init.terminal;
    e.container_id = t->id;
    e.bundle = t->bundle;
    e.n_rootfs = t->n_mounts;
    e.rootfs = t->mounts;
    e.io = &io;
    e.pid = (uint32_t)t->init.pid.pid;
    task_events_publish(t->server->events, t->ns, "/tasks/create", ANY_TASK_CREATE,
                        (const ProtobufCMessage *)&e);
}

// After its own restart containerd looks for the shim of this task in this file of the bundle; if
// it cannot find one, it deletes the bundle under the running container.
static void write_shim_path(const struct task *t)
{
    char path[PATH_MAX];
    const char *shim = t->server->shim;
    if (!shim || path_format(path, sizeof(path), "%s/shim-binary-path", t->bundle) < 0)
        return;
    int r = file_write_atomic_at(AT_FDCWD, path, shim, strlen(shim), 0644);
    if (r < 0)
        log_warn("%s: %s", path, strerror(-r));
}

static void create_answer(struct task_op *op)
{
    struct task *t = op->task;
    struct rpc_call *call = t->create_call;
    Task__CreateTaskResponse r = TASK__CREATE_TASK_RESPONSE__INIT;
    r.pid = (uint32_t)t->init.pid.pid;
    task_process_move(&t->init, PROCESS_CREATED);
    write_shim_path(t);
    publish_create(t);
    t->create_call = NULL;
    t->mounts = NULL;
    t->n_mounts = 0;
    rpc_call_on_cancel(call, NULL, NULL);
    api_reply(call, (const ProtobufCMessage *)&r);
    task_timing_end(t, TASK_TIMING_CREATE, TASK_CREATE_ANSWER);
    task_process_settle(&t->init);
    task_op_end(op, NULL);
}

static void created(void *arg, const struct error *err)
{
    struct task_op *op = arg;
    struct task *t = op->task;
    struct error mine = {0};
    task_timing_mark(t, TASK_TIMING_CREATE, TASK_CREATE_RUNTIME);
    if (!t->cancelled && err) {
        create_fail(op, err);
    } else if (create_is_cancelled(op)) {
        return;
    } else if (task_stdio_attach(t->init.io, &mine) < 0 || task_record_store(t, &mine) < 0) {
        create_fail(op, &mine);
    } else {
        create_answer(op);
    }
}

static void create_container(struct task_op *op)
{
    struct task *t = op->task;
    struct error err = {0};
    const struct stdio_spec io = task_process_stdio(&t->init);
    if (create_is_cancelled(op))
        return;
    t->init.io = task_stdio_open(&t->server->stdio, &io, &err);
    task_timing_mark(t, TASK_TIMING_CREATE, TASK_CREATE_STDIO);
    if (!t->init.io)
        create_fail(op, &err);
    else
        t->ops->create(t, (struct task_done){created, op});
}

static int mount_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    const struct task *t = ((const struct task_op *)arg)->task;
    char target[PATH_MAX];
    if (task_rootfs_path(t, target, sizeof(target)) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "bundle: path too long");
    int r = t->n_mounts && t->server->mounts->own >= 0 ? file_mkdir_all(target, 0711) : 0;
    if (r < 0)
        return error_errno(err, r, "%s", target);
    for (size_t i = 0; i < t->n_mounts; i++) {
        const Types__Mount *m = t->mounts[i];
        const struct mount_spec spec = {.type = m->type,
                                        .source = m->source,
                                        .options = (const char *const *)m->options,
                                        .n_options = m->n_options,
                                        .below = t->below ? t->server->mountpoints : NULL};
        if (mount_apply(&spec, target, err) < 0)
            return error_wrap(err, "rootfs[%zu]", i);
    }
    if (t->ops->look) {
        *(unsigned char *)reply = (unsigned char)t->ops->look(t, target);
        *reply_len = 1;
    }
    return 0;
}

static void mounted(const void *reply, size_t len, const struct error *err, void *arg)
{
    struct task_op *op = arg;
    task_timing_mark(op->task, TASK_TIMING_CREATE, TASK_CREATE_MOUNT);
    if (len == 1)
        op->task->looked = *(const unsigned char *)reply;
    if (err && !op->task->cancelled)
        create_fail(op, err);
    else
        create_container(op);
}

static void create_run(struct task_op *op)
{
    struct task *t = op->task;
    struct error err = {0};
    t->engaged = true;
    t->mounted = t->n_mounts > 0;
    if (task_record_store(t, &err) < 0) {
        create_fail(op, &err);
        return;
    }
    task_timing_mark(t, TASK_TIMING_CREATE, TASK_CREATE_RECORD);
    if (!t->n_mounts && !t->ops->look)
        create_container(op);
    else if (!job_start(t->server->loop, t->server->reaper, mount_work, mounted, op,
                        TASK_MOUNT_SECONDS, &err))
        create_fail(op, &err);
}

static void create_cancelled(struct rpc_call *call, void *arg)
{
    struct task *t = arg;
    t->create_call = NULL;
    t->mounts = NULL;
    t->n_mounts = 0;
    t->cancelled = true;
    t->ops->cancel(&t->init);
}

// ---- Create ---------------------------------------------------------------------------------

static struct task *create_task(struct task_server *s, const char *ns,
                                const Task__CreateTaskRequest *req, struct error *err)
{
    if (s->draining) {
        error_set(err, STATUS_UNAVAILABLE, "the task server is being stopped");
        return NULL;
    }
    if (check_request(req, err) < 0)
        return NULL;
    if (task_find(s, ns, req->id)) {
        error_set(err, STATUS_ALREADY_EXISTS, "container %s already exists in namespace %s",
                  req->id, ns);
        return NULL;
    }
    struct task *t = task_new(s, ns, req->id, req->bundle);
    if (!t || task_process_set_urls(&t->init, req->stdin, req->stdout, req->stderr) < 0) {
        error_errno(err, ENOMEM, "container %s", req->id);
        return task_unref(t);
    }
    task_timing_begin(t, TASK_TIMING_CREATE);
    if (!t->ops->elsewhere)
        task_expect_move(s);
    t->init.terminal = req->terminal;
    t->mounts = req->rootfs;
    t->n_mounts = req->n_rootfs;
    if (prepare(t, req->options, err) < 0 || task_store(t, err) < 0)
        return task_unref(t);
    return t;
}

void task_create(struct task_server *s, const char *ns, const Task__CreateTaskRequest *req,
                 struct rpc_call *call)
{
    struct error err = {0};
    struct error *why = calloc(1, sizeof(*why));
    struct task *t = why ? create_task(s, ns, req, &err) : NULL;
    if (!t) {
        if (!why)
            error_errno(&err, ENOMEM, "container %s", req->id);
        free(why);
        rpc_call_fail(call, &err);
        return;
    }
    task_timing_mark(t, TASK_TIMING_CREATE, TASK_CREATE_PREPARE);
    t->create_call = call;
    rpc_call_on_cancel(call, create_cancelled, t);
    // The answer goes by create_call.
    if (!task_op_start(t, NULL, NULL, true, create_run, why, sizeof(*why))) {
        rpc_call_on_cancel(call, NULL, NULL);
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "container %s: out of memory", t->id);
        task_drop(t);
    }
    task_unref(t);
}
