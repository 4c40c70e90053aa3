// A sandboxer without sockets for containerd: the real Controller service, state machine, jobs and
// reaper over a kind of sandbox that does what the test says, a task server's stand-in on a real
// socket, and calls whose answers are kept.
#ifndef TEST_SANDBOX_RIG_H
#define TEST_SANDBOX_RIG_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/any.h"
#include "api/message.h"
#include "api/sandbox.pb-c.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "base/log.h"
#include "linux/mount.h"
#include "rpc/listen.h"
#include "rpc/ttrpc_server.h"
#include "sandbox/controller.h"
#include "sandbox/sandbox.h"
#include "sandbox/task_peer.h"

#define RIG_SECONDS 15.0

// What the next `make` does, after it has mounted a tmpfs on <sandbox>/mnt, which is to be undone.
enum rig_make { MAKE_OK, MAKE_FAILS, MAKE_DIES, MAKE_HANGS, MAKE_HANGS_AND_FAILS };
// What the task server does with End.
enum rig_end { END_OK, END_FAILS, END_HANGS };

struct rig {
    struct sandbox_manager m; // first: the ops find the rig by it
    struct controller controller;
    char dir[64], socket[96], go[96];
    struct ev_loop *loop;
    struct reaper *reaper;
    struct sandbox_config config;
    const char *task_argv[2];
    struct task_peer_config task_config;
    struct task_peer *tasks;
    // The script.
    enum status plan_fails;
    enum rig_make make;
    bool with_init, with_helpers;
    enum status check_fails, resize_fails;
    bool resize_hangs;
    // The task server.
    struct ttrpc_server *server;
    struct rpc_method pods_methods[3];
    struct rpc_service pods;
    const struct rpc_service *pods_list[2];
    enum rig_end end;
    unsigned ends;
    struct rpc_call *hanging;
};

// ---- calls --------------------------------------------------------------------------------------

struct call {
    struct rpc_call rpc; // first
    bool over;
    struct error err;
    uint8_t *data;
    size_t len;
};

static inline void call_end(struct rpc_call *rpc, const uint8_t *data, size_t len,
                            const struct error *err)
{
    struct call *c = (struct call *)(void *)rpc;
    cr_assert(!c->over, "a call was ended twice");
    c->over = true;
    if (err)
        c->err = *err;
    else if (len) {
        c->data = malloc(len);
        cr_assert(c->data);
        memcpy(c->data, data, c->len = len);
    }
}

static inline const char *call_metadata(struct rpc_call *rpc, const char *key)
{
    (void)rpc;
    (void)key;
    return NULL;
}

static const struct rpc_call_transport rig_transport = {call_end, call_metadata};

// Sends a request in bytes. Free with call_free.
static inline struct call *ask_bytes(struct rig *r, const char *method, const uint8_t *data,
                                     size_t len)
{
    struct call *c = calloc(1, sizeof *c);
    cr_assert(c);
    c->rpc.transport = &rig_transport;
    rpc_service_dispatch(&r->controller.service.rpc, &c->rpc, method, data, len);
    return c;
}

static inline struct call *ask_with(struct rig *r, const char *method, const void *msg)
{
    size_t len;
    _cleanup_free_ uint8_t *data = api_message_encode(msg, &len);
    return ask_bytes(r, method, data, len);
}

// The answer, decoded. Free with api_message_free.
static inline void *call_answer(struct call *c, const ProtobufCMessageDescriptor *type)
{
    struct error err = {0};
    cr_assert(c->over && c->err.status == STATUS_OK, "%s", c->over ? c->err.text : "no answer");
    ProtobufCMessage *m = api_message_decode(type, c->data, c->len, &err);
    cr_assert(m, "%s", err.text);
    return m;
}

static inline void call_free(struct call *c)
{
    cr_assert(c->over, "a call was never ended");
    free(c->data);
    free(c);
}

// The peer gives up.
static inline void call_cancel(struct call *c)
{
    cr_assert(!c->over);
    cr_assert(rpc_call_cancel(&c->rpc), "the method takes no cancellation");
    c->over = true;
    c->err.status = STATUS_CANCELLED;
}

// ---- running the loop ---------------------------------------------------------------------------

static inline void rig_on_time(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)loop;
    (void)events;
    *(bool *)w->data = true;
}

static inline bool run_until(struct rig *r, const bool *flag, double seconds)
{
    bool expired = false;
    ev_timer timer;
    ev_timer_init(&timer, rig_on_time, seconds, 0);
    timer.data = &expired;
    ev_now_update(r->loop);
    ev_timer_start(r->loop, &timer);
    while (!*flag && !expired)
        ev_run(r->loop, EVRUN_ONCE);
    ev_timer_stop(r->loop, &timer);
    return *flag;
}

static inline void run_for(struct rig *r, double seconds)
{
    const bool never = false;
    run_until(r, &never, seconds);
}

// Waits for the answer, checks its status, and frees the call. Gives the text of an error (static).
static inline const char *expect_status(struct rig *r, struct call *c, enum status status)
{
    static struct error last;
    cr_assert(run_until(r, &c->over, RIG_SECONDS), "no answer");
    last = c->err;
    cr_expect_eq(last.status, status, "%s (%s) instead of %s", status_name(last.status), last.text,
                 status_name(status));
    call_free(c);
    return last.text;
}

// ---- the kind of sandbox ------------------------------------------------------------------------

static inline int rig_plan(struct sandbox_manager *m, struct sandbox_record *record,
                           const struct sandbox_request *q, struct error *err)
{
    struct rig *r = (struct rig *)(void *)m;
    char dir[PATH_MAX];
    if (r->plan_fails)
        return error_set(err, r->plan_fails, "field: the plan says no");
    (void)path_format(dir, sizeof dir, "%s/%s", m->sandboxes_dir, q->id);
    record->pod.id = strdup(q->id);
    record->hostname = strdup("");
    cr_assert_eq(undo_push_path(&record->undo, UNDO_UNMOUNT, dir), 0);
    return 0;
}

// A process that lives until it is killed.
static inline int rig_make_init(struct process_id *init)
{
    pid_t pid = fork();
    if (pid == 0) {
        while (true)
            pause();
    }
    return pid < 0 ? -1 : process_identify(pid, init);
}

static inline int rig_make_work(struct sandbox_manager *m, const struct sandbox_record *record,
                                const struct sandbox_request *q, struct sandbox_made *made,
                                struct error *err)
{
    struct rig *r = (struct rig *)(void *)m;
    char dir[PATH_MAX], mnt[PATH_MAX];
    (void)path_format(dir, sizeof dir, "%s/%s", m->sandboxes_dir, record->id);
    (void)path_format(mnt, sizeof mnt, "%s/mnt", dir);
    if (strcmp(q->id, record->id) != 0)
        return error_set(err, STATUS_INTERNAL, "the request is of another sandbox");
    if (mkdir(mnt, 0700) < 0 || mount("test", mnt, "tmpfs", 0, "size=4096") < 0)
        return error_errno(err, errno, "cannot mount %s", mnt);
    if (r->with_init && rig_make_init(&made->init) < 0)
        return error_errno(err, errno, "fork");
    for (size_t i = 0; r->with_helpers && i < ARRAY_SIZE(made->helpers); i++)
        if (rig_make_init(&made->helpers[i]) < 0)
            return error_errno(err, errno, "fork");
    while (r->make >= MAKE_HANGS && access(r->go, F_OK) < 0)
        usleep(1000);
    if (r->make == MAKE_DIES)
        kill(getpid(), SIGKILL);
    if (r->make == MAKE_FAILS || r->make == MAKE_HANGS_AND_FAILS)
        return error_set(err, STATUS_FAILED_PRECONDITION, "thing: make says no");
    return pod_store(&record->pod, dir, err);
}

static inline int rig_check(struct sandbox_manager *m, const struct sandbox_record *record,
                            struct error *err)
{
    const struct rig *r = (const struct rig *)(const void *)m;
    (void)record;
    return r->check_fails ? error_set(err, r->check_fails, "something is missing") : 0;
}

// Leaves the memory limit in the file "resized" of the state directory.
static inline int rig_resize(struct sandbox_manager *m, const struct sandbox_record *record,
                             const struct sandbox_sizes *sizes, struct error *err)
{
    const struct rig *r = (const struct rig *)(const void *)m;
    char path[PATH_MAX], text[32];
    (void)record;
    while (r->resize_hangs && access(r->go, F_OK) < 0)
        usleep(1000);
    if (r->resize_fails)
        return error_set(err, r->resize_fails, "no such size");
    (void)path_format(path, sizeof path, "%s/resized", r->dir);
    (void)path_format(text, sizeof text, "%lld", (long long)sizes->resources.memory_limit_in_bytes);
    return file_write_atomic_at(AT_FDCWD, path, text, strlen(text), 0600) < 0 ? -1 : 0;
}

static const struct sandbox_ops rig_ops = {
    .name = "test",
    .plan = rig_plan,
    .make = rig_make_work,
    .check = rig_check,
    .resize = rig_resize,
};

// Lets a make that hangs go on.
static inline void rig_go(struct rig *r)
{
    int fd = open(r->go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    cr_assert(fd >= 0);
    close(fd);
}

// ---- the task server ----------------------------------------------------------------------------

static inline void rig_on_info(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    (void)data;
    (void)len;
    (void)ctx;
    rpc_call_reply(call, (const uint8_t *)"", 0);
}

static inline void rig_on_end_cancelled(struct rpc_call *call, void *arg)
{
    struct rig *r = arg;
    if (r->hanging == call)
        r->hanging = NULL;
}

static inline void rig_on_end(struct rpc_call *call, const uint8_t *data, size_t len, void *ctx)
{
    struct rig *r = ctx;
    (void)data;
    (void)len;
    r->ends++;
    if (r->end == END_OK)
        rpc_call_reply(call, (const uint8_t *)"", 0);
    else if (r->end == END_FAILS)
        rpc_call_failf(call, STATUS_DEADLINE_EXCEEDED, "containers do not end");
    else
        rpc_call_on_cancel(r->hanging = call, rig_on_end_cancelled, r);
}

static inline void rig_task_server_up(struct rig *r)
{
    struct error err = {0};
    int fd = rpc_listen_unix(r->socket, &err);
    cr_assert(fd >= 0, "%s", err.text);
    r->pods_methods[0] = (struct rpc_method){"Info", rig_on_info};
    r->pods_methods[1] = (struct rpc_method){"End", rig_on_end};
    r->pods = (struct rpc_service){.name = SERVICE_PODS, .methods = r->pods_methods, .ctx = r};
    r->pods_list[0] = &r->pods;
    r->server = ttrpc_server_new(r->loop, fd, r->pods_list);
    cr_assert(r->server);
}

static inline void rig_task_server_down(struct rig *r)
{
    r->server = ttrpc_server_free(r->server);
    unlink(r->socket);
}

// ---- the daemon ---------------------------------------------------------------------------------

static inline void rig_on_tasks(const struct error *err, void *arg)
{
    cr_assert(!err, "%s", err->text);
    *(bool *)arg = true;
}

static inline void rig_connect(struct rig *r)
{
    bool up = false;
    cr_assert(task_peer_ensure(r->tasks, rig_on_tasks, &up));
    cr_assert(run_until(r, &up, RIG_SECONDS), "the task server was not found");
}

static inline void rig_daemon_up_with(struct rig *r, const struct sandbox_ops *ops)
{
    struct error err = {0};
    r->tasks = task_peer_new(r->loop, r->reaper, &r->task_config);
    cr_assert(r->tasks);
    cr_assert_eq(sandbox_manager_init(&r->m, r->loop, r->reaper, ops, &r->config, r->tasks, &err),
                 0, "%s", err.text);
    controller_init(&r->controller, &r->m);
}

// As after a start: records are read, then the task server is looked for.
static inline void rig_daemon_up(struct rig *r)
{
    struct error err = {0};
    rig_daemon_up_with(r, &rig_ops);
    cr_assert_eq(sandbox_manager_recover(&r->m, &err), 0, "%s", err.text);
    rig_connect(r);
}

// As kill -9 would (jobs die with the daemon). Calls that are open must have been cancelled.
static inline void rig_daemon_down(struct rig *r)
{
    sandbox_manager_done(&r->m);
    r->tasks = task_peer_free(r->tasks);
}

static inline struct rig *rig_prepare(void)
{
    struct rig *r = calloc(1, sizeof *r);
    cr_assert(r);
    strcpy(r->dir, "/tmp/sandbox-test.XXXXXX");
    cr_assert(mkdtemp(r->dir));
    snprintf(r->socket, sizeof r->socket, "%s/task.sock", r->dir);
    snprintf(r->go, sizeof r->go, "%s/go", r->dir);
    log_setup("test", getenv("TEST_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    // Processes that a make leaves behind come to us, and are reaped.
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    r->config = (struct sandbox_config){.dir = r->dir, .init_program = "/bin/true"};
    r->task_argv[0] = "/bin/false";
    r->task_config = (struct task_peer_config){.argv = r->task_argv, .socket = r->socket};
    getrlimit(RLIMIT_NOFILE, &r->task_config.files);
    r->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    r->reaper = reaper_new(r->loop);
    cr_assert(r->reaper);
    rig_task_server_up(r);
    return r;
}

static inline struct rig *rig_new(void)
{
    struct rig *r = rig_prepare();
    rig_daemon_up(r);
    return r;
}

static inline void rig_free(struct rig *r)
{
    rig_daemon_down(r);
    rig_task_server_down(r);
    reaper_free(r->reaper);
    ev_loop_destroy(r->loop);
    cr_assert_eq(mount_remove_below(r->dir), 0);
    cr_assert_eq(file_remove_tree_at(AT_FDCWD, r->dir), 0);
    free(r);
}

// ---- what there is ------------------------------------------------------------------------------

// <dir>/<what> (static).
static inline const char *rig_path(struct rig *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static inline const char *rig_path(struct rig *r, const char *fmt, ...)
{
    static char path[PATH_MAX];
    va_list ap;
    int n = snprintf(path, sizeof path, "%s/", r->dir);
    va_start(ap, fmt);
    vsnprintf(path + n, sizeof path - (size_t)n, fmt, ap);
    va_end(ap);
    return path;
}

static inline bool rig_exists(struct rig *r, const char *what)
{
    return access(rig_path(r, "%s", what), F_OK) == 0;
}

// Number of entries of <dir>/<what>; 0 if it is not there.
static inline unsigned rig_count(struct rig *r, const char *what)
{
    DIR *d = opendir(rig_path(r, "%s", what));
    unsigned n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d)
        closedir(d);
    return n;
}

static inline void rig_write(struct rig *r, const char *what, const char *text)
{
    FILE *f = fopen(rig_path(r, "%s", what), "we");
    cr_assert(f, "%s", what);
    fputs(text, f);
    fclose(f);
}

static inline bool rig_mounted(struct rig *r, const char *id)
{
    return mount_is_mounted(rig_path(r, "sandboxes/%s/mnt", id)) > 0;
}

static inline struct sandbox *rig_find(struct rig *r, const char *id)
{
    struct error err = {0};
    return sandbox_find(&r->m, id, &err);
}

static inline enum sandbox_state rig_state(struct rig *r, const char *id)
{
    struct sandbox *s = rig_find(r, id);
    cr_assert(s, "sandbox %s: not found", id);
    return s->record.state;
}

// ---- requests -----------------------------------------------------------------------------------

static inline struct call *ask(struct rig *r, const char *method, const char *id)
{
    // All requests have the id in field 1.
    Sandbox__ControllerStatusRequest q = SANDBOX__CONTROLLER_STATUS_REQUEST__INIT;
    q.sandbox_id = (char *)id;
    return ask_with(r, method, &q.base);
}

static inline struct call *ask_create(struct rig *r, const char *id)
{
    Sandbox__ControllerCreateRequest q = SANDBOX__CONTROLLER_CREATE_REQUEST__INIT;
    q.sandbox_id = (char *)id;
    return ask_with(r, "Create", &q.base);
}

static inline const char *expect(struct rig *r, const char *method, const char *id,
                                 enum status status)
{
    return expect_status(r, ask(r, method, id), status);
}

static inline void create_ok(struct rig *r, const char *id)
{
    expect_status(r, ask_create(r, id), STATUS_OK);
}

#endif
