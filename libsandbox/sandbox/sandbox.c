// The state machine of a sandbox. Every change of state is journaled before anybody is told.
//
//   (new) -> CREATING -> CREATED -> READY -> STOPPING -> STOPPED -> (forgotten)
//                |           |                   ^
//                |           `-------------------|
//                `---- failed, or given up ------'
//
// At most one job (a forked child that makes or unmakes) is at work for a sandbox. Who asks for a
// stop while one runs is put on `stops` and served when it is done; so a Shutdown that races a
// Create waits until Create has unwound.
//
// There is one way down, whoever asks for it: the task server ends the containers (an RPC), then
// the undo list is run (a job), then Waits and Stops are answered. A Create that fails goes the
// same way, without containers, and is answered at the end of it: containerd removes the network
// namespace at once. What nobody will ask for any more (a failed Create, a Shutdown, a sandbox that
// was never started) has `remove` in its record and is forgotten at the end.
//
// On the way down nothing stops for a journal that cannot be written: the undo list is in it
// already and may be run any number of times. An undo list that fails leaves the sandbox STOPPING,
// with an error for who asked; the next Stop or Shutdown runs it again, or the sweep does.
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/message.h"
#include "api/sandbox.pb-c.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "base/log.h"
#include "linux/cgroup.h"
#include "linux/namespace.h"
#include "sandbox/answers.h"
#include "sandbox/task_peer.h"

// Exit status of a sandbox that was stopped on request, and of one that never was.
#define STATUS_STOPPED_BY_REQUEST 0
#define STATUS_NEVER_CREATED      255
// How often the sweep is made while it is needed, in seconds.
#define SWEEP_INTERVAL 5.0
// A pod on the host's network shows no sign of being forgotten: how long it may be created and not
// started, in seconds. containerd pulls the pause image between Create and Start.
#define UNSTARTED_AGE 3600
// How long a running one may have no Wait, in seconds. After a restart of ours containerd takes up
// to 7 s to ask again.
#define UNWATCHED_AGE 30

const struct stage_plan sandbox_timing_plans[SANDBOX_TIMING_MAX_] = {
    [SANDBOX_TIMING_CREATE] = {"sandbox_create", {"plan", "journal", "make", "record"}},
    [SANDBOX_TIMING_START] = {"sandbox_start", {"tasks", "record"}},
    [SANDBOX_TIMING_STOP] = {"sandbox_stop", {"journal", "containers", "undo", "record"}},
};

static void timing_begin(struct sandbox *s, enum sandbox_timing timing)
{
    stages_begin(&s->timings[timing], &sandbox_timing_plans[timing]);
}

static void timing_mark(struct sandbox *s, enum sandbox_timing timing, unsigned stage)
{
    stages_mark(&s->timings[timing], stage);
}

// The last step of an operation that has succeeded.
static void timing_end(struct sandbox *s, enum sandbox_timing timing, unsigned stage)
{
    timing_mark(s, timing, stage);
    if (s->timings[timing].plan)
        metrics_observe_stages(&s->manager->timings[timing], &s->timings[timing]);
}

// ---- life and death of the object --------------------------------------------------------------

static void unwatch_processes(struct sandbox *s);

static time_t boottime(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec;
}

// Is there nothing that a sweep might have to do for it? Then the daemon sleeps until it is asked.
static bool is_settled(const struct sandbox *s)
{
    enum sandbox_state state = s->record.state;
    bool watched = state == SANDBOX_READY && !TAILQ_EMPTY(&s->waits.list);
    return (watched || state == SANDBOX_STOPPED) && !s->record.remove;
}

static void want_sweep(struct sandbox *s)
{
    ev_timer *w = &s->manager->sweep;
    if (is_settled(s) || ev_is_active(w))
        return;
    ev_now_update(s->manager->loop); // may be asked for before the loop runs
    ev_timer_set(w, SWEEP_INTERVAL, SWEEP_INTERVAL);
    ev_timer_start(s->manager->loop, w);
}

static struct sandbox *sandbox_new(struct sandbox_manager *m, struct sandbox_record *record)
{
    struct sandbox *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    if (asprintf(&s->dir, "%s/%s", m->sandboxes_dir, record->id) < 0)
        s->dir = NULL;
    if (!s->dir || map_add(m->sandboxes, record->id, s) < 0) {
        free(s->dir);
        free(s);
        return NULL;
    }
    s->manager = m;
    s->record = *record;
    *record = (struct sandbox_record){0};
    s->since = boottime();
    TAILQ_INIT(&s->waits.list);
    TAILQ_INIT(&s->stops.list);
    want_sweep(s);
    return s;
}

// Takes it out of the registry and frees it. Nobody waits any more.
static void forget(struct sandbox *s)
{
    struct sandbox_manager *m = s->manager;
    sandbox_resize_abandon(s);
    unwatch_processes(s);
    map_remove(m->sandboxes, s->record.id);
    record_done(&s->record);
    free(s->dir);
    free(s);
}

struct sandbox *sandbox_adopt(struct sandbox_manager *m, struct sandbox_record *record)
{
    return sandbox_new(m, record);
}

struct sandbox *sandbox_find(struct sandbox_manager *m, const char *id, struct error *err)
{
    if (ident_check(id, "sandbox_id", err) < 0)
        return NULL;
    struct sandbox *s = map_get(m->sandboxes, id);
    if (!s)
        error_set(err, STATUS_NOT_FOUND, "sandbox %s: not found", id);
    return s;
}

// Tells those who follow what happens. Every topic begins like this.
#define TOPIC "/sandboxes/"

static void tell(const struct sandbox *s, const char *topic)
{
    const struct inspect_event event = {.topic = topic,
                                        .id = s->record.id,
                                        .pid = s->record.init.pid,
                                        .exited = s->record.state == SANDBOX_STOPPED,
                                        .exit_status = s->record.exit_status};
    inspect_events_add(s->manager->events, &event);
}

static void tell_state(const struct sandbox *s)
{
    char topic[32];
    snprintf(topic, sizeof topic, TOPIC "%s", sandbox_state_name(s->record.state));
    tell(s, topic);
}

static int set_state(struct sandbox *s, enum sandbox_state state, struct error *err)
{
    enum sandbox_state before = s->record.state;
    s->record.state = state;
    if (record_store(&s->record, s->dir, err) < 0) {
        s->record.state = before;
        return -1;
    }
    log_debug("sandbox %s: %s -> %s", s->record.id, sandbox_state_name(before),
              sandbox_state_name(state));
    want_sweep(s);
    tell_state(s);
    return 0;
}

// For the way down, on which there is nothing to give up for.
static void force_state(struct sandbox *s, enum sandbox_state state)
{
    struct error err = {0};
    if (set_state(s, state, &err) == 0)
        return;
    log_error("sandbox %s: %s", s->record.id, err.text);
    s->record.state = state;
    want_sweep(s);
    tell_state(s);
}

// ---- waiters ------------------------------------------------------------------------------------

static struct rpc_call *unpark(struct sandbox_waiter *w)
{
    struct rpc_call *call = w->call;
    TAILQ_REMOVE(&w->in->list, w, link);
    w->in->n--;
    free(w);
    return call;
}

static void on_cancelled(struct rpc_call *call, void *arg)
{
    (void)call;
    struct sandbox *s = ((struct sandbox_waiter *)arg)->sandbox;
    unpark(arg);
    want_sweep(s);
}

// Returns 0, or -1 when the call was refused instead (and is over).
static int park(struct sandbox *s, struct sandbox_waiters *in, struct rpc_call *call)
{
    if (in->n == SANDBOX_WAITERS_MAX) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED,
                       "sandbox %s: %d calls wait for it already, let them end first", s->record.id,
                       SANDBOX_WAITERS_MAX);
        return -1;
    }
    struct sandbox_waiter *w = calloc(1, sizeof *w);
    if (!w) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return -1;
    }
    w->sandbox = s;
    w->call = call;
    w->in = in;
    TAILQ_INSERT_TAIL(&in->list, w, link);
    in->n++;
    rpc_call_on_cancel(call, on_cancelled, w);
    return 0;
}

static void answer_waits(struct sandbox *s)
{
    for (struct sandbox_waiter *w; (w = TAILQ_FIRST(&s->waits.list));)
        answer_wait(unpark(w), &s->record);
}

static void answer_stops(struct sandbox *s, const struct error *err)
{
    for (struct sandbox_waiter *w; (w = TAILQ_FIRST(&s->stops.list));) {
        struct rpc_call *call = unpark(w);
        if (err)
            rpc_call_fail(call, err);
        else
            api_reply_empty(call);
    }
}

// Answers a Create that failed.
static void answer_failed_create(struct sandbox *s)
{
    struct rpc_call *call = s->creating;
    s->creating = NULL;
    if (call)
        rpc_call_fail(call, &s->failure);
}

// ---- forgetting ---------------------------------------------------------------------------------

int sandbox_remove_dir(struct sandbox_manager *m, const char *id)
{
    char removed[sizeof SANDBOX_REMOVED_PREFIX + IDENT_MAX];
    _cleanup_close_ int dirfd = open(m->sandboxes_dir, O_DIRECTORY | O_PATH | O_CLOEXEC);
    if (dirfd < 0)
        return -errno;
    int e = path_format(removed, sizeof removed, SANDBOX_REMOVED_PREFIX "%s", id);
    if (e < 0 || (e = file_remove_tree_at(dirfd, removed)) < 0)
        return e;
    if (renameat(dirfd, id, dirfd, removed) < 0)
        return errno == ENOENT ? 0 : -errno;
    return file_remove_tree_at(dirfd, removed);
}

// Removes the directory of a stopped sandbox, and the sandbox.
static void remove_stopped(struct sandbox *s)
{
    int e = sandbox_remove_dir(s->manager, s->record.id);
    answer_failed_create(s);
    answer_waits(s);
    if (e < 0) {
        struct error err = {0};
        error_errno(&err, e, "sandbox %s: cannot remove %s", s->record.id, s->dir);
        log_error("%s", err.text);
        answer_stops(s, &err);
        return;
    }
    log_info("sandbox %s: removed", s->record.id);
    tell(s, TOPIC "removed");
    answer_stops(s, NULL);
    forget(s);
}

// ---- unmaking -----------------------------------------------------------------------------------

static int unmake_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    (void)reply;
    *reply_len = 0;
    struct sandbox *s = arg;
    return undo_run(&s->record.undo, err);
}

static void stopped(struct sandbox *s)
{
    unwatch_processes(s);
    undo_done(&s->record.undo);
    clock_gettime(CLOCK_REALTIME, &s->record.exited_at);
    s->record.init = (struct process_id){0};
    force_state(s, SANDBOX_STOPPED);
    timing_end(s, SANDBOX_TIMING_STOP, SANDBOX_STOP_RECORD);
    log_info("sandbox %s: stopped, status %u", s->record.id, s->record.exit_status);
    if (s->record.remove) {
        remove_stopped(s);
        return;
    }
    answer_waits(s);
    answer_stops(s, NULL);
}

static void not_stopped(struct sandbox *s, const struct error *why)
{
    struct error err = *why;
    error_wrap(&err, "sandbox %s", s->record.id);
    log_error("%s", err.text);
    answer_failed_create(s);
    answer_stops(s, &err);
}

static void on_unmade(const void *reply, size_t reply_len, const struct error *err, void *arg)
{
    (void)reply;
    (void)reply_len;
    struct sandbox *s = arg;
    s->job = NULL;
    timing_mark(s, SANDBOX_TIMING_STOP, SANDBOX_STOP_UNDO);
    if (err)
        not_stopped(s, err);
    else
        stopped(s);
}

static void start_unmake_job(struct sandbox *s)
{
    struct error err = {0};
    s->job = job_start(s->manager->loop, s->manager->reaper, unmake_work, on_unmade, s,
                       SANDBOX_JOB_TIMEOUT, &err);
    if (!s->job)
        not_stopped(s, &err);
}

static void on_containers_ended(const struct error *err, void *arg)
{
    struct sandbox *s = arg;
    s->ending = 0;
    timing_mark(s, SANDBOX_TIMING_STOP, SANDBOX_STOP_CONTAINERS);
    // Those that sit in the pod's namespaces are ended by the undo list.
    if (err)
        log_warn("sandbox %s: the task server did not end its containers: %s", s->record.id,
                 err->text);
    start_unmake_job(s);
}

// Ends the sandbox, with `status` as its exit status. Idempotent while it is at work; `status` of
// the first attempt counts.
static void unmake(struct sandbox *s, uint32_t status)
{
    if (s->job || s->ending)
        return;
    bool containers = s->record.state != SANDBOX_CREATING;
    timing_begin(s, SANDBOX_TIMING_STOP);
    if (s->record.state != SANDBOX_STOPPING) {
        s->record.exit_status = status;
        force_state(s, SANDBOX_STOPPING);
        timing_mark(s, SANDBOX_TIMING_STOP, SANDBOX_STOP_JOURNAL);
    }
    if (containers)
        s->ending = task_peer_end(s->manager->tasks, s->record.id, s->record.exit_status,
                                  SANDBOX_END_TIMEOUT, on_containers_ended, s);
    if (!s->ending)
        start_unmake_job(s);
}

void sandbox_stop(struct sandbox *s, struct rpc_call *call, bool remove)
{
    if (s->record.state == SANDBOX_STOPPED && !remove) {
        api_reply_empty(call);
        return;
    }
    if (park(s, &s->stops, call) < 0)
        return;
    s->record.remove |= remove;
    want_sweep(s);
    if (s->record.state == SANDBOX_STOPPED)
        remove_stopped(s);
    else if (s->record.state == SANDBOX_CREATING)
        s->end_asked = true; // Create ends first
    else
        unmake(s, STATUS_STOPPED_BY_REQUEST);
}

void sandbox_died(struct sandbox *s, uint32_t status)
{
    if (s->record.state == SANDBOX_CREATED || s->record.state == SANDBOX_READY)
        unmake(s, status);
}

// ---- making -------------------------------------------------------------------------------------

static int make_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    struct sandbox *s = arg;
    struct sandbox_manager *m = s->manager;
    struct sandbox_made made = {0};
    if (m->ops->make(m, &s->record, s->request, &made, err) < 0)
        return -1;
    memcpy(reply, &made, sizeof made);
    *reply_len = sizeof made;
    return 0;
}

static void fail_create(struct sandbox *s, const struct error *why)
{
    s->failure = *why;
    s->record.remove = true;
    log_error("sandbox %s: create: %s", s->record.id, why->text);
    unmake(s, STATUS_NEVER_CREATED);
}

static void on_create_cancelled(struct rpc_call *call, void *arg)
{
    (void)call;
    struct sandbox *s = arg;
    s->creating = NULL;
    s->record.remove = true;
    s->end_asked = true;
}

static int take_made(struct sandbox *s, const struct sandbox_made *made, struct error *err)
{
    s->record.init = made->init;
    int e = made->init.pid ? undo_push_process(&s->record.undo, &made->init) : 0;
    for (size_t i = 0; e == 0 && i < ARRAY_SIZE(made->helpers); i++)
        if (made->helpers[i].pid)
            e = undo_push_process(&s->record.undo, &made->helpers[i]);
    if (e < 0)
        return error_set(err, STATUS_INTERNAL, "undo list full");
    if (sandbox_watch_processes(s, err) < 0)
        return -1;
    return set_state(s, SANDBOX_CREATED, err);
}

static void on_made(const void *reply, size_t reply_len, const struct error *job_err, void *arg)
{
    struct sandbox *s = arg;
    struct error err = {0};
    s->job = NULL;
    timing_mark(s, SANDBOX_TIMING_CREATE, SANDBOX_CREATE_MAKE);
    if (job_err) {
        fail_create(s, job_err);
        return;
    }
    struct sandbox_made made = {0};
    if (reply_len == sizeof made)
        memcpy(&made, reply, sizeof made);
    if (take_made(s, &made, &err) < 0) {
        fail_create(s, &err);
        return;
    }
    timing_end(s, SANDBOX_TIMING_CREATE, SANDBOX_CREATE_RECORD);
    log_info("sandbox %s: created%s", s->record.id, s->creating ? "" : ", but the caller gave up");
    struct rpc_call *call = s->creating;
    s->creating = NULL;
    if (call)
        answer_create(call, s->record.id);
    if (s->end_asked)
        unmake(s, STATUS_STOPPED_BY_REQUEST);
}

// What a person calls the pod.
static char *name_of(const struct sandbox_request *q)
{
    const Cri__PodSandboxMetadata *m = q->config ? q->config->metadata : NULL;
    char *name = NULL;
    if (!m || !*m->name)
        return strdup("");
    return asprintf(&name, "%s/%s", m->namespace_, m->name) < 0 ? NULL : name;
}

static int begin_record(struct sandbox_manager *m, const struct sandbox_request *q,
                        struct sandbox_record *r, struct error *err)
{
    clock_gettime(CLOCK_REALTIME, &r->created_at);
    r->state = SANDBOX_CREATING;
    r->id = strdup(q->id);
    r->netns = strdup(q->netns);
    r->runtime_type = strdup(q->runtime_type);
    r->name = name_of(q);
    if (!r->id || !r->netns || !r->runtime_type || !r->name)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return m->ops->plan(m, r, q, err);
}

// Makes the directory and the first record of a new sandbox. NULL on error; nothing is left then.
static struct sandbox *begin(struct sandbox_manager *m, const struct sandbox_request *q,
                             json_object *labels, json_object *annotations, struct error *err)
{
    struct sandbox_record record = {.labels = labels, .annotations = annotations};
    struct stages timing;
    stages_begin(&timing, &sandbox_timing_plans[SANDBOX_TIMING_CREATE]);
    if (begin_record(m, q, &record, err) < 0) {
        record_done(&record);
        return NULL;
    }
    struct sandbox *s = sandbox_new(m, &record);
    if (!s) {
        record_done(&record);
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return NULL;
    }
    stages_mark(&timing, SANDBOX_CREATE_PLAN);
    s->timings[SANDBOX_TIMING_CREATE] = timing;
    if (mkdir(s->dir, 0711) < 0) {
        error_errno(err, errno, "cannot make %s", s->dir);
        forget(s);
        return NULL;
    }
    if (record_store(&s->record, s->dir, err) < 0) {
        sandbox_remove_dir(m, s->record.id);
        forget(s);
        return NULL;
    }
    timing_mark(s, SANDBOX_TIMING_CREATE, SANDBOX_CREATE_JOURNAL);
    tell_state(s);
    return s;
}

static int check_new(struct sandbox_manager *m, const char *id, struct error *err)
{
    if (ident_check(id, "sandbox_id", err) < 0)
        return -1;
    if (map_get(m->sandboxes, id))
        return error_set(err, STATUS_ALREADY_EXISTS, "sandbox %s: already exists", id);
    if (map_size(m->sandboxes) >= SANDBOX_COUNT_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%d sandboxes exist already",
                         SANDBOX_COUNT_MAX);
    return 0;
}

void sandbox_create(struct sandbox_manager *m, struct rpc_call *call,
                    const struct sandbox_request *request, json_object *labels,
                    json_object *annotations)
{
    struct error err = {0};
    struct sandbox *s = NULL;
    if (check_new(m, request->id, &err) < 0) {
        json_object_put(labels);
        json_object_put(annotations);
    } else {
        s = begin(m, request, labels, annotations, &err);
    }
    if (!s) {
        rpc_call_fail(call, &err);
        return;
    }
    s->creating = call;
    rpc_call_on_cancel(call, on_create_cancelled, s);
    // The child gets a copy of all memory at the fork, so the request need not outlive this call.
    s->request = request;
    s->job = job_start(m->loop, m->reaper, make_work, on_made, s, SANDBOX_JOB_TIMEOUT, &err);
    s->request = NULL;
    if (!s->job)
        fail_create(s, &err);
}

int sandbox_startable(const struct sandbox *s, struct error *err)
{
    if (s->record.state == SANDBOX_CREATED)
        return 0;
    if (s->record.state == SANDBOX_READY)
        return error_set(err, STATUS_FAILED_PRECONDITION, "sandbox %s: already started",
                         s->record.id);
    return error_set(err, STATUS_FAILED_PRECONDITION, "sandbox %s: cannot be started, it is %s",
                     s->record.id, sandbox_state_name(s->record.state));
}

int sandbox_start(struct sandbox *s, struct error *err)
{
    if (sandbox_startable(s, err) < 0)
        return -1;
    timing_mark(s, SANDBOX_TIMING_START, SANDBOX_START_TASKS);
    if (set_state(s, SANDBOX_READY, err) < 0)
        return -1;
    timing_end(s, SANDBOX_TIMING_START, SANDBOX_START_RECORD);
    log_info("sandbox %s: ready", s->record.id);
    return 0;
}

void sandbox_wait(struct sandbox *s, struct rpc_call *call)
{
    if (s->record.state == SANDBOX_STOPPED)
        answer_wait(call, &s->record);
    else
        (void)park(s, &s->waits, call);
}

// ---- its processes ------------------------------------------------------------------------------

static void unwatch_processes(struct sandbox *s)
{
    for (size_t i = 0; i < s->n_processes; i++) {
        ev_io_stop(s->manager->loop, &s->processes[i].exit);
        close(s->processes[i].exit.fd);
    }
    s->n_processes = 0;
}

static void on_process_exit(struct ev_loop *loop, ev_io *w, int events)
{
    (void)loop;
    (void)events;
    struct sandbox_process *p = w->data;
    struct sandbox *s = p->sandbox;
    log_warn("sandbox %s: its process %d is gone", s->record.id, p->id.pid);
    // Without it the others are of no use, and may hold up who asks them for something.
    for (size_t i = 0; i < s->n_processes; i++)
        (void)process_signal(&s->processes[i].id, SIGKILL);
    unwatch_processes(s);
    // Its true code is not always to be had (one that was taken back is no child of ours); all that
    // a pod's init can die of is SIGKILL.
    sandbox_died(s, 128 + SIGKILL);
}

int sandbox_watch_processes(struct sandbox *s, struct error *err)
{
    const struct undo *u = &s->record.undo;
    for (size_t i = 0; i < u->n; i++) {
        if (u->steps[i].kind != UNDO_PROCESS)
            continue;
        int fd =
            s->n_processes < SANDBOX_PROCESSES_MAX ? process_open(&u->steps[i].process) : -E2BIG;
        if (fd < 0) {
            unwatch_processes(s);
            return error_errno(err, fd, "process %d of the sandbox", (int)u->steps[i].process.pid);
        }
        struct sandbox_process *p = &s->processes[s->n_processes++];
        *p = (struct sandbox_process){.sandbox = s, .id = u->steps[i].process};
        ev_io_init(&p->exit, on_process_exit, fd, EV_READ);
        p->exit.data = p;
        ev_io_start(s->manager->loop, &p->exit);
    }
    return 0;
}

// ---- the manager --------------------------------------------------------------------------------

static bool is_gone(const char *netns)
{
    struct error err = {0};
    // Not everything that goes wrong here says so: descriptors may be short, too.
    return namespace_check(netns, "net", &err) < 0 &&
           (err.status == STATUS_NOT_FOUND || err.status == STATUS_INVALID_ARGUMENT);
}

// A pod whose RunPodSandbox failed after Create or Start (we may have been killed before containerd
// had the answer): containerd calls nothing, but it takes the network namespace away, and nobody
// waits for the sandbox. Of a pod that it knows it does so only after Stop.
static bool is_forgotten(const struct sandbox *s, time_t now)
{
    bool own_network = *s->record.netns;
    if (s->record.state == SANDBOX_CREATED)
        return own_network ? is_gone(s->record.netns) : now - s->since >= UNSTARTED_AGE;
    return s->record.state == SANDBOX_READY && own_network && TAILQ_EMPTY(&s->waits.list) &&
           now - s->since >= UNWATCHED_AGE && is_gone(s->record.netns);
}

void sandbox_resume(struct sandbox *s)
{
    struct error err = {0};
    if (s->job || s->ending)
        return;
    switch (s->record.state) {
    case SANDBOX_CREATING:
        error_set(&err, STATUS_CANCELLED, "it was cut off");
        fail_create(s, &err);
        break;
    case SANDBOX_CREATED:
    case SANDBOX_READY:
        if (s->record.remove) // Create's caller had given up
            unmake(s, STATUS_STOPPED_BY_REQUEST);
        break;
    case SANDBOX_STOPPING:
        unmake(s, s->record.exit_status);
        break;
    case SANDBOX_STOPPED:
        if (s->record.remove)
            remove_stopped(s);
        break;
    case SANDBOX_STATE_MAX_:
        break;
    }
}

static bool sweep_one(const char *key, void *value, void *arg)
{
    (void)key;
    struct sandbox *s = value;
    if (is_forgotten(s, *(const time_t *)arg)) {
        log_warn("sandbox %s: %s, and containerd has forgotten it; ending it", s->record.id,
                 sandbox_state_name(s->record.state));
        s->record.remove = true;
        unmake(s, STATUS_STOPPED_BY_REQUEST);
    } else {
        sandbox_resume(s);
    }
    return true;
}

void sandbox_manager_sweep(struct sandbox_manager *m, time_t now)
{
    map_each(m->sandboxes, sweep_one, &now);
}

static bool note_unsettled(const char *key, void *value, void *arg)
{
    (void)key;
    bool *settled = arg;
    *settled = *settled && is_settled(value);
    return *settled;
}

static void on_sweep(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)events;
    struct sandbox_manager *m = w->data;
    bool settled = true;
    sandbox_manager_sweep(m, boottime());
    map_each(m->sandboxes, note_unsettled, &settled);
    if (settled)
        ev_timer_stop(loop, w);
}

int sandbox_manager_init(struct sandbox_manager *m, struct ev_loop *loop, struct reaper *reaper,
                         const struct sandbox_ops *ops, const struct sandbox_config *config,
                         struct task_peer *tasks, struct error *err)
{
    *m = (struct sandbox_manager){
        .loop = loop, .reaper = reaper, .ops = ops, .config = config, .tasks = tasks};
    m->cgroups = cgroup_host_open();
    m->sandboxes = map_new();
    if (!m->sandboxes || asprintf(&m->sandboxes_dir, "%s/sandboxes", config->dir) < 0) {
        m->sandboxes_dir = NULL;
        sandbox_manager_done(m);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    }
    int e = file_mkdir_all(m->sandboxes_dir, 0711);
    if (e < 0) {
        error_errno(err, e, "cannot make %s", m->sandboxes_dir);
        sandbox_manager_done(m);
        return -1;
    }
    ev_timer_init(&m->sweep, on_sweep, SWEEP_INTERVAL, SWEEP_INTERVAL);
    m->sweep.data = m;
    return 0;
}

static bool put_off_one(const char *key, void *value, void *arg)
{
    (void)key;
    (void)arg;
    struct sandbox *s = value;
    for (struct sandbox_waiter *w; (w = TAILQ_FIRST(&s->waits.list));)
        rpc_call_failf(unpark(w), STATUS_UNAVAILABLE, "the sandboxer is being stopped");
    return true;
}

void sandbox_manager_put_off(struct sandbox_manager *m)
{
    map_each(m->sandboxes, put_off_one, NULL);
}

static bool drop_one(const char *key, void *value, void *arg)
{
    (void)key;
    (void)arg;
    struct sandbox *s = value;
    if (s->job)
        job_abandon(s->job);
    if (s->ending)
        task_peer_forget(s->manager->tasks, s->ending);
    forget(s);
    return true;
}

void sandbox_manager_done(struct sandbox_manager *m)
{
    if (m->loop)
        ev_timer_stop(m->loop, &m->sweep);
    if (m->sandboxes)
        map_each(m->sandboxes, drop_one, NULL);
    m->sandboxes = map_free(m->sandboxes);
    m->cgroups = cgroup_host_free(m->cgroups);
    free(m->sandboxes_dir);
    m->sandboxes_dir = NULL;
}
