#include "inspect/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "api/any.h"
#include "api/message.h"
#include "base/cleanup.h"
#include "base/ident.h"

// The first size of the ring, a power of two; it doubles up to INSPECT_EVENTS_MAX.
#define RING_MIN 64
// Longest topic: "/tasks/exec-started" and the like.
#define TOPIC_MAX 32

struct event {
    uint64_t number;
    struct timespec at;
    char topic[TOPIC_MAX];
    char ns[IDENT_MAX + 1], id[IDENT_MAX + 1], exec_id[IDENT_MAX + 1];
    pid_t pid;
    bool exited;
    uint32_t exit_status;
};

struct follower {
    struct inspect_events *events;
    struct rpc_call *call;
    uint64_t after;
    uint32_t limit;
    ev_timer late;
    TAILQ_ENTRY(follower) link;
};

struct inspect_events {
    struct ev_loop *loop;
    uint64_t epoch;
    uint64_t last;      // number of the latest; 0: there was none
    struct event *ring; // the event with number N is at (N - 1) & (size - 1)
    size_t size;
    size_t n; // remembered: last - n + 1 .. last
    TAILQ_HEAD(, follower) followers;
    size_t n_followers;
    bool draining; // nobody is parked any more
};

// Tells this process's numbers from those of another one before or after it.
static uint64_t make_epoch(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((uint64_t)t.tv_sec << 32) ^ ((uint64_t)t.tv_nsec << 2) ^ (uint64_t)getpid();
}

struct inspect_events *inspect_events_new(struct ev_loop *loop)
{
    struct inspect_events *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->loop = loop;
    e->epoch = make_epoch();
    TAILQ_INIT(&e->followers);
    return e;
}

// ---- answers ------------------------------------------------------------------------------------

static const struct event *find(const struct inspect_events *e, uint64_t number)
{
    return &e->ring[(number - 1) & (e->size - 1)];
}

static void fill(const struct event *event, Internal__Event *msg, Google__Timestamp *at)
{
    *msg = (Internal__Event)INTERNAL__EVENT__INIT;
    timestamp_set(at, event->at);
    msg->number = event->number;
    msg->at = at;
    msg->topic = (char *)event->topic;
    msg->namespace_ = (char *)event->ns;
    msg->id = (char *)event->id;
    msg->exec_id = (char *)event->exec_id;
    msg->pid = event->pid;
    msg->exited = event->exited;
    msg->exit_status = event->exit_status;
}

// One answer in memory of its own.
struct page {
    Internal__Event *list[INSPECT_EVENTS_PAGE];
    Internal__Event events[INSPECT_EVENTS_PAGE];
    Google__Timestamp at[INSPECT_EVENTS_PAGE];
};

static void answer(struct inspect_events *e, struct rpc_call *call, uint64_t after, uint32_t limit)
{
    Internal__EventsResponse r = INTERNAL__EVENTS_RESPONSE__INIT;
    uint64_t oldest = e->last - e->n + 1, first = after + 1 > oldest ? after + 1 : oldest;
    size_t n = limit && first <= e->last ? e->last - first + 1 : 0;
    if (n > limit)
        n = limit;
    _cleanup_free_ struct page *page = n ? malloc(sizeof *page) : NULL;
    if (n && !page) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        page->list[i] = &page->events[i];
        fill(find(e, first + i), &page->events[i], &page->at[i]);
    }
    r.epoch = e->epoch;
    r.last = e->last;
    r.missed = limit ? first - after - 1 : 0;
    r.n_events = n;
    r.events = n ? page->list : NULL;
    api_reply(call, &r.base);
}

// ---- followers ----------------------------------------------------------------------------------

static struct rpc_call *unpark(struct follower *f)
{
    struct rpc_call *call = f->call;
    ev_timer_stop(f->events->loop, &f->late);
    TAILQ_REMOVE(&f->events->followers, f, link);
    f->events->n_followers--;
    free(f);
    return call;
}

static void on_cancelled(struct rpc_call *call, void *arg)
{
    unpark(arg);
}

static void answer_follower(struct follower *f)
{
    struct inspect_events *e = f->events;
    uint64_t after = f->after;
    uint32_t limit = f->limit;
    struct rpc_call *call = unpark(f);
    rpc_call_on_cancel(call, NULL, NULL);
    answer(e, call, after, limit);
}

static void on_late(struct ev_loop *loop, ev_timer *w, int revents)
{
    answer_follower(container_of(w, struct follower, late));
}

static void refuse(struct rpc_call *call)
{
    rpc_call_failf(call, STATUS_UNAVAILABLE, "the daemon ends");
}

static void park(struct inspect_events *e, struct rpc_call *call, uint64_t after, uint32_t limit,
                 uint32_t wait_ms)
{
    if (e->draining) {
        refuse(call);
        return;
    }
    struct follower *f = e->n_followers < INSPECT_FOLLOWERS_MAX ? calloc(1, sizeof *f) : NULL;
    if (!f) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED,
                       "%d follow the events already (or no memory is left): end some of them",
                       INSPECT_FOLLOWERS_MAX);
        return;
    }
    *f = (struct follower){.events = e, .call = call, .after = after, .limit = limit};
    ev_timer_init(&f->late, on_late, wait_ms / 1e3, 0);
    ev_now_update(e->loop);
    ev_timer_start(e->loop, &f->late);
    TAILQ_INSERT_TAIL(&e->followers, f, link);
    e->n_followers++;
    rpc_call_on_cancel(call, on_cancelled, f);
}

void inspect_events_poll(struct inspect_events *e, const Internal__EventsRequest *req,
                         struct rpc_call *call)
{
    uint64_t after = req->epoch == e->epoch ? req->after : 0;
    if (after > e->last) {
        rpc_call_failf(call, STATUS_OUT_OF_RANGE, "after: %llu, but the last event is %llu",
                       (unsigned long long)after, (unsigned long long)e->last);
        return;
    }
    uint32_t limit = req->limit < INSPECT_EVENTS_PAGE ? req->limit : INSPECT_EVENTS_PAGE;
    uint32_t wait_ms = req->wait_ms < INSPECT_WAIT_MAX ? req->wait_ms : INSPECT_WAIT_MAX;
    if (limit && wait_ms && after == e->last)
        park(e, call, after, limit, wait_ms);
    else
        answer(e, call, after, limit);
}

// ---- events -------------------------------------------------------------------------------------

// Makes the ring larger if it is full and may grow. Without memory it just stays as it is.
static void grow(struct inspect_events *e)
{
    size_t size = e->size ? e->size * 2 : RING_MIN;
    if (e->n < e->size || size > INSPECT_EVENTS_MAX)
        return;
    struct event *ring = malloc(size * sizeof *ring);
    if (!ring)
        return;
    for (uint64_t number = e->last - e->n + 1; number <= e->last; number++)
        ring[(number - 1) & (size - 1)] = *find(e, number);
    free(e->ring);
    e->ring = ring;
    e->size = size;
}

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

void inspect_events_add(struct inspect_events *e, const struct inspect_event *event)
{
    if (!e)
        return;
    grow(e);
    e->last++;
    if (!e->size)
        return; // no memory at all: it counts as missed
    struct event *to = &e->ring[(e->last - 1) & (e->size - 1)];
    *to = (struct event){.number = e->last,
                         .pid = event->pid,
                         .exited = event->exited,
                         .exit_status = event->exit_status};
    clock_gettime(CLOCK_REALTIME, &to->at);
    copy(to->topic, sizeof to->topic, event->topic);
    copy(to->ns, sizeof to->ns, event->ns);
    copy(to->id, sizeof to->id, event->id);
    copy(to->exec_id, sizeof to->exec_id, event->exec_id);
    e->n += e->n < e->size;
    for (struct follower *f; (f = TAILQ_FIRST(&e->followers));)
        answer_follower(f);
}

void inspect_events_drain(struct inspect_events *e)
{
    if (!e)
        return;
    e->draining = true;
    for (struct follower *f; (f = TAILQ_FIRST(&e->followers));) {
        struct rpc_call *call = unpark(f);
        rpc_call_on_cancel(call, NULL, NULL);
        refuse(call);
    }
}

struct inspect_events *inspect_events_free(struct inspect_events *e)
{
    if (!e)
        return NULL;
    inspect_events_drain(e);
    free(e->ring);
    free(e);
    return NULL;
}
