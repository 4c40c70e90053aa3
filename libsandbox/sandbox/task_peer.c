// Two states. UP: the connection stands and Info was answered. DOWN: every RETRY_INTERVAL a
// connection is tried; the program is started when nobody listens and the one that we started last
// is not alive (with a growing pause between starts). The connection's end is how we learn of the
// task server's death, whether it was our child or not.
#include "sandbox/task_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "api/internal.pb-c.h"
#include "api/message.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "event/child.h"
#include "linux/mount_space.h"
#include "rpc/ttrpc_client.h"

#define RETRY_INTERVAL    0.005
#define REFUSED_PAUSE     1.0 // after an Info that was answered, but with an error
#define INFO_TIMEOUT      5.0
#define RESTART_PAUSE_MIN 0.02
#define RESTART_PAUSE_MAX 5.0

// Somebody who waits for the server, or for the end of a sandbox's containers. A request waits
// while the server is down; one whose connection is lost waits again, for the successor.
struct request {
    LIST_ENTRY(request) link;
    struct task_peer *server;
    uint64_t number;
    const char *method;
    uint8_t *payload; // owned
    size_t len;
    double timeout;     // of the call
    uint64_t call;      // at the client; 0: waits for the server
    ev_tstamp deadline; // of the waiting
    task_peer_fn fn;
    void *arg;
};
LIST_HEAD(requests, request);

struct task_peer {
    struct ev_loop *loop;
    struct reaper *reaper;
    const struct task_peer_config *config;
    struct ttrpc_client *client;
    char *address;
    bool up;
    uint64_t info_call;
    pid_t child;          // the one we started, while it lives
    ev_tstamp next_start; // not before
    double pause;
    ev_timer retry;
    struct requests requests;
    uint64_t last_number;
};

static void request_free(struct request *q)
{
    LIST_REMOVE(q, link);
    free(q->payload);
    free(q);
}

static void finish(struct request *q, const struct error *err)
{
    task_peer_fn fn = q->fn;
    void *arg = q->arg;
    request_free(q);
    fn(err, arg);
}

static void on_answer(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    (void)data;
    (void)len;
    struct request *q = arg;
    struct task_peer *t = q->server;
    q->call = 0;
    if (err && err->status == STATUS_UNAVAILABLE && q->deadline > ev_now(t->loop))
        ev_timer_start(t->loop, &t->retry); // the retry's Info sends it again
    else
        finish(q, err);
}

static int send_request(struct request *q, struct error *err)
{
    q->call = ttrpc_client_call(q->server->client, SERVICE_PODS, q->method, q->payload, q->len,
                                q->timeout, NULL, on_answer, q, err);
    return q->call ? 0 : -1;
}

// One that waits, was there when number `last` was given, and has its deadline at `until` or
// before. Whoever is told something may make and forget requests, so each is looked for from the
// start.
static struct request *next_waiting(struct task_peer *t, uint64_t last, ev_tstamp until)
{
    struct request *q;
    LIST_FOREACH(q, &t->requests, link)
    {
        if (!q->call && q->number <= last && q->deadline <= until)
            return q;
    }
    return NULL;
}

// ---- starting the program -----------------------------------------------------------------------

static void on_child_exit(const struct exit_info *info, void *arg)
{
    struct task_peer *t = arg;
    t->child = 0;
    // Code 1 soon after the start may just say that another one runs already.
    log_warn("task server (pid %d) ended with %u", info->pid, info->code);
}

// In the host's mount namespace, from where it finds its own way. Returns 0 or an errno.
static int spawn(const struct task_peer *t, pid_t *ret, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attr, char **env)
{
    const struct mount_space *mounts = t->config->mounts;
    int r = mounts ? mount_space_leave(mounts) : 0;
    if (r < 0)
        return -r;
    int e =
        posix_spawnp(ret, t->config->argv[0], actions, attr, (char *const *)t->config->argv, env);
    if (mounts && (r = mount_space_return(mounts)) < 0) {
        log_error("the pods' mounts are out of reach: %s", strerror(-r));
        _exit(1);
    }
    return e;
}

static void start_program(struct task_peer *t)
{
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t actions;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_init(&actions);
    // A session of its own: our terminal's or service's end is not its end.
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    // The limit that we raised for ourselves is not for containers.
    struct rlimit ours;
    getrlimit(RLIMIT_NOFILE, &ours);
    setrlimit(RLIMIT_NOFILE, &t->config->files);
    _cleanup_free_ char **env = child_environment();
    pid_t pid = 0;
    int e = env ? spawn(t, &pid, &actions, &attr, env) : ENOMEM;
    setrlimit(RLIMIT_NOFILE, &ours);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    t->next_start = ev_now(t->loop) + t->pause;
    t->pause = t->pause * 2 < RESTART_PAUSE_MAX ? t->pause * 2 : RESTART_PAUSE_MAX;
    if (e) {
        log_error("cannot start the task server %s: %s", t->config->argv[0], strerror(e));
        return;
    }
    t->child = pid;
    log_info("task server started, pid %d", pid);
    if (reaper_watch(t->reaper, pid, on_child_exit, t) < 0)
        t->child = 0;
}

// ---- coming up ----------------------------------------------------------------------------------

static void expire(struct task_peer *t)
{
    struct error err = {0};
    error_set(&err, STATUS_UNAVAILABLE, "the task server does not listen on %s; see its log",
              t->config->socket);
    for (struct request *q; (q = next_waiting(t, t->last_number, ev_now(t->loop)));)
        finish(q, &err);
}

static void send_waiting(struct task_peer *t)
{
    struct error err = {0};
    uint64_t last = t->last_number;
    for (struct request *q; (q = next_waiting(t, last, INFINITY));)
        if (send_request(q, &err) < 0)
            finish(q, &err);
}

static void on_info(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    (void)data;
    (void)len;
    struct task_peer *t = arg;
    t->info_call = 0;
    if (err) {
        log_warn("task server: %s", err->text);
        if (err->status != STATUS_UNAVAILABLE) {
            ev_timer_stop(t->loop, &t->retry);
            ev_timer_set(&t->retry, REFUSED_PAUSE, RETRY_INTERVAL);
            ev_timer_start(t->loop, &t->retry);
        }
        return; // the retry timer goes on
    }
    t->up = true;
    t->pause = RESTART_PAUSE_MIN;
    ev_timer_stop(t->loop, &t->retry);
    log_info("task server answers on %s", t->config->socket);
    send_waiting(t);
}

static void on_retry(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)events;
    struct task_peer *t = w->data;
    struct error err = {0};
    expire(t);
    if (t->info_call)
        return;
    t->info_call = ttrpc_client_call(t->client, SERVICE_PODS, "Info", NULL, 0, INFO_TIMEOUT, NULL,
                                     on_info, t, &err);
    // Only "nobody listens" is a reason to start one.
    if (!t->info_call && err.status == STATUS_UNAVAILABLE && !t->child &&
        ev_now(loop) >= t->next_start)
        start_program(t);
}

static void on_closed(void *arg)
{
    struct task_peer *t = arg;
    if (t->up)
        log_warn("task server: connection lost");
    t->up = false;
    ev_timer_start(t->loop, &t->retry);
}

// ---- interface ----------------------------------------------------------------------------------

struct task_peer *task_peer_new(struct ev_loop *loop, struct reaper *reaper,
                                const struct task_peer_config *config)
{
    struct task_peer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->loop = loop;
    t->reaper = reaper;
    t->config = config;
    t->pause = RESTART_PAUSE_MIN;
    LIST_INIT(&t->requests);
    ev_timer_init(&t->retry, on_retry, 0, RETRY_INTERVAL);
    t->retry.data = t;
    t->client = ttrpc_client_new(loop, config->socket, on_closed, t);
    if (asprintf(&t->address, "ttrpc+unix://%s", config->socket) < 0)
        t->address = NULL;
    return t->client && t->address ? t : task_peer_free(t);
}

struct task_peer *task_peer_free(struct task_peer *t)
{
    if (!t)
        return NULL;
    for (struct request *q; (q = LIST_FIRST(&t->requests));) {
        if (q->call)
            ttrpc_client_forget(t->client, q->call);
        request_free(q);
    }
    if (t->info_call)
        ttrpc_client_forget(t->client, t->info_call);
    if (t->child)
        reaper_unwatch(t->reaper, t->child);
    ttrpc_client_free(t->client);
    ev_timer_stop(t->loop, &t->retry);
    free(t->address);
    free(t);
    return NULL;
}

// Makes a request and sends it, or lets it wait. `payload` is taken. Returns its number, or 0.
static uint64_t request_new(struct task_peer *t, const struct request *fields)
{
    struct error err = {0};
    struct request *q = malloc(sizeof *q);
    if (!q) {
        free(fields->payload);
        return 0;
    }
    *q = *fields;
    q->server = t;
    q->number = ++t->last_number;
    LIST_INSERT_HEAD(&t->requests, q, link);
    if (!t->up || send_request(q, &err) < 0)
        ev_timer_start(t->loop, &t->retry);
    return q->number;
}

uint64_t task_peer_ensure(struct task_peer *t, task_peer_fn fn, void *arg)
{
    return request_new(t, &(struct request){.method = "Info",
                                            .timeout = INFO_TIMEOUT,
                                            .deadline = ev_now(t->loop) + TASK_PEER_START_TIMEOUT,
                                            .fn = fn,
                                            .arg = arg});
}

uint64_t task_peer_end(struct task_peer *t, const char *sandbox_id, uint32_t exit_status,
                       double timeout, task_peer_fn fn, void *arg)
{
    Internal__EndRequest m = INTERNAL__END_REQUEST__INIT;
    size_t len = 0;
    m.sandbox_id = (char *)sandbox_id;
    m.exit_status = exit_status;
    uint8_t *payload = api_message_encode(&m.base, &len);
    if (!payload)
        return 0;
    return request_new(t, &(struct request){.method = "End",
                                            .payload = payload,
                                            .len = len,
                                            .timeout = timeout,
                                            .deadline = ev_now(t->loop) + TASK_PEER_END_WAIT,
                                            .fn = fn,
                                            .arg = arg});
}

void task_peer_forget(struct task_peer *t, uint64_t number)
{
    struct request *q;
    LIST_FOREACH(q, &t->requests, link)
    {
        if (q->number != number)
            continue;
        if (q->call)
            ttrpc_client_forget(t->client, q->call);
        request_free(q);
        return;
    }
}

const char *task_peer_address(const struct task_peer *t)
{
    return t->address;
}
