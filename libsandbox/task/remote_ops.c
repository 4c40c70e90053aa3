// Containers that another task server makes, the agent of a virtual machine: what is of the host is
// done here (the rootfs and volumes are shown to the guest, stdio is copied), the rest is asked of
// the agent. See guest.h for what is believed of it.
//
//   create   job: binds below <sandbox>/shared/<container>  ─►  Bundle, streams, Create
//   exit     the guest's event, held back until the output has come (remote_io.h)
//   remove   Delete  ─►  job: the binds go
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/any.h"
#include "api/cgroups1.pb-c.h"
#include "api/cgroups2.pb-c.h"
#include "api/guest.pb-c.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "event/event.h"
#include "event/job.h"
#include "linux/mount.h"
#include "task/guest.h"
#include "task/oci_options.h"
#include "task/remote_io.h"
#include "task/remote_ops.h"
#include "task/remote_spec.h"
#include "task/remote_volume.h"

// Longest that the agent may take to make or start a process; to answer anything else.
#define MAKE_SECONDS  120.0
#define QUICK_SECONDS 10.0
// How long the agent may take to tell the exit of a container that was killed.
#define KILL_SECONDS 5.0
// How often, and after what time, Delete is asked again of an agent that has not seen the exit yet.
#define DELETE_TRIES   40
#define DELETE_SECONDS 0.05
// Longest that an exit is held back for output that is on its way.
#define OUTPUT_SECONDS 5.0

// The remote side of a process; of init, part of the task's engine.
struct remote_process {
    struct task_process *process;
    struct guest_call *call;  // that makes or starts it
    struct guest_call *first; // that prepares that
    struct error failed;      // what became of it, if it failed
    struct task_done done;
    struct remote_in *in;
    struct remote_out *out[2];
    bool known; // the agent has it
    bool exited;
    uint32_t code;
    struct timespec at;
    ev_timer late;   // OUTPUT_SECONDS
    ev_timer killed; // KILL_SECONDS, of init
};

// task->engine
struct remote_task {
    struct guest *guest; // NULL: a leftover of a dead server
    char *config;        // the guest's config.json
    struct remote_shares shares;
    struct job *job; // of create or remove
    struct guest_call *removing;
    ev_timer again; // Delete
    unsigned deletes;
    struct task_done done; // of create's job, or of remove
    bool shown;            // something may be mounted below <shared>/<container>
    bool made;             // the agent may have it
    unsigned ooms;
    struct remote_process init;
};

static struct remote_task *engine_of(const struct task *t)
{
    return t->engine;
}

static struct remote_process *remote_of(const struct task_process *p)
{
    return p == &p->task->init ? &engine_of(p->task)->init : p->engine;
}

static struct ev_loop *loop_of(const struct task_process *p)
{
    return p->task->server->loop;
}

bool remote_is_of(const struct task *t, const struct guest *g)
{
    return t->ops == &task_remote_ops && t->engine && engine_of(t)->guest == g;
}

static void finish(struct remote_process *r, const struct error *err)
{
    struct task_done done = r->done;
    r->done = (struct task_done){0};
    if (done.fn)
        done.fn(done.arg, err);
}

static void ignore_reply(const ProtobufCMessage *reply, const struct error *err, void *arg)
{
}

// ---- exits --------------------------------------------------------------------------------------

static void report_exit(struct remote_process *r)
{
    ev_timer_stop(loop_of(r->process), &r->late);
    task_process_exited(r->process, r->code, &r->at);
}

static bool output_is_over(const struct remote_process *r)
{
    for (int i = 0; i < 2; i++) {
        if (r->out[i] && !remote_out_is_over(r->out[i]))
            return false;
    }
    return true;
}

static void on_output_over(void *arg)
{
    struct remote_process *r = arg;
    if (r->exited && output_is_over(r))
        report_exit(r);
}

static void on_late(struct ev_loop *loop, ev_timer *w, int revents)
{
    report_exit(container_of(w, struct remote_process, late));
}

// SIGKILL is a wish to the agent. containerd ends no pod of which one container does not end.
static void on_not_killed(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct remote_process *r = container_of(w, struct remote_process, killed);
    struct guest *g = engine_of(r->process->task)->guest;
    if (g)
        guest_die(g, "it does not end a container that was killed");
}

static void set_exited(struct remote_process *r, uint32_t code)
{
    if (r->exited)
        return;
    ev_timer_stop(loop_of(r->process), &r->killed);
    r->exited = true;
    r->code = code;
    clock_gettime(CLOCK_REALTIME, &r->at); // the guest's clock is the guest's
}

void remote_exited(struct task_process *p, uint32_t code)
{
    struct remote_process *r = remote_of(p);
    if (!r || !r->known || r->exited)
        return;
    set_exited(r, code);
    if (output_is_over(r))
        report_exit(r);
    else
        event_timer_arm(loop_of(p), &r->late, OUTPUT_SECONDS);
}

void remote_oom(struct task *t)
{
    if (engine_of(t)->ooms++ < GUEST_OOMS_MAX)
        task_oom(t);
}

static void lose_process(struct task_process *p)
{
    struct remote_process *r = remote_of(p);
    if (!r || !r->known)
        return;
    set_exited(r, 255);
    report_exit(r);
}

void remote_lost(struct task *t)
{
    struct task_process *p;
    task_ref(t);
    TAILQ_FOREACH(p, &t->execs, link)
    {
        lose_process(p);
    }
    lose_process(&t->init);
    task_unref(t);
}

// ---- a process's own
// ------------------------------------------------------------------------------

static void process_init(struct remote_process *r, struct task_process *p)
{
    *r = (struct remote_process){.process = p};
    ev_timer_init(&r->late, on_late, 0, 0);
    ev_timer_init(&r->killed, on_not_killed, 0, 0);
}

static void process_done(struct remote_process *r)
{
    ev_timer_stop(loop_of(r->process), &r->late);
    ev_timer_stop(loop_of(r->process), &r->killed);
    r->call = guest_call_forget(r->call);
    r->first = guest_call_forget(r->first);
    r->in = remote_in_free(r->in);
    for (int i = 0; i < 2; i++)
        r->out[i] = remote_out_free(r->out[i]);
}

// The address of a stream as the agent wants it.
#define STREAM_URL_MAX 128

struct urls {
    char text[3][STREAM_URL_MAX];
};

// Opens the streams of a process, which has its stdio here already; absent ones stay "".
static int open_streams(struct remote_process *r, struct urls *ret, struct error *err)
{
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    struct task_process *p = r->process;
    struct guest *g = engine_of(p->task)->guest;
    const char *urls[] = {p->stdin_url, p->stdout_url, p->terminal ? "" : p->stderr_url};
    uint64_t number = ++g->streams;
    int fds[3];
    *ret = (struct urls){0};
    task_stdio_fds(p->io, fds);
    for (int n = 0; n < 3; n++) {
        char id[48];
        if (!urls[n][0] || fds[n] < 0)
            continue;
        int fd = fcntl(fds[n], F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            return error_errno(err, errno, "%s", names[n]);
        snprintf(id, sizeof(id), "s%llu-%s", (unsigned long long)number, names[n]);
        snprintf(ret->text[n], STREAM_URL_MAX, "ttrpc+unix:///?streaming_id=%s", id);
        if (n == 0)
            r->in = remote_in_new(loop_of(p), g->client, id, fd, err);
        else
            r->out[n - 1] = remote_out_new(loop_of(p), g->client, id, fd, on_output_over, r, err);
        if (n == 0 ? !r->in : !r->out[n - 1])
            return error_wrap(err, "%s", names[n]);
    }
    return 0;
}

// ---- open
// -----------------------------------------------------------------------------------------

static void remote_close(struct task *t)
{
    struct remote_task *e = engine_of(t);
    if (e->job)
        job_abandon(e->job);
    ev_timer_stop(t->server->loop, &e->again);
    guest_call_forget(e->removing);
    process_done(&e->init);
    guest_put(e->guest);
    remote_shares_done(&e->shares);
    free(e->config);
    free(e);
    t->engine = NULL;
}

static void on_again(struct ev_loop *loop, ev_timer *w, int revents);

static struct remote_task *engine_new(struct task *t, struct error *err)
{
    struct remote_task *e = calloc(1, sizeof(*e));
    if (!e) {
        error_errno(err, ENOMEM, "container %s", t->id);
        return NULL;
    }
    process_init(&e->init, &t->init);
    ev_timer_init(&e->again, on_again, 0, 0);
    return e;
}

static int remote_open(struct task *t, const Google__Any *options, const struct pod *pod,
                       json_object *spec, struct error *err)
{
    char dir[PATH_MAX], cgroup[PATH_MAX];
    if (!t->sandbox_id)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "container %s is in no sandbox: there is no virtual machine for it",
                         t->id);
    if (path_format(dir, sizeof(dir), GUEST_SHARED "/%s", t->id) < 0 ||
        path_format(cgroup, sizeof(cgroup), "/%s", t->id) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "id: too long");
    if (oci_options_read_guest(t, options, err) < 0)
        return -1;
    struct remote_task *e = engine_new(t, err);
    if (!e)
        return -1;
    t->engine = e;
    e->guest = guest_get(t->server, t->sandbox_id, err);
    if (e->guest)
        e->config = remote_spec_make(spec, dir, cgroup, &e->shares, err);
    if (e->config)
        return 0;
    remote_close(t);
    return -1;
}

static json_object *remote_describe(const struct task *t)
{
    return json_object_new_object();
}

// The agent has nothing more to say of a container that a dead server had: its machine ends with
// its pod. What is mounted for it on the host goes.
static int remote_adopt(struct task *t, json_object *described, struct error *err)
{
    struct remote_task *e = engine_new(t, err);
    if (!e)
        return -1;
    t->engine = e;
    e->shown = true;
    if (!t->sandbox_id)
        return 0;
    struct error ignored = {0};
    e->guest = guest_get(t->server, t->sandbox_id, &ignored);
    e->made = e->guest;
    return 0;
}

// ---- the host's part
// --------------------------------------------------------------------------------

static int sandbox_path(const struct task *t, char out[PATH_MAX])
{
    return path_format(out, PATH_MAX, "%s/%s", t->server->sandboxes_dir, t->sandbox_id);
}

// What is shown of this container: <sandboxes>/<sandbox>/shared/<container>.
static int shown_path(const struct task *t, char out[PATH_MAX], const char *name)
{
    return path_format(out, PATH_MAX, "%s/%s/shared/%s%s%s", t->server->sandboxes_dir,
                       t->sandbox_id, t->id, name ? "/" : "", name ? name : "");
}

static int show_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    const struct task *t = arg;
    const struct remote_task *e = engine_of(t);
    static const char *const options[] = {"rbind", "rslave"};
    struct mount_spec spec = {.type = "bind", .options = options, .n_options = 2};
    char dir[PATH_MAX], path[PATH_MAX], rootfs[PATH_MAX], target[PATH_MAX];
    umask(0);
    if (sandbox_path(t, dir) < 0 || shown_path(t, path, NULL) < 0 ||
        shown_path(t, target, "rootfs") < 0 || task_rootfs_path(t, rootfs, sizeof(rootfs)) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "container %s: path too long", t->id);
    if (mkdir(path, 0755) < 0 || mkdir(target, 0755) < 0)
        return error_errno(err, errno, "%s", path);
    spec.source = rootfs;
    if (mount_apply(&spec, target, err) < 0)
        return error_wrap(err, "rootfs");
    for (size_t i = 0; i < e->shares.n; i++) {
        if (remote_volume_show(dir, t->id, &e->shares.list[i], err) < 0)
            return -1;
    }
    return 0;
}

static int hide_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    const struct task *t = arg;
    char path[PATH_MAX], dir[PATH_MAX], sandbox[PATH_MAX];
    if (!t->sandbox_id || shown_path(t, path, NULL) < 0 || sandbox_path(t, sandbox) < 0 ||
        path_format(dir, sizeof(dir), "%s/shared", sandbox) < 0)
        return 0;
    int volumes = remote_volumes_hide(sandbox, t->id, err);
    int r = mount_remove_below(path);
    if (r < 0)
        return error_errno(err, r, "cannot unmount %s", path);
    _cleanup_close_ int fd = open(dir, O_DIRECTORY | O_PATH | O_CLOEXEC);
    r = fd < 0 ? (errno == ENOENT ? 0 : -errno) : file_remove_tree_at(fd, t->id);
    return r < 0 ? error_errno(err, r, "cannot remove %s", path) : volumes;
}

// ---- create
// -----------------------------------------------------------------------------------------

static void create_end(struct task *t, const struct error *err)
{
    finish(&engine_of(t)->init, err);
}

// What makes or starts the process comes behind it on the same connection, and fails for want of
// what this was to make: this says why.
static void on_first(const ProtobufCMessage *reply, const struct error *err, void *arg)
{
    struct remote_process *r = arg;
    r->first = NULL;
    if (err)
        r->failed = *err;
}

static const struct error *why_failed(const struct remote_process *r, const struct error *err)
{
    return err && r->failed.status ? &r->failed : err;
}

static void on_created(const ProtobufCMessage *reply, const struct error *err, void *arg)
{
    struct remote_process *r = arg;
    r->call = NULL;
    if (!err) {
        r->known = true;
        r->process->pid = engine_of(r->process->task)->guest->vmm;
    }
    finish(r, why_failed(r, err));
}

static int call_create(struct task *t, struct error *err)
{
    struct remote_task *e = engine_of(t);
    struct urls urls;
    char bundle[PATH_MAX], rootfs[PATH_MAX];
    Guest__BundleRequest b = GUEST__BUNDLE_REQUEST__INIT;
    Task__CreateTaskRequest c = TASK__CREATE_TASK_REQUEST__INIT;
    Types__Mount root = TYPES__MOUNT__INIT;
    Types__Mount *mounts[] = {&root};
    char *options[] = {(char *)"rbind"};
    if (path_format(bundle, sizeof(bundle), GUEST_BUNDLES "/%s", t->id) < 0 ||
        path_format(rootfs, sizeof(rootfs), GUEST_SHARED "/%s/rootfs", t->id) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "id: too long");
    b.id = t->id;
    b.config = (ProtobufCBinaryData){strlen(e->config), (uint8_t *)e->config};
    e->init.first = guest_call(e->guest, SERVICE_GUEST, "Bundle", NULL, &b.base,
                               &google__empty__descriptor, QUICK_SECONDS, on_first, &e->init, err);
    if (!e->init.first || open_streams(&e->init, &urls, err) < 0)
        return -1;
    root.type = (char *)"bind";
    root.source = rootfs;
    root.n_options = 1;
    root.options = options;
    c.id = t->id;
    c.bundle = bundle;
    c.n_rootfs = 1;
    c.rootfs = mounts;
    c.terminal = t->init.terminal;
    c.stdin = urls.text[0];
    c.stdout = urls.text[1];
    c.stderr = urls.text[2];
    e->made = true;
    e->init.call = guest_call(e->guest, SERVICE_TASK_V3, "Create", t->ns, &c.base,
                              &task__create_task_response__descriptor, MAKE_SECONDS, on_created,
                              &e->init, err);
    return e->init.call ? 0 : -1;
}

static void shown(const void *reply, size_t len, const struct error *err, void *arg)
{
    struct task *t = arg;
    struct error mine = {0};
    engine_of(t)->job = NULL;
    if (!err && t->cancelled) {
        error_set(&mine, STATUS_CANCELLED, "Create was given up");
        err = &mine;
    }
    if (!err && call_create(t, &mine) < 0)
        err = &mine;
    if (err)
        create_end(t, err);
}

static void remote_create(struct task *t, struct task_done done)
{
    struct remote_task *e = engine_of(t);
    struct error err = {0};
    e->init.done = done;
    e->shown = true;
    e->job = job_start(t->server->loop, t->server->reaper, show_work, shown, t, TASK_MOUNT_SECONDS,
                       &err);
    if (!e->job)
        create_end(t, &err);
}

// ---- start
// ------------------------------------------------------------------------------------------

static void on_started(const ProtobufCMessage *reply, const struct error *err, void *arg)
{
    struct remote_process *r = arg;
    r->call = NULL;
    finish(r, err);
}

static void start_process(struct remote_process *r, guest_reply_fn fn, struct task_done done)
{
    struct task_process *p = r->process;
    struct task *t = p->task;
    Task__StartRequest req = TASK__START_REQUEST__INIT;
    struct error err = {0};
    req.id = t->id;
    req.exec_id = p->exec_id;
    r->done = done;
    r->call = guest_call(engine_of(t)->guest, SERVICE_TASK_V3, "Start", t->ns, &req.base,
                         &task__start_response__descriptor, MAKE_SECONDS, fn, r, &err);
    if (!r->call)
        finish(r, &err);
}

static void remote_start(struct task *t, struct task_done done)
{
    start_process(&engine_of(t)->init, on_started, done);
}

// ---- exec
// -------------------------------------------------------------------------------------------

// The agent forgets an exec; one that may have been started in spite of an error is killed first.
static void forget_exec(const struct task_process *p, bool alive)
{
    Task__KillRequest kill_it = TASK__KILL_REQUEST__INIT;
    Task__DeleteRequest forget = TASK__DELETE_REQUEST__INIT;
    struct error ignored = {0};
    struct guest *g = engine_of(p->task)->guest;
    kill_it.id = forget.id = p->task->id;
    kill_it.exec_id = forget.exec_id = p->exec_id;
    kill_it.signal = SIGKILL;
    if (!g || g->dead)
        return;
    if (alive)
        (void)guest_call(g, SERVICE_TASK_V3, "Kill", p->task->ns, &kill_it.base,
                         &google__empty__descriptor, QUICK_SECONDS, ignore_reply, NULL, &ignored);
    (void)guest_call(g, SERVICE_TASK_V3, "Delete", p->task->ns, &forget.base,
                     &task__delete_response__descriptor, QUICK_SECONDS, ignore_reply, NULL,
                     &ignored);
}

static void on_exec_started(const ProtobufCMessage *reply, const struct error *err, void *arg)
{
    struct remote_process *r = arg;
    r->call = NULL;
    if (err) {
        struct task_process *p = r->process;
        struct task_done done = r->done;
        const struct error why = *why_failed(r, err);
        forget_exec(p, true);
        process_done(r);
        free(r);
        p->engine = NULL;
        done.fn(done.arg, &why);
        return;
    }
    r->process->pid = engine_of(r->process->task)->guest->vmm;
    finish(r, NULL);
    if (r->exited && output_is_over(r)) // it came before the answer
        report_exit(r);
}

static int call_exec(struct remote_process *r, struct error *err)
{
    struct task_process *p = r->process;
    struct task *t = p->task;
    struct urls urls;
    Task__ExecProcessRequest req = TASK__EXEC_PROCESS_REQUEST__INIT;
    Google__Any spec = GOOGLE__ANY__INIT;
    const char *text = json_text(p->spec);
    if (!text)
        return error_errno(err, ENOMEM, "exec %s", p->exec_id);
    if (open_streams(r, &urls, err) < 0)
        return -1;
    spec.type_url = (char *)ANY_OCI_PROCESS;
    spec.value = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    req.id = t->id;
    req.exec_id = p->exec_id;
    req.terminal = p->terminal;
    req.stdin = urls.text[0];
    req.stdout = urls.text[1];
    req.stderr = urls.text[2];
    req.spec = &spec;
    r->first = guest_call(engine_of(t)->guest, SERVICE_TASK_V3, "Exec", t->ns, &req.base,
                          &google__empty__descriptor, QUICK_SECONDS, on_first, r, err);
    return r->first ? 0 : -1;
}

static void remote_exec_start(struct task_process *p, struct task_done done)
{
    struct remote_process *r = calloc(1, sizeof(*r));
    struct error err = {0};
    if (!r) {
        error_errno(&err, ENOMEM, "exec %s", p->exec_id);
        done.fn(done.arg, &err);
        return;
    }
    process_init(r, p);
    p->engine = r;
    r->known = true; // its exit may come before the answer to Start
    if (call_exec(r, &err) == 0) {
        start_process(r, on_exec_started, done);
        return;
    }
    process_done(r);
    free(r);
    p->engine = NULL;
    done.fn(done.arg, &err);
}

static void remote_cancel(struct task_process *p)
{
    struct remote_process *r = remote_of(p);
    struct error err = {0};
    if (!r || !r->call)
        return; // a job ends soon
    r->call = guest_call_forget(r->call);
    error_set(&err, STATUS_CANCELLED, "it was given up");
    finish(r, &err);
}

// ---- questions
// --------------------------------------------------------------------------------------

// An answer that somebody waits for; counted, so that the task lives.
struct question {
    struct task *task;
    struct task_done done;
    struct task_pids_done pids;
    struct task_stats_done stats;
};

static struct question *question_new(struct task *t)
{
    struct question *q = calloc(1, sizeof(*q));
    if (q)
        q->task = task_ref(t);
    return q;
}

static void question_free(struct question *q)
{
    if (q)
        task_unref(q->task);
    free(q);
}

static void on_done(const ProtobufCMessage *reply, const struct error *err, void *arg)
{
    struct question *q = arg;
    q->done.fn(q->done.arg, err);
    question_free(q);
}

// Asks for something whose answer is only success.
static void ask(struct task *t, const char *method, const ProtobufCMessage *req,
                struct task_done done)
{
    struct question *q = question_new(t);
    struct error err = {0};
    struct guest *g = engine_of(t)->guest;
    if (!q)
        error_errno(&err, ENOMEM, "container %s", t->id);
    else if (!g)
        error_set(&err, STATUS_NOT_FOUND, "container %s: its virtual machine is gone", t->id);
    if (q && g) {
        q->done = done;
        if (guest_call(g, SERVICE_TASK_V3, method, t->ns, req, &google__empty__descriptor,
                       QUICK_SECONDS, on_done, q, &err))
            return;
    }
    question_free(q);
    done.fn(done.arg, &err);
}

static void remote_kill(struct task_process *p, int signal, bool all, struct task_done done)
{
    Task__KillRequest req = TASK__KILL_REQUEST__INIT;
    req.id = p->task->id;
    req.exec_id = p->exec_id;
    req.signal = (uint32_t)signal;
    req.all = all;
    struct remote_process *r = remote_of(p);
    if (signal == SIGKILL && r && r->known && !r->exited && p == &p->task->init &&
        !ev_is_active(&r->killed))
        event_timer_arm(loop_of(p), &r->killed, KILL_SECONDS);
    ask(p->task, "Kill", &req.base, done);
}

static void remote_resize(struct task_process *p, uint32_t columns, uint32_t rows,
                          struct task_done done)
{
    Task__ResizePtyRequest req = TASK__RESIZE_PTY_REQUEST__INIT;
    req.id = p->task->id;
    req.exec_id = p->exec_id;
    req.width = columns;
    req.height = rows;
    ask(p->task, "ResizePty", &req.base, done);
}

static void remote_update(struct task *t, const void *resources, size_t len, struct task_done done)
{
    Task__UpdateTaskRequest req = TASK__UPDATE_TASK_REQUEST__INIT;
    Google__Any any = GOOGLE__ANY__INIT;
    struct error err = {0};
    _cleanup_free_ char *text = remote_resources_make(resources, len, &err);
    if (!text) {
        done.fn(done.arg, &err);
        return;
    }
    any.type_url = (char *)ANY_OCI_RESOURCES;
    any.value = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    req.id = t->id;
    req.resources = &any;
    ask(t, "Update", &req.base, done);
}

static void remote_pause(struct task *t, struct task_done done)
{
    Task__PauseRequest req = TASK__PAUSE_REQUEST__INIT;
    req.id = t->id;
    ask(t, "Pause", &req.base, done);
}

static void remote_resume(struct task *t, struct task_done done)
{
    Task__ResumeRequest req = TASK__RESUME_REQUEST__INIT;
    req.id = t->id;
    ask(t, "Resume", &req.base, done);
}

// Process ids of the guest would be taken for the host's: what is told is the machine.
static void remote_pids(struct task *t, struct task_pids_done done)
{
    const struct task_pid pid = {.pid = (uint32_t)t->init.pid.pid};
    done.fn(done.arg, &pid, pid.pid ? 1 : 0, NULL);
}

static const struct {
    const char *type_url;
    const ProtobufCMessageDescriptor *type;
} metrics[] = {{ANY_CGROUPS2_METRICS, &cgroups2__metrics__descriptor},
               {ANY_CGROUPS1_METRICS, &cgroups1__metrics__descriptor}};

// containerd fails a whole list of statistics for one that it cannot read: what the guest says is
// read here and written again.
static int rewrite_stats(const Google__Any *from, Google__Any *to, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(metrics); i++) {
        if (!any_is(from, metrics[i].type_url))
            continue;
        ProtobufCMessage *m = any_decode(from, metrics[i].type_url, metrics[i].type, err);
        int r = m ? any_pack(to, metrics[i].type_url, m) : 0;
        api_message_free(m);
        if (r < 0)
            error_errno(err, r, "statistics");
        return m && r == 0 ? 0 : -1;
    }
    return error_set(err, STATUS_INTERNAL, "these are no statistics of a cgroup");
}

static void on_stats(const ProtobufCMessage *reply, const struct error *err, void *arg)
{
    struct question *q = arg;
    const Task__StatsResponse *r = (const Task__StatsResponse *)reply;
    struct error mine = {0};
    Google__Any stats = GOOGLE__ANY__INIT;
    if (!err && rewrite_stats(r->stats, &stats, &mine) < 0) {
        mine.status = STATUS_INTERNAL;
        error_wrap(&mine, "guest");
        err = &mine;
    }
    q->stats.fn(q->stats.arg, err ? NULL : &stats, err);
    if (!err)
        any_clear(&stats);
    question_free(q);
}

static void remote_stats(struct task *t, struct task_stats_done done)
{
    Task__StatsRequest req = TASK__STATS_REQUEST__INIT;
    struct question *q = question_new(t);
    struct guest *g = engine_of(t)->guest;
    struct error err = {0};
    req.id = t->id;
    if (!q || !g) {
        error_set(&err, STATUS_NOT_FOUND, "container %s: its virtual machine is gone", t->id);
    } else {
        q->stats = done;
        if (guest_call(g, SERVICE_TASK_V3, "Stats", t->ns, &req.base,
                       &task__stats_response__descriptor, QUICK_SECONDS, on_stats, q, &err))
            return;
    }
    question_free(q);
    done.fn(done.arg, NULL, &err);
}

// ---- the end
// ----------------------------------------------------------------------------------------

static void nothing(void *arg, const struct error *err)
{
}

static void remote_reap(struct task *t)
{
    if (engine_of(t)->guest)
        remote_kill(&t->init, SIGKILL, true, (struct task_done){.fn = nothing});
}

static void remove_end(struct task *t, const struct error *err)
{
    struct remote_task *e = engine_of(t);
    struct task_done done = e->done;
    e->done = (struct task_done){0};
    done.fn(done.arg, err);
}

static void hidden(const void *reply, size_t len, const struct error *err, void *arg)
{
    struct task *t = arg;
    engine_of(t)->job = NULL;
    if (!err)
        engine_of(t)->shown = false;
    remove_end(t, err);
}

static void hide(struct task *t)
{
    struct remote_task *e = engine_of(t);
    struct error err = {0};
    if (!e->shown) {
        remove_end(t, NULL);
        return;
    }
    e->job = job_start(t->server->loop, t->server->reaper, hide_work, hidden, t, TASK_MOUNT_SECONDS,
                       &err);
    if (!e->job)
        remove_end(t, &err);
}

static void ask_delete(struct task *t);

// The container is gone there, or stays until the machine ends.
static void removed(struct task *t)
{
    struct remote_task *e = engine_of(t);
    Guest__BundleRequest b = GUEST__BUNDLE_REQUEST__INIT;
    struct error ignored = {0};
    b.id = t->id;
    if (e->guest && !e->made)
        (void)guest_call(e->guest, SERVICE_GUEST, "Unbundle", NULL, &b.base,
                         &google__empty__descriptor, QUICK_SECONDS, ignore_reply, NULL, &ignored);
    // Its init cannot be told to have ended any other way if the agent forgot it.
    if (e->init.known && !e->init.exited && !e->made)
        lose_process(&t->init);
    hide(t);
}

static void on_again(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct remote_task *e = container_of(w, struct remote_task, again);
    ask_delete(e->init.process->task);
}

static void on_removed(const ProtobufCMessage *reply, const struct error *err, void *arg)
{
    struct task *t = arg;
    struct remote_task *e = engine_of(t);
    e->removing = NULL;
    // Killed, and its end has not been seen.
    if (err && err->status == STATUS_FAILED_PRECONDITION && ++e->deletes < DELETE_TRIES) {
        event_timer_arm(t->server->loop, &e->again, DELETE_SECONDS);
        return;
    }
    if (!err || err->status == STATUS_NOT_FOUND)
        e->made = false;
    else
        log_info("container %s: %s", t->id, err->text);
    removed(t);
}

static void ask_delete(struct task *t)
{
    struct remote_task *e = engine_of(t);
    Task__DeleteRequest req = TASK__DELETE_REQUEST__INIT;
    struct error err = {0};
    req.id = t->id;
    e->removing =
        guest_call(e->guest, SERVICE_TASK_V3, "Delete", t->ns, &req.base,
                   &task__delete_response__descriptor, QUICK_SECONDS, on_removed, t, &err);
    if (!e->removing)
        hide(t);
}

static void remote_remove(struct task *t, struct task_done done)
{
    struct remote_task *e = engine_of(t);
    e->done = done;
    e->deletes = 0;
    if (!e->made || !e->guest) {
        hide(t);
        return;
    }
    if (!e->init.exited)
        remote_reap(t);
    ask_delete(t);
}

static void remote_release(struct task_process *p)
{
    struct remote_process *r = remote_of(p);
    if (!r)
        return;
    if (p == &p->task->init) {
        process_done(r);
        return;
    }
    forget_exec(p, false);
    process_done(r);
    free(r);
    p->engine = NULL;
}

const struct task_ops task_remote_ops = {
    .name = "remote",
    .elsewhere = true,
    .open = remote_open,
    .describe = remote_describe,
    .adopt = remote_adopt,
    .close = remote_close,
    .create = remote_create,
    .start = remote_start,
    .exec_start = remote_exec_start,
    .cancel = remote_cancel,
    .remove = remote_remove,
    .reap = remote_reap,
    .kill = remote_kill,
    .pids = remote_pids,
    .stats = remote_stats,
    .update = remote_update,
    .pause = remote_pause,
    .resume = remote_resume,
    .resize = remote_resize,
    .release = remote_release,
};
