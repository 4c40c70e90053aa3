#include "task/events.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "api/any.h"
#include "api/events.pb-c.h"
#include "api/message.h"
#include "api/services.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "event/event.h"
#include "rpc/ttrpc_client.h"

// A Forward request, ready to be sent.
struct queued {
    TAILQ_ENTRY(queued) link;
    uint8_t *data;
    size_t len;
};

struct task_events {
    struct ev_loop *loop;
    struct ttrpc_client *client; // NULL: nobody to tell
    TAILQ_HEAD(, queued) queue;  // the first is in flight while `call` is set
    size_t n, bytes;
    uint64_t dropped, resent;
    uint64_t call;
    double delay;        // before the next try; 0: the last one succeeded
    ev_timer again;      // sends the first one
    task_events_tap tap; // NULL: nobody
    void *tap_arg;
};

static void send_first(struct task_events *e);

static void drop_first(struct task_events *e)
{
    struct queued *q = TAILQ_FIRST(&e->queue);
    TAILQ_REMOVE(&e->queue, q, link);
    e->n--;
    e->bytes -= q->len;
    free(q->data);
    free(q);
}

static void retry_later(struct task_events *e, const struct error *err)
{
    e->resent++;
    if (e->delay == 0)
        log_warn("events: containerd does not take them (%s); %zu wait", err->text, e->n);
    e->delay = e->delay == 0 ? TASK_EVENTS_RETRY_MIN : e->delay * 2;
    if (e->delay > TASK_EVENTS_RETRY_MAX)
        e->delay = TASK_EVENTS_RETRY_MAX;
    event_timer_arm(e->loop, &e->again, e->delay);
}

// Errors of the way to containerd, not of containerd.
static bool is_transient(enum status status)
{
    return status == STATUS_UNAVAILABLE || status == STATUS_DEADLINE_EXCEEDED ||
           status == STATUS_CANCELLED;
}

static void sent(const uint8_t *data, size_t len, const struct error *err, void *arg)
{
    struct task_events *e = arg;
    e->call = 0;
    if (err && is_transient(err->status)) {
        retry_later(e, err);
        return;
    }
    if (err) {
        log_warn("events: containerd refused one: %s", err->text);
        e->dropped++;
    }
    e->delay = 0;
    drop_first(e);
    send_first(e);
}

static void send_first(struct task_events *e)
{
    struct queued *q = TAILQ_FIRST(&e->queue);
    struct error err = {0};
    if (!q || e->call || ev_is_active(&e->again))
        return;
    e->call = ttrpc_client_call(e->client, SERVICE_EVENTS, "Forward", q->data, q->len,
                                TASK_EVENTS_CALL_SECONDS, NULL, sent, e, &err);
    if (!e->call)
        retry_later(e, &err);
}

static void try_again(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct task_events *e = container_of(w, struct task_events, again);
    ev_timer_stop(loop, w);
    send_first(e);
}

struct task_events *task_events_new(struct ev_loop *loop, const char *path)
{
    struct task_events *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->loop = loop;
    TAILQ_INIT(&e->queue);
    ev_timer_init(&e->again, try_again, 0, 0);
    if (path && path[0] && !(e->client = ttrpc_client_new(loop, path, NULL, NULL)))
        return task_events_free(e);
    return e;
}

struct task_events *task_events_free(struct task_events *e)
{
    if (!e)
        return NULL;
    if (e->call)
        ttrpc_client_forget(e->client, e->call);
    ttrpc_client_free(e->client);
    ev_timer_stop(e->loop, &e->again);
    while (!TAILQ_EMPTY(&e->queue))
        drop_first(e);
    free(e);
    return NULL;
}

// The oldest event that is not in flight goes.
static void make_room(struct task_events *e)
{
    struct queued *first = TAILQ_FIRST(&e->queue), *second;
    if (first && e->call && (second = TAILQ_NEXT(first, link))) {
        TAILQ_REMOVE(&e->queue, second, link);
        e->n--;
        e->bytes -= second->len;
        free(second->data);
        free(second);
    } else if (first && !e->call) {
        drop_first(e);
    }
    if (e->dropped++ == 0)
        log_warn("events: the queue is full (%d), the oldest are dropped", TASK_EVENTS_MAX);
}

static struct queued *encode(const char *ns, const char *topic, const char *type,
                             const ProtobufCMessage *event)
{
    Events__ForwardRequest req = EVENTS__FORWARD_REQUEST__INIT;
    Types__Envelope envelope = TYPES__ENVELOPE__INIT;
    Google__Timestamp now;
    Google__Any any;
    struct queued *q = calloc(1, sizeof(*q));
    if (!q || any_pack(&any, type, event) < 0) {
        free(q);
        return NULL;
    }
    timestamp_now(&now);
    envelope.timestamp = &now;
    envelope.namespace_ = (char *)ns;
    envelope.topic = (char *)topic;
    envelope.event = &any;
    req.envelope = &envelope;
    q->data = api_message_encode((const ProtobufCMessage *)&req, &q->len);
    any_clear(&any);
    if (!q->data) {
        free(q);
        return NULL;
    }
    return q;
}

void task_events_publish(struct task_events *e, const char *ns, const char *topic, const char *type,
                         const ProtobufCMessage *event)
{
    if (e->tap)
        e->tap(ns, topic, type, event, e->tap_arg);
    if (!e->client)
        return;
    struct queued *q = encode(ns, topic, type, event);
    if (!q) {
        e->dropped++;
        return;
    }
    while (e->n > (e->call ? 1 : 0) &&
           (e->n >= TASK_EVENTS_MAX || e->bytes + q->len > TASK_EVENTS_BYTES_MAX))
        make_room(e);
    TAILQ_INSERT_TAIL(&e->queue, q, link);
    e->n++;
    e->bytes += q->len;
    send_first(e);
}

void task_events_set_tap(struct task_events *e, task_events_tap tap, void *arg)
{
    e->tap = tap;
    e->tap_arg = arg;
}

size_t task_events_pending(const struct task_events *e)
{
    return e->n;
}

uint64_t task_events_dropped(const struct task_events *e)
{
    return e->dropped;
}

size_t task_events_pending_bytes(const struct task_events *e)
{
    return e->bytes;
}

uint64_t task_events_resent(const struct task_events *e)
{
    return e->resent;
}
