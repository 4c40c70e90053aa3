#include "task/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "api/any.h"
#include "api/guest.pb-c.h"
#include "api/internal.pb-c.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "base/json.h"
#include "base/log.h"
#include "task/guest_ports.h"

#define NAMESPACE_KEY "containerd-namespace-ttrpc"
// Largest GUEST_FILE.
#define GUEST_FILE_MAX 4096
// Seconds that a call that follows events is parked at most, and that its answer may be late: a
// machine that has said nothing for so long hangs, and is ended. (One that is short of processor
// time is late, too.)
#define FOLLOW_SECONDS 4
#define FOLLOW_LATE    5

// Seconds between two looks at the guest's clock.
#define CLOCK_SECONDS 60

static void follow(struct guest *g);

// ---- calls --------------------------------------------------------------------------------------

struct guest_call {
    struct guest *guest;
    uint64_t number;
    const ProtobufCMessageDescriptor *reply_type;
    guest_reply_fn fn;
    void *arg;
};

static void on_reply(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    struct guest_call c = *(struct guest_call *)arg;
    struct error mine = {0};
    ProtobufCMessage *reply = NULL;
    free(arg);
    if (!err && c.guest->dead) { // it came with what has ended the machine
        error_set(&mine, STATUS_UNAVAILABLE, "the virtual machine of sandbox %s is gone",
                  c.guest->sandbox_id);
        err = &mine;
    } else if (!err && !(reply = api_message_decode(c.reply_type, data, len, &mine))) {
        // It is the guest who talks nonsense, not who asked us.
        mine.status = STATUS_INTERNAL;
        err = &mine;
    }
    if (err && err != &mine) {
        mine = *err;
        err = &mine;
    }
    if (err)
        error_wrap(&mine, "guest");
    c.fn(reply, err, c.arg);
    api_message_free(reply);
}

struct guest_call *guest_call(struct guest *g, const char *service, const char *method,
                              const char *ns, const ProtobufCMessage *request,
                              const ProtobufCMessageDescriptor *reply_type, double timeout,
                              guest_reply_fn fn, void *arg, struct error *err)
{
    const char *const metadata[] = {NAMESPACE_KEY, ns, NULL};
    size_t len = 0;
    if (g->dead) {
        error_set(err, STATUS_UNAVAILABLE, "the virtual machine of sandbox %s is gone",
                  g->sandbox_id);
        return NULL;
    }
    _cleanup_free_ uint8_t *data = api_message_encode(request, &len);
    struct guest_call *c = data ? malloc(sizeof(*c)) : NULL;
    if (!c) {
        error_errno(err, ENOMEM, "%s in the guest", method);
        return NULL;
    }
    *c = (struct guest_call){.guest = g, .reply_type = reply_type, .fn = fn, .arg = arg};
    c->number = ttrpc_client_call(g->client, service, method, data, len, timeout,
                                  ns ? metadata : NULL, on_reply, c, err);
    if (c->number)
        return c;
    free(c);
    return NULL;
}

struct guest_call *guest_call_forget(struct guest_call *c)
{
    if (!c)
        return NULL;
    ttrpc_client_forget(c->guest->client, c->number);
    free(c);
    return NULL;
}

// ---- events -------------------------------------------------------------------------------------

// Only a container of this guest is meant, whatever the guest calls it.
static struct task *find_task(struct guest *g, const Internal__Event *e)
{
    if (!ident_valid(e->id) || !ident_valid(e->namespace_))
        return NULL;
    struct task *t = task_find(g->server, e->namespace_, e->id);
    return t && remote_is_of(t, g) ? t : NULL;
}

static void take_event(struct guest *g, const Internal__Event *e)
{
    struct task *t = find_task(g, e);
    if (!t)
        return;
    if (strcmp(e->topic, "/tasks/oom") == 0) {
        remote_oom(t);
    } else if (strcmp(e->topic, "/tasks/exit") == 0 && e->exited) {
        struct task_process *p = task_process_find(t, e->exec_id);
        if (p)
            remote_exited(p, e->exit_status & 0xff);
    }
}

static bool lose(const char *key, void *value, void *arg)
{
    struct task *t = value;
    if (remote_is_of(t, arg))
        remote_lost(t);
    return true;
}

// A machine whose agent cannot be trusted to say what happens in it is of no use: it is ended, by
// which the sandboxer ends the pod.
void guest_die(struct guest *g, const char *why)
{
    if (g->dead)
        return;
    g->dead = true;
    log_error("sandbox %s: its virtual machine is ended: %s", g->sandbox_id, why);
    (void)process_signal(&g->vmm, SIGKILL);
    g->refs++; // the last of its tasks may go
    map_each(g->server->tasks, lose, g);
    guest_put(g);
}

// Takes what has happened. Returns 0, or -1 with what is wrong.
static int take_events(struct guest *g, const uint8_t *data, size_t len, struct error *err)
{
    Internal__EventsResponse *r = (Internal__EventsResponse *)api_message_decode(
        &internal__events_response__descriptor, data, len, err);
    if (!r)
        return -1;
    // An exit may be among them, and nothing would ever end. (What was before us was for others.)
    bool missed = r->missed > 0 && r->epoch == g->epoch;
    bool early = !r->n_events && ev_now(g->server->loop) - g->asked < FOLLOW_SECONDS / 2.;
    for (size_t i = 0; i < r->n_events && !missed; i++)
        take_event(g, r->events[i]);
    g->epoch = r->epoch;
    g->last = r->n_events ? r->events[r->n_events - 1]->number : r->last;
    api_message_free(&r->base);
    if (missed)
        return error_set(err, STATUS_DATA_LOSS, "it has forgotten what was not read yet");
    return early ? error_set(err, STATUS_INTERNAL, "it answers that nothing has happened") : 0;
}

static void on_events(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    struct guest *g = arg;
    struct error mine = {0};
    g->follow = 0;
    g->refs++; // the last of its tasks may go
    // A lost connection has taken the streams of all processes along.
    if (err)
        guest_die(g, err->text);
    else if (take_events(g, data, len, &mine) < 0)
        guest_die(g, mine.text);
    if (g->refs > 1)
        follow(g);
    guest_put(g);
}

static void on_clock_set(const ProtobufCMessage *reply, const struct error *err, void *arg)
{
    struct guest *g = arg;
    g->clock = NULL;
    if (err)
        log_warn("sandbox %s: its clock is not set: %s", g->sandbox_id, err->text);
}

// A guest's clock goes astray, and stands still while its machine does.
static void set_clock(struct guest *g)
{
    Guest__SetTimeRequest req = GUEST__SET_TIME_REQUEST__INIT;
    Google__Timestamp now;
    struct error err = {0};
    if (g->clock || ev_now(g->server->loop) - g->clock_set < CLOCK_SECONDS)
        return;
    g->clock_set = ev_now(g->server->loop);
    timestamp_now(&now);
    req.now = &now;
    g->clock = guest_call(g, SERVICE_GUEST, "SetTime", NULL, &req.base, &google__empty__descriptor,
                          FOLLOW_SECONDS + FOLLOW_LATE, on_clock_set, g, &err);
    if (!g->clock)
        log_warn("sandbox %s: its clock is not set: %s", g->sandbox_id, err.text);
}

static void follow(struct guest *g)
{
    Internal__EventsRequest req = INTERNAL__EVENTS_REQUEST__INIT;
    struct error err = {0};
    size_t len = 0;
    if (g->dead || g->follow)
        return;
    set_clock(g);
    g->asked = ev_now(g->server->loop);
    req.epoch = g->epoch;
    req.after = g->last;
    req.limit = 64;
    req.wait_ms = FOLLOW_SECONDS * 1000;
    _cleanup_free_ uint8_t *data = api_message_encode(&req.base, &len);
    if (!data)
        error_errno(&err, ENOMEM, "following events");
    else
        g->follow = ttrpc_client_call(g->client, SERVICE_INSPECT, "Events", data, len,
                                      FOLLOW_SECONDS + FOLLOW_LATE, NULL, on_events, g, &err);
    if (!g->follow)
        guest_die(g, err.text);
}

// ---- guests -------------------------------------------------------------------------------------

static int read_file(struct guest *g, const char *dir, char **ret_vsock, struct error *err)
{
    char path[PATH_MAX];
    struct buf text;
    const char *vsock = NULL;
    int64_t version = 0, pid = 0, start_time = 0;
    buf_init(&text, GUEST_FILE_MAX);
    int r = path_format(path, sizeof(path), "%s/" GUEST_FILE, dir);
    if (r == 0)
        r = file_read_at(AT_FDCWD, path, &text);
    _cleanup_json_ json_object *o = r == 0 ? json_parse(text.data, text.len, path, err) : NULL;
    buf_free(&text);
    if (r == -ENOENT)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "sandbox %s has no virtual machine (no %s): its pod was stopped, or has "
                         "not been started",
                         g->sandbox_id, path);
    if (r < 0)
        return error_errno(err, r, "%s", path);
    if (!o || json_get_int(o, "version", &version, err) < 0 ||
        json_get_int(o, "pid", &pid, err) < 0 ||
        json_get_int(o, "start_time", &start_time, err) < 0 ||
        json_get_string(o, "vsock", &vsock, err) < 0)
        return error_wrap(err, "%s", path);
    if (version != 1 || !vsock || pid <= 1 || pid > INT_MAX)
        return error_set(err, STATUS_FAILED_PRECONDITION, "%s: of another version, or broken",
                         path);
    g->vmm = (struct process_id){.pid = (pid_t)pid, .start_time = (uint64_t)start_time};
    *ret_vsock = strdup(vsock);
    return *ret_vsock ? 0 : error_errno(err, ENOMEM, "%s", path);
}

static struct guest *guest_free(struct guest *g)
{
    if (g->client && g->follow)
        ttrpc_client_forget(g->client, g->follow);
    guest_call_forget(g->clock);
    guest_ports_free(g->ports);
    ttrpc_client_free(g->client);
    free(g->sandbox_id);
    free(g->shared);
    free(g);
    return NULL;
}

// Nothing else depends on it.
static void open_ports(struct guest *g, const char *dir, const char *vsock)
{
    char netns[PATH_MAX];
    struct error err = {0};
    if (path_format(netns, sizeof(netns), "%s/ns/net", dir) == 0)
        g->ports = guest_ports_new(g->server->loop, netns, vsock, &err);
    if (!g->ports)
        log_warn("sandbox %s: its ports cannot be forwarded to: %s", g->sandbox_id, err.text);
}

static struct guest *guest_new(struct task_server *s, const char *sandbox_id, struct error *err)
{
    char dir[PATH_MAX], shared[PATH_MAX];
    _cleanup_free_ char *vsock = NULL;
    struct guest *g = calloc(1, sizeof(*g));
    if (!g) {
        error_errno(err, ENOMEM, "sandbox %s", sandbox_id);
        return NULL;
    }
    g->server = s;
    g->refs = 1;
    g->sandbox_id = strdup(sandbox_id);
    if (!g->sandbox_id ||
        path_format(dir, sizeof(dir), "%s/%s", s->sandboxes_dir, sandbox_id) < 0 ||
        path_format(shared, sizeof(shared), "%s/shared", dir) < 0 ||
        !(g->shared = strdup(shared))) {
        error_errno(err, ENOMEM, "sandbox %s", sandbox_id);
        return guest_free(g);
    }
    if (read_file(g, dir, &vsock, err) < 0)
        return guest_free(g);
    g->client = ttrpc_client_new_vsock(s->loop, vsock, GUEST_PORT, NULL, NULL);
    if (!g->client || ttrpc_client_connect(g->client, err) < 0) {
        if (!g->client)
            error_errno(err, ENOMEM, "sandbox %s", sandbox_id);
        return guest_free(g);
    }
    LIST_INSERT_HEAD(&s->guests, g, link);
    open_ports(g, dir, vsock);
    follow(g);
    return g;
}

struct guest *guest_get(struct task_server *s, const char *sandbox_id, struct error *err)
{
    struct guest *g;
    LIST_FOREACH(g, &s->guests, link)
    {
        if (strcmp(g->sandbox_id, sandbox_id) == 0) {
            g->refs++;
            return g;
        }
    }
    return guest_new(s, sandbox_id, err);
}

struct guest *guest_put(struct guest *g)
{
    if (!g || --g->refs)
        return NULL;
    LIST_REMOVE(g, link);
    return guest_free(g);
}
