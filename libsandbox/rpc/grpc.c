// The gRPC server session: HTTP/2 by libnghttp2, the life of calls, time, floods, the end.
//
// Theory of operation
//
// Bytes go through nghttp2, whose callbacks only record: a request grows in its grpc_call, a
// complete one is queued, a call whose stream was closed under a running method is queued too. When
// nghttp2 has returned, the queue is worked off: methods are run, cancel functions called. So no
// method ever runs inside nghttp2, and what a method does to other calls of the session needs no
// special care.
//
//   RECEIVING --complete--> READY --run--> RUNNING --method ends it--> ENDED
//       |                     |               |
//       +---- a problem, its time is over ----+--> answered (an error); a RUNNING one that takes a
//       |                     |               |    cancellation is ENDED, the others run on and
//       their |                     |               |    answer is dropped
//       +---- stream closed: freed, or RUNNING until its method ends it
//
// The deadline of a call depends on its state: the request must arrive as a whole within
// GRPC_REQUEST_MS; the method has until the client's grpc-timeout, if there is one; the answer must
// be taken within GRPC_ANSWER_MS.
//
// The stream limit is not announced in SETTINGS. containerd parks one Wait per pod on its one
// connection and queues *all* its calls behind an announced limit; a refused stream hits only
// itself.
//
// Floods. Frames that cost the peer nothing are paid from buckets (table below). Honest clients
// send some of them in proportion to their calls: grpc-go answers each of our DATA frames with at
// most one PING (its bandwidth estimate) and one WINDOW_UPDATE per window, gRPC's C core opens the
// window of each stream that it begins. So requests and our DATA frames pay into the buckets of
// these. An empty bucket ends the session with ENHANCE_YOUR_CALM. nghttp2 itself bounds
// CONTINUATION frames, queued acknowledgements, SETTINGS entries and the header tables. Streams
// that the peer resets at once count until their method has ended, so a rapid reset does not
// multiply work.
//
// Memory. Per session: its calls (GRPC_SESSION_CALLS_MAX). Over all sessions of a server: calls,
// received bytes (headers and messages) and answers not yet taken, all in struct grpc_usage. A
// call that would break a limit fails alone; reading is never stopped for it, since window updates
// and resets must always come through.
#include "grpc_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

// Windows: one usual request fits; nghttp2 reopens them as the bytes are taken.
#define STREAM_WINDOW     (256 * 1024)
#define CONNECTION_WINDOW (1024 * 1024)
// Deadlines are looked at in steps of this many milliseconds, so that many different ones do not
// mean many scans.
#define TICK_MS 10

static const uint8_t drain_ping[8] = {0, 'd', 'r', 'a', 'i', 'n', 'e', 'd'};

static uint64_t now(const struct grpc_session *s)
{
    return s->config.clock(s->config.arg);
}

// ---- floods ----------------------------------------------------------------------------------

static const struct {
    uint32_t burst, per_second;
    uint32_t paid_back; // by each request begun and each DATA frame of ours
    const char *reason;
} floods[GRPC_FLOOD_KINDS] = {
    [GRPC_FLOOD_RESET] = {1000, 100, 0, "too many stream resets"},
    [GRPC_FLOOD_PING] = {1000, 100, 2, "too many PING frames"},
    [GRPC_FLOOD_SETTINGS] = {100, 5, 0, "too many SETTINGS frames"},
    [GRPC_FLOOD_WINDOW] = {4000, 400, 4, "too many WINDOW_UPDATE frames"},
    [GRPC_FLOOD_EMPTY] = {1000, 100, 0, "too many empty or padded DATA frames"},
    [GRPC_FLOOD_OTHER] = {200, 20, 0, "too many frames of kinds that gRPC does not use"},
};

static void terminate(struct grpc_session *s, uint32_t code, const char *reason)
{
    if (!s->reason)
        s->reason = reason;
    if (nghttp2_session_terminate_session(s->h2, code) != 0)
        s->broken = true;
}

static void flood_charge(struct grpc_session *s, enum grpc_flood kind)
{
    struct grpc_bucket *b = &s->buckets[kind];
    uint64_t elapsed = now(s) - b->filled;
    uint64_t refill = elapsed > 3600000 ? UINT32_MAX : elapsed * floods[kind].per_second / 1000;
    if (refill > 0) {
        b->filled += elapsed;
        uint32_t room = floods[kind].burst - b->tokens;
        b->tokens += refill < room ? (uint32_t)refill : room;
    }
    if (b->tokens > 0)
        b->tokens--;
    else if (!s->reason)
        terminate(s, NGHTTP2_ENHANCE_YOUR_CALM, floods[kind].reason);
}

static void flood_pay_back(struct grpc_session *s)
{
    for (int kind = 0; kind < GRPC_FLOOD_KINDS; kind++) {
        struct grpc_bucket *b = &s->buckets[kind];
        uint32_t room = floods[kind].burst - b->tokens;
        uint32_t add = floods[kind].paid_back;
        b->tokens += add < room ? add : room;
    }
}

// ---- calls -----------------------------------------------------------------------------------

static const struct rpc_call_transport transport;

static struct grpc_call *call_new(struct grpc_session *s, int32_t stream)
{
    struct grpc_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    *call = (struct grpc_call){
        .rpc.transport = &transport,
        .session = s,
        .stream = stream,
        .stream_open = true,
        .expires = GRPC_NEVER,
        .timeout = GRPC_NEVER,
    };
    buf_init(&call->headers, GRPC_HEADERS_MAX);
    buf_init(&call->message, GRPC_MESSAGE_MAX);
    LIST_INSERT_HEAD(&s->calls, call, link);
    s->call_count++;
    s->config.usage->calls++;
    grpc_call_expire_at(call, now(s) + GRPC_REQUEST_MS);
    return call;
}

static void call_enqueue(struct grpc_call *call)
{
    if (call->is_queued)
        return;
    TAILQ_INSERT_TAIL(&call->session->work, call, queued);
    call->is_queued = true;
}

static void call_dequeue(struct grpc_call *call)
{
    if (call->is_queued)
        TAILQ_REMOVE(&call->session->work, call, queued);
    call->is_queued = false;
}

// Takes the call out of its session, which will not hear of it again.
static void call_detach(struct grpc_call *call)
{
    struct grpc_session *s = call->session;
    if (!s)
        return;
    grpc_call_expire_at(call, GRPC_NEVER);
    call_dequeue(call);
    grpc_request_clear(call);
    grpc_response_clear(call);
    LIST_REMOVE(call, link);
    s->call_count--;
    s->config.usage->calls--;
    call->session = NULL;
}

// Frees the call if neither its stream nor a method holds it. One that is only a method's becomes
// an orphan: it counts until the method ends it.
static void call_release(struct grpc_call *call)
{
    if (call->stream_open)
        return;
    if (call->state != GRPC_CALL_RUNNING) {
        call_detach(call);
        free(call);
    } else if (call->session) {
        LIST_REMOVE(call, link);
        LIST_INSERT_HEAD(&call->session->orphans, call, link);
        grpc_response_clear(call);
        grpc_call_expire_at(call, GRPC_NEVER);
    }
}

void grpc_call_expire_at(struct grpc_call *call, uint64_t when)
{
    struct grpc_session *s = call->session;
    if (call->is_timed && when == GRPC_NEVER)
        LIST_REMOVE(call, timed);
    else if (!call->is_timed && when != GRPC_NEVER)
        LIST_INSERT_HEAD(&s->timed, call, timed);
    call->is_timed = when != GRPC_NEVER;
    call->expires = when;
    if (when < s->next_expiry)
        s->next_expiry = when;
}

// Answers with an error, unless an answer is under way or nobody is there to take it.
static void call_fail(struct grpc_call *call, int http, enum status status, const char *text)
{
    if (!call->stream_open || call->answered)
        return;
    grpc_call_expire_at(call, now(call->session) + GRPC_ANSWER_MS);
    grpc_response_error(call, http, status, text);
}

// Fails a request that no method has seen.
static void call_reject(struct grpc_call *call)
{
    char text[ERROR_TEXT_MAX];
    const char *path = call->path ? (const char *)call->headers.data + call->path : "no path";
    snprintf(text, sizeof text, "%s (%.256s)", call->problem.text, path);
    call_dequeue(call);
    call->state = GRPC_CALL_ENDED;
    call_fail(call, call->problem.http, call->problem.status, text);
    grpc_request_clear(call);
}

// ---- between the method and the session (struct rpc_call_transport) ---------------------------

static struct grpc_call *call_of(struct rpc_call *rpc)
{
    return container_of(rpc, struct grpc_call, rpc);
}

static void transport_end(struct rpc_call *rpc, const uint8_t *data, size_t len,
                          const struct error *err)
{
    struct grpc_call *call = call_of(rpc);
    struct grpc_session *s = call->session;
    call->state = GRPC_CALL_ENDED;
    if (s && call->stream_open && !call->answered) {
        grpc_call_expire_at(call, now(s) + GRPC_ANSWER_MS);
        if (err)
            grpc_response_error(call, 0, err->status, err->text);
        else
            grpc_response_message(call, data, len);
    }
    call_release(call);
    if (s && !s->inside)
        s->config.wake(s->config.arg);
}

static const char *transport_metadata(struct rpc_call *rpc, const char *key)
{
    return grpc_request_metadata(call_of(rpc), key);
}

static const struct rpc_call_transport transport = {
    .end = transport_end,
    .metadata = transport_metadata,
};

// The method is told, if it wants to be, and then holds the call no longer.
static void call_cancel(struct grpc_call *call)
{
    if (call->state == GRPC_CALL_RUNNING && rpc_call_cancel(&call->rpc))
        call->state = GRPC_CALL_ENDED;
}

static void call_run(struct grpc_call *call)
{
    struct grpc_session *s = call->session;
    if (call->timeout <= now(s)) {
        call->state = GRPC_CALL_ENDED;
        call_fail(call, 0, STATUS_DEADLINE_EXCEEDED,
                  "the deadline had passed before the call began");
        return;
    }
    // The message goes when the method has seen it; the headers stay for the metadata.
    struct buf message = call->message;
    buf_init(&call->message, 0);
    size_t len = message.len;
    call->charged -= len;
    grpc_call_expire_at(call, call->timeout);
    call->state = GRPC_CALL_RUNNING;
    rpc_service_dispatch(call->service, &call->rpc, call->method,
                         message.data ? message.data : (const uint8_t *)"", len);
    buf_free(&message);
    s->config.usage->received -= len;
}

// Works off what nghttp2's callbacks have queued. See the top.
static void run(struct grpc_session *s)
{
    struct grpc_call *call;
    while ((call = TAILQ_FIRST(&s->work))) {
        call_dequeue(call);
        if (!call->stream_open) {
            call_cancel(call);
            call_release(call);
        } else if (s->reason || s->broken) {
            call->state = GRPC_CALL_ENDED; // the session ends, its streams follow
        } else {
            call_run(call);
        }
    }
}

// ---- nghttp2's callbacks ---------------------------------------------------------------------

static struct grpc_call *call_find(nghttp2_session *h2, int32_t stream)
{
    return stream > 0 ? nghttp2_session_get_stream_user_data(h2, stream) : NULL;
}

static int on_begin_frame(nghttp2_session *h2, const nghttp2_frame_hd *hd, void *arg)
{
    struct grpc_session *s = arg;
    switch (hd->type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
        break;
    case NGHTTP2_DATA:
        if ((hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM)) ||
            hd->flags & NGHTTP2_FLAG_PADDED)
            flood_charge(s, GRPC_FLOOD_EMPTY);
        break;
    case NGHTTP2_RST_STREAM:
        flood_charge(s, GRPC_FLOOD_RESET);
        break;
    case NGHTTP2_PING:
        flood_charge(s, GRPC_FLOOD_PING);
        break;
    case NGHTTP2_SETTINGS:
        flood_charge(s, GRPC_FLOOD_SETTINGS);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        flood_charge(s, GRPC_FLOOD_WINDOW);
        break;
    default:
        flood_charge(s, GRPC_FLOOD_OTHER);
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
    struct grpc_session *s = arg;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST ||
        s->reason)
        return 0;
    struct grpc_call *call = NULL;
    if (s->call_count < GRPC_SESSION_CALLS_MAX && s->config.usage->calls < GRPC_USAGE_CALLS_MAX)
        call = call_new(s, frame->hd.stream_id);
    flood_pay_back(s);
    if (!call) {
        // The client may try again; nothing of the request was looked at.
        if (nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                      NGHTTP2_REFUSED_STREAM) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        return 0;
    }
    nghttp2_session_set_stream_user_data(h2, frame->hd.stream_id, call);
    return 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct grpc_call *call = call_find(h2, frame->hd.stream_id);
    if (!call || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (grpc_request_header(call, name, name_len, value, value_len) < 0)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; // resets the stream
    return 0;
}

static int on_data_chunk(nghttp2_session *h2, uint8_t flags, int32_t stream, const uint8_t *data,
                         size_t len, void *arg)
{
    struct grpc_call *call = call_find(h2, stream);
    if (!call || call->state != GRPC_CALL_RECEIVING)
        return 0;
    if (grpc_request_body(call, data, len) < 0) {
        call->problem =
            (struct grpc_problem){"no memory for the request", STATUS_RESOURCE_EXHAUSTED, 0};
    }
    if (call->problem.text)
        call_reject(call);
    return 0;
}

static void on_request_frame(struct grpc_call *call, const nghttp2_frame *frame)
{
    if (call->state != GRPC_CALL_RECEIVING)
        return;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        grpc_request_headers_done(call);
        if (call->timeout < call->expires)
            grpc_call_expire_at(call, call->timeout);
    }
    bool complete = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (complete && !call->problem.text)
        grpc_request_done(call);
    if (call->problem.text) {
        call_reject(call);
    } else if (complete) {
        call->state = GRPC_CALL_READY;
        call_enqueue(call);
    }
}

static int drain_final(struct grpc_session *s)
{
    s->drain = GRPC_DRAIN_FINAL;
    s->drain_at = GRPC_NEVER;
    return nghttp2_submit_goaway(s->h2, NGHTTP2_FLAG_NONE,
                                 nghttp2_session_get_last_proc_stream_id(s->h2), NGHTTP2_NO_ERROR,
                                 NULL, 0);
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
    struct grpc_session *s = arg;
    struct grpc_call *call;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        call = call_find(h2, frame->hd.stream_id);
        if (call)
            on_request_frame(call, frame);
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            s->greeted = true;
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK && s->drain == GRPC_DRAIN_NOTICE &&
            memcmp(frame->ping.opaque_data, drain_ping, sizeof drain_ping) == 0 &&
            drain_final(s) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        break;
    default:
        break;
    }
    return 0;
}

static int on_frame_sent(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
    struct grpc_session *s = arg;
    if (frame->hd.type == NGHTTP2_DATA)
        flood_pay_back(s);
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR &&
        !s->reason)
        s->reason = nghttp2_http2_strerror(frame->goaway.error_code);
    // An error that did not wait for the end of the request: the rest of it is not wanted.
    if (frame->hd.type == NGHTTP2_HEADERS && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
        nghttp2_session_get_stream_remote_close(h2, frame->hd.stream_id) == 0 &&
        nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR) !=
            0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t stream, uint32_t code, void *arg)
{
    struct grpc_call *call = call_find(h2, stream);
    if (!call)
        return 0;
    nghttp2_session_set_stream_user_data(h2, stream, NULL);
    call->stream_open = false;
    grpc_response_clear(call);
    grpc_call_expire_at(call, GRPC_NEVER);
    if (call->state == GRPC_CALL_RUNNING)
        call_enqueue(call);
    else
        call_release(call);
    return 0;
}

// ---- the session -----------------------------------------------------------------------------

static int h2_new(struct grpc_session *s)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return -1;
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    int r = nghttp2_session_server_new(&s->h2, callbacks, s);
    nghttp2_session_callbacks_del(callbacks);
    return r;
}

struct grpc_session *grpc_session_new(const struct grpc_session_config *config)
{
    // First frame of the server. No MAX_CONCURRENT_STREAMS: see the top.
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, GRPC_HEADERS_MAX},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1}, // no tree of streams that a peer can shape
    };
    struct grpc_session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->config = *config;
    LIST_INIT(&s->calls);
    LIST_INIT(&s->orphans);
    LIST_INIT(&s->timed);
    TAILQ_INIT(&s->work);
    s->next_expiry = s->drain_at = GRPC_NEVER;
    uint64_t start = now(s);
    s->handshake_by = start + GRPC_HANDSHAKE_MS;
    for (int kind = 0; kind < GRPC_FLOOD_KINDS; kind++)
        s->buckets[kind] = (struct grpc_bucket){floods[kind].burst, start};
    if (h2_new(s) != 0 ||
        nghttp2_submit_settings(s->h2, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings)) != 0 ||
        nghttp2_session_set_local_window_size(s->h2, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0)
        return grpc_session_free(s);
    return s;
}

void grpc_session_close(struct grpc_session *s)
{
    if (!s->h2)
        return;
    s->inside = true;
    // A method that is told may end other calls of the session, so always the first one left.
    struct grpc_call *call;
    while ((call = LIST_FIRST(&s->calls))) {
        call->stream_open = false;
        call_dequeue(call);
        call_cancel(call);
        call_release(call);
    }
    nghttp2_session_del(s->h2);
    s->h2 = NULL;
    s->chunk_len = 0;
    s->inside = false;
}

struct grpc_session *grpc_session_free(struct grpc_session *s)
{
    if (!s)
        return NULL;
    grpc_session_close(s);
    struct grpc_call *call;
    while ((call = LIST_FIRST(&s->orphans)))
        call_detach(call);
    free(s);
    return NULL;
}

int grpc_session_receive(struct grpc_session *s, const uint8_t *data, size_t len, struct error *err)
{
    if (s->broken)
        return error_set(err, STATUS_INTERNAL, "the session is broken");
    s->inside = true;
    grpc_ssize r = grpc_h2_receive(s->h2, data, len);
    if (r < 0)
        s->broken = true;
    run(s);
    s->inside = false;
    if (r < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "HTTP/2: %s", nghttp2_strerror((int)r));
    return 0;
}

// Moves what nghttp2 has to send to out. Returns the number of bytes.
static size_t pull(struct grpc_session *s, uint8_t *out, size_t cap)
{
    size_t n = 0;
    while (n < cap && !s->broken) {
        if (s->chunk_len == 0) {
            grpc_ssize r = grpc_h2_send(s->h2, &s->chunk);
            if (r < 0)
                s->broken = true;
            if (r <= 0)
                break;
            s->chunk_len = (size_t)r;
        }
        size_t part = s->chunk_len < cap - n ? s->chunk_len : cap - n;
        memcpy(out + n, s->chunk, part);
        s->chunk += part;
        s->chunk_len -= part;
        n += part;
    }
    return n;
}

size_t grpc_session_send(struct grpc_session *s, uint8_t *out, size_t cap)
{
    size_t n = 0;
    s->inside = true;
    for (;;) {
        n += pull(s, out + n, cap - n);
        // Streams that ended by sending may have calls to be told.
        if (TAILQ_EMPTY(&s->work))
            break;
        run(s);
    }
    s->inside = false;
    return n;
}

static void call_overdue(struct grpc_call *call)
{
    struct grpc_session *s = call->session;
    if (call->answered) {
        if (nghttp2_submit_rst_stream(s->h2, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_CANCEL) != 0)
            s->broken = true;
        return;
    }
    if (call->state == GRPC_CALL_RECEIVING && call->timeout > now(s)) {
        call->problem = (struct grpc_problem){"the request did not arrive within 60 seconds",
                                              STATUS_DEADLINE_EXCEEDED, 0};
        call_reject(call);
        return;
    }
    call_dequeue(call);
    call_cancel(call);
    if (call->state != GRPC_CALL_RUNNING)
        call->state = GRPC_CALL_ENDED;
    call_fail(call, 0, STATUS_DEADLINE_EXCEEDED, "the call's deadline has passed");
}

static void expire_calls(struct grpc_session *s, uint64_t at)
{
    struct grpc_call_list due = LIST_HEAD_INITIALIZER(due);
    struct grpc_call *call, *next;
    s->next_expiry = GRPC_NEVER;
    for (call = LIST_FIRST(&s->timed); call; call = next) {
        next = LIST_NEXT(call, timed);
        if (call->expires <= at) {
            LIST_REMOVE(call, timed);
            LIST_INSERT_HEAD(&due, call, timed);
        } else if (call->expires < s->next_expiry) {
            s->next_expiry = call->expires;
        }
    }
    while ((call = LIST_FIRST(&due))) {
        uint64_t expires = call->expires;
        grpc_call_expire_at(call, GRPC_NEVER);
        // A method that was told of another call's end may have ended this one just now.
        if (expires > at)
            grpc_call_expire_at(call, expires);
        else
            call_overdue(call);
    }
}

int grpc_session_expire(struct grpc_session *s, struct error *err)
{
    uint64_t at = now(s);
    if (!s->greeted && at >= s->handshake_by)
        return error_set(err, STATUS_DEADLINE_EXCEEDED, "no HTTP/2 handshake within %d seconds",
                         GRPC_HANDSHAKE_MS / 1000);
    s->inside = true;
    if (at >= s->drain_at && drain_final(s) != 0)
        s->broken = true;
    if (at >= s->next_expiry)
        expire_calls(s, at);
    run(s);
    s->inside = false;
    return s->broken ? error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the session") : 0;
}

uint64_t grpc_session_deadline(const struct grpc_session *s)
{
    uint64_t when = s->next_expiry;
    if (when != GRPC_NEVER)
        when = (when + TICK_MS - 1) / TICK_MS * TICK_MS;
    if (s->drain_at < when)
        when = s->drain_at;
    if (!s->greeted && s->handshake_by < when)
        when = s->handshake_by;
    return when;
}

void grpc_session_drain(struct grpc_session *s)
{
    if (s->drain != GRPC_DRAIN_NONE || !s->h2)
        return;
    s->drain = GRPC_DRAIN_NOTICE;
    s->drain_at = now(s) + GRPC_GOAWAY_MS;
    if (nghttp2_submit_shutdown_notice(s->h2) != 0 ||
        nghttp2_submit_ping(s->h2, NGHTTP2_FLAG_NONE, drain_ping) != 0)
        s->broken = true;
}

bool grpc_session_finished(const struct grpc_session *s)
{
    return s->broken || !s->h2 ||
           (s->chunk_len == 0 && !nghttp2_session_want_read(s->h2) &&
            !nghttp2_session_want_write(s->h2));
}

size_t grpc_session_calls(const struct grpc_session *s)
{
    return s->call_count;
}

const char *grpc_session_reason(const struct grpc_session *s)
{
    return s->reason;
}
