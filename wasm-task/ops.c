// Containers of WebAssembly: a worker process each, executed afresh, which makes itself the
// container and then runs the module (worker/main.c). The task server starts it, hears whether it
// is ready, tells it to go, and has nothing else to do with it.
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "choose.h"
#include "event/job.h"
#include "launch.h"
#include "linux/cgroup_limits.h"
#include "oci/entry.h"
#include "oci/resources.h"
#include "oci/spec.h"
#include "task/contained.h"
#include "task/internal.h"
#include "task/record.h"
#include "worker/unsupported.h"

// Where compiled code is kept.
#define CACHE_DIR "/var/cache/kuasar-wasm"
// Longest that new limits may take: the kernel may have to reclaim memory.
#define UPDATE_SECONDS 60.0
// Longest that the removal of a cgroup may take.
#define REMOVE_SECONDS 60.0

// task->engine
struct wasm_task {
    struct contained contained;
    void *native; // the OCI kind's engine, until it is known what the container is
    json_object *mounts;
    char *name, *cwd, *path; // of its entry, until then
    const char *engine;
    struct launch *worker;
};

static struct wasm_task *engine_of(const struct task *t)
{
    return t->engine;
}

static void drop_native(struct wasm_task *e);
static void wasm_close(struct task *t);

// ---- create ------------------------------------------------------------------------------------

static void on_exit_seen(struct task_process *p, uint32_t code, const struct timespec *at)
{
    contained_look_for_oom(&engine_of(p->task)->contained);
    task_process_exited(p, code, at);
}

static const char *console_of(const struct task_process *p)
{
    const char *path = task_stdio_console(p->io);
    return path ? path : "";
}

static const char *plugins_of(const struct task *t)
{
    return t->server->wasmedge_plugins ? "plugins" : "";
}

// What is no WebAssembly is a native program, in the same pod.
static void become_native(struct task *t)
{
    struct wasm_task *e = engine_of(t);
    void *native = take_ptr(e->native);
    wasm_close(t);
    task_become(t, &task_oci_ops, native);
}

static void wasm_create(struct task *t, struct task_done done)
{
    struct wasm_task *e = engine_of(t);
    struct error err = {0};
    if (!t->looked) {
        become_native(t);
        // Whoever has to clean up asks the kind that has made something.
        if (task_record_store(t, &err) < 0)
            done.fn(done.arg, &err);
        else
            t->ops->create(t, done);
        return;
    }
    drop_native(e);
    const struct launch_spec spec = {
        .args = {"run", e->engine, CACHE_DIR, console_of(&t->init), plugins_of(t), t->bundle},
        // Threads that plugins begin when they are loaded must not come along into the container.
        .first = t->private_pid && !t->server->wasmedge_plugins,
        .extra = {-1, -1},
        .engine = e->engine,
        .cache = CACHE_DIR};
    contained_watch(&e->contained);
    e->worker = launch_start(&t->init, &spec, on_exit_seen, done, &err);
    if (!e->worker)
        done.fn(done.arg, &err);
}

static void wasm_start(struct task *t, struct task_done done)
{
    struct error err = {0};
    int r = launch_go(engine_of(t)->worker, &err);
    done.fn(done.arg, r < 0 ? &err : NULL);
}

// ---- exec --------------------------------------------------------------------------------------

// p->engine
struct wasm_exec {
    struct task_process *process;
    struct launch *worker;
    struct task_done done;
};

static struct wasm_exec *exec_free(struct wasm_exec *x)
{
    x->process->engine = NULL;
    launch_free(x->worker);
    free(x);
    return NULL;
}

static void exec_ready(void *arg, const struct error *err)
{
    struct wasm_exec *x = arg;
    struct task_done done = x->done;
    struct error mine = {0};
    if (!err && launch_go(x->worker, &mine) < 0)
        err = &mine;
    done.fn(done.arg, err);
}

static void wasm_exec_start(struct task_process *p, struct task_done done)
{
    struct task *t = p->task;
    struct wasm_task *e = engine_of(t);
    struct error err = {0};
    char pid[16];
    _cleanup_close_ int spec = -1, container = -1;
    struct wasm_exec *x = NULL;
    if ((container = process_open(&t->init.pid)) < 0)
        error_set(&err, STATUS_FAILED_PRECONDITION, "container %s has ended", t->id);
    else if ((spec = json_memory_file(p->spec, "process")) < 0)
        error_errno(&err, spec, "process of exec %s", p->exec_id);
    else if (!(x = calloc(1, sizeof(*x))))
        error_errno(&err, ENOMEM, "exec %s", p->exec_id);
    if (!x) {
        done.fn(done.arg, &err);
        return;
    }
    *x = (struct wasm_exec){.process = p, .done = done};
    p->engine = x;
    snprintf(pid, sizeof(pid), "%d", (int)t->init.pid.pid);
    const struct launch_spec launch = {.args = {"exec", e->engine, CACHE_DIR, console_of(p),
                                                plugins_of(t), pid, t->cgroup ? t->cgroup : "",
                                                t->server->debug_rootfs},
                                       .extra = {spec, container},
                                       .engine = e->engine,
                                       .cache = CACHE_DIR};
    x->worker = launch_start(p, &launch, on_exit_seen, (struct task_done){exec_ready, x}, &err);
    if (!x->worker) {
        exec_free(x);
        done.fn(done.arg, &err);
    }
}

static void wasm_cancel(struct task_process *p)
{
    struct wasm_exec *x = p->engine;
    struct launch *worker = p == &p->task->init ? engine_of(p->task)->worker : x ? x->worker : NULL;
    if (worker)
        launch_cancel(worker);
}

// ---- the end ------------------------------------------------------------------------------------

struct removal {
    struct task *task; // counted
    struct task_done done;
};

static int remove_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    const struct removal *m = arg;
    const struct task *t = m->task;
    int r = -EBUSY;
    for (int i = 0; i < 1000 && r == -EBUSY; i++) {
        (void)cgroup_signal_all(t->server->cgroups, t->cgroup, SIGKILL);
        r = cgroup_remove(t->server->cgroups, t->cgroup);
        if (r == -EBUSY)
            usleep(1000);
    }
    return r < 0 ? error_errno(err, r, "cgroup %s", t->cgroup) : 0;
}

static void removed(const void *reply, size_t len, const struct error *err, void *arg)
{
    struct removal *m = arg;
    struct task *t = m->task;
    struct task_done done = m->done;
    free(m);
    done.fn(done.arg, err);
    task_unref(t);
}

static void wasm_remove(struct task *t, struct task_done done)
{
    struct error err = {0};
    struct wasm_task *e = engine_of(t);
    contained_keep_stats(&e->contained);
    if (t->init.pid.pid && !t->init.exit_seen)
        (void)process_signal(&t->init.pid, SIGKILL);
    struct removal *m = t->cgroup ? calloc(1, sizeof(*m)) : NULL;
    if (!t->cgroup) {
        done.fn(done.arg, NULL);
        return;
    }
    if (m)
        *m = (struct removal){task_ref(t), done};
    if (!m || !job_start(t->server->loop, t->server->reaper, remove_work, removed, m,
                         REMOVE_SECONDS, &err)) {
        if (m) {
            free(m);
            task_unref(t);
        }
        error_errno(&err, ENOMEM, "container %s", t->id);
        done.fn(done.arg, &err);
    }
}

static void wasm_release(struct task_process *p)
{
    if (p == &p->task->init)
        engine_of(p->task)->worker = launch_free(engine_of(p->task)->worker);
    else if (p->engine)
        exec_free(p->engine);
}

// ---- numbers, update, pause ---------------------------------------------------------------------

static void wasm_stats(struct task *t, struct task_stats_done done)
{
    contained_stats(&engine_of(t)->contained, done);
}

struct updating {
    struct task *task; // counted
    json_object *resources;
    struct task_done done;
};

static int update_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    const struct updating *u = arg;
    struct oci_resources resources;
    if (oci_resources_read(u->resources, &resources, err) < 0 ||
        unsupported_check_resources(u->resources, err) < 0)
        return error_wrap(err, "resources");
    return cgroup_limits_set(u->task->server->cgroups, u->task->cgroup, &resources.limits, err);
}

static void updated(const void *reply, size_t len, const struct error *err, void *arg)
{
    struct updating *u = arg;
    struct task *t = u->task;
    struct task_done done = u->done;
    json_object_put(u->resources);
    free(u);
    done.fn(done.arg, err);
    task_unref(t);
}

static void wasm_update(struct task *t, const void *resources, size_t len, struct task_done done)
{
    struct error err = {0};
    struct updating *u = t->cgroup ? calloc(1, sizeof(*u)) : NULL;
    if (!t->cgroup)
        error_set(&err, STATUS_FAILED_PRECONDITION, "container %s has no cgroup", t->id);
    else if (!u)
        error_errno(&err, ENOMEM, "container %s", t->id);
    else if ((u->resources = json_parse(resources, len, "resources", &err))) {
        u->task = task_ref(t);
        u->done = done;
        if (job_start(t->server->loop, t->server->reaper, update_work, updated, u, UPDATE_SECONDS,
                      &err))
            return;
        task_unref(t);
        json_object_put(u->resources);
    }
    free(u);
    done.fn(done.arg, &err);
}

static void freeze(struct task *t, bool frozen, struct task_done done)
{
    struct error err = {0};
    int r = t->cgroup ? cgroup_freeze(t->server->cgroups, t->cgroup, frozen) : -ENOENT;
    if (r < 0)
        error_errno(&err, r, "container %s", t->id);
    done.fn(done.arg, r < 0 ? &err : NULL);
}

static void wasm_pause(struct task *t, struct task_done done)
{
    freeze(t, true, done);
}

static void wasm_resume(struct task *t, struct task_done done)
{
    freeze(t, false, done);
}

// ---- life ---------------------------------------------------------------------------------------

static struct wasm_task *engine_new(struct task *t)
{
    struct wasm_task *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    contained_init(&e->contained, t);
    e->engine = "wasmtime";
    t->engine = e;
    return e;
}

// What is needed to look for the entry, when the rootfs is there.
static int take_entry(struct wasm_task *e, json_object *spec, struct error *err)
{
    json_object *process = NULL, *args = NULL, *env = NULL;
    const char *cwd = "/", *path = "";
    if (json_get_object(spec, "process", &process, err) < 0 ||
        json_get_string(process, "cwd", &cwd, err) < 0 ||
        json_get_array(process, "args", &args, err) < 0 ||
        json_get_array(process, "env", &env, err) < 0)
        return -1;
    for (size_t i = 0; env && i < json_object_array_length(env); i++) {
        const char *text = json_object_get_string(json_object_array_get_idx(env, i));
        if (text && strncmp(text, "PATH=", 5) == 0)
            path = text + 5;
    }
    json_object *mounts = NULL;
    if (json_get_array(spec, "mounts", &mounts, err) < 0)
        return -1;
    e->mounts = json_object_get(mounts);
    e->name = strdup(json_object_get_string(json_object_array_get_idx(args, 0)));
    e->cwd = strdup(cwd);
    e->path = strdup(path);
    return e->name && e->cwd && e->path ? 0 : error_errno(err, ENOMEM, "process.args[0]");
}

// Either kind may come of it, so the OCI one's is made, too.
static int wasm_open(struct task *t, const Google__Any *options, const struct pod *pod,
                     json_object *spec, struct error *err)
{
    int r = task_oci_ops.open(t, options, pod, spec, err);
    void *native = t->engine;
    struct wasm_task *e = engine_new(t);
    if (!e) {
        t->engine = native;
        if (native)
            task_oci_ops.close(t);
        return error_errno(err, ENOMEM, "container %s", t->id);
    }
    e->native = native;
    const char *engine =
        r < 0 ? NULL
              : choose_engine(pod ? pod->runtime_type : NULL,
                              oci_spec_annotation(spec, CHOOSE_ANNOTATION), t->server->engine, err);
    if (!engine || take_entry(e, spec, err) < 0)
        return -1;
    e->engine = engine;
    contained_begin(&e->contained);
    return 0;
}

static void drop_native(struct wasm_task *e)
{
    struct task *t = e->contained.task;
    if (!e->native)
        return;
    t->engine = take_ptr(e->native);
    task_oci_ops.close(t);
    t->engine = e;
}

// The entry may also lie in what is mounted on the rootfs later.
static int open_mounted(const struct wasm_task *e)
{
    const char *source = NULL;
    size_t longest = 0;
    for (size_t i = 0; e->mounts && i < json_object_array_length(e->mounts); i++) {
        struct error ignored = {0};
        const char *to = NULL, *from = NULL;
        json_object *m = json_object_array_get_idx(e->mounts, i);
        if (json_get_string(m, "destination", &to, &ignored) < 0 ||
            json_get_string(m, "source", &from, &ignored) < 0 || !to || !from || from[0] != '/')
            continue;
        size_t n = strlen(to);
        if (n > longest && strncmp(e->name, to, n) == 0 && strchr("/", e->name[n])) {
            longest = n;
            source = from;
        }
    }
    if (!source)
        return -ENOENT;
    const char *rest = e->name + longest;
    _cleanup_close_ int from = open(rest[0] ? source : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return from < 0 ? -errno : oci_entry_open(from, rest[0] ? rest : source, "/", NULL);
}

static bool is_named_so(const char *name)
{
    static const char end[] = ".wasm";
    size_t n = strlen(name);
    return n > sizeof(end) - 1 && strcmp(name + n - (sizeof(end) - 1), end) == 0;
}

// In the job that has mounted the rootfs. What is a module by its content is one; what is by its
// name alone is the worker's to refuse: an OCI runtime would not say why.
static int wasm_look(const struct task *t, const char *rootfs)
{
    const struct wasm_task *e = engine_of(t);
    char magic[4] = "";
    _cleanup_close_ int root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd = open_mounted(e);
    if (fd < 0 && root >= 0)
        fd = oci_entry_open(root, e->name, e->cwd, e->path);
    if (fd < 0)
        return 0;
    return is_named_so(e->name) || (read(fd, magic, 4) == 4 && memcmp(magic, "\0asm", 4) == 0);
}

static json_object *wasm_describe(const struct task *t)
{
    json_object *o = json_object_new_object();
    if (o)
        json_object_object_add(o, "engine", json_object_new_string(engine_of(t)->engine));
    return o;
}

static int wasm_adopt(struct task *t, json_object *described, struct error *err)
{
    return engine_new(t) ? 0 : error_errno(err, ENOMEM, "container %s", t->id);
}

static void wasm_close(struct task *t)
{
    struct wasm_task *e = engine_of(t);
    e->worker = launch_free(e->worker);
    contained_done(&e->contained);
    drop_native(e);
    json_object_put(e->mounts);
    free(e->name);
    free(e->cwd);
    free(e->path);
    free(e);
    t->engine = NULL;
}

const struct task_ops task_wasm_ops = {
    .name = "wasm",
    .others = (const struct task_ops *const[]){&task_oci_ops, NULL},
    .open = wasm_open,
    .look = wasm_look,
    .describe = wasm_describe,
    .adopt = wasm_adopt,
    .close = wasm_close,
    .create = wasm_create,
    .start = wasm_start,
    .exec_start = wasm_exec_start,
    .cancel = wasm_cancel,
    .remove = wasm_remove,
    .reap = contained_reap,
    .kill = contained_kill,
    .pids = contained_pids,
    .stats = wasm_stats,
    .update = wasm_update,
    .pause = wasm_pause,
    .resume = wasm_resume,
    .release = wasm_release,
};
