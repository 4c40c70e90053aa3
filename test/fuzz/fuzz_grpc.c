// The gRPC session on arbitrary bytes of a peer, in pieces of arbitrary size, with time passing and
// methods ending between them.
//
// First byte: size of a piece. Second byte: bits of behaviour, below. The rest: what the peer
// sends.
#include <stdint.h>
#include <stdlib.h>

#include "rpc/grpc.h"

#define INPUT_MAX (256 * 1024)
#define PARKED    64

enum {
    GREETED = 1,    // preface and SETTINGS come before the input
    ENDING = 2,     // parked calls end one by one
    TIME = 4,       // seconds pass between pieces
    READING = 8,    // the peer takes the answers
    DRAINING = 16,  // the server drains in the middle
    ANSWERING = 32, // parked calls end with messages, else with errors
};

struct world {
    uint64_t now;
    struct rpc_call *parked[PARKED];
    unsigned count;
};

static uint64_t world_clock(void *arg)
{
    return ((struct world *)arg)->now;
}

static void world_wake(void *arg)
{
}

static void cancelled(struct rpc_call *call, void *arg)
{
    struct world *w = arg;
    for (unsigned i = 0; i < w->count; i++)
        if (w->parked[i] == call)
            w->parked[i] = w->parked[--w->count];
}

static void dispatch(struct rpc_call *call, const char *method, const uint8_t *data, size_t len,
                     void *ctx)
{
    struct world *w = ctx;
    // Every byte of the message is looked at.
    unsigned sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += data[i];
    const char *value = rpc_call_metadata(call, "containerd-namespace");
    if (method[0] == 'C' || w->count == PARKED) {
        rpc_call_reply(call, data, len);
    } else if (value && sum % 7 == 0) {
        rpc_call_failf(call, STATUS_NOT_FOUND, "%s", value);
    } else {
        w->parked[w->count++] = call;
        if (method[0] != 'W')
            rpc_call_on_cancel(call, cancelled, w);
    }
}

static void end_one(struct world *w, bool answer)
{
    static const uint8_t message[20000];
    if (w->count == 0)
        return;
    struct rpc_call *call = w->parked[--w->count];
    if (answer)
        rpc_call_reply(call, message, sizeof message);
    else
        rpc_call_failf(call, STATUS_UNAVAILABLE, "over\xff%%");
}

static void play(struct grpc_session *s, struct world *w, unsigned piece, unsigned how,
                 const uint8_t *data, size_t size)
{
    // The literal's own NUL is the last byte of the empty SETTINGS.
    static const uint8_t greeting[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    static uint8_t out[3000];
    if (how & GREETED && grpc_session_receive(s, greeting, sizeof greeting, NULL) < 0)
        abort();
    for (size_t at = 0; at < size; at += piece) {
        if (how & DRAINING && at >= size / 2)
            grpc_session_drain(s);
        if (grpc_session_receive(s, data + at, size - at < piece ? size - at : piece, NULL) < 0)
            return;
        while (how & READING) {
            size_t n = grpc_session_send(s, out, sizeof out);
            if (n > sizeof out)
                abort();
            if (n == 0)
                break;
        }
        if (how & TIME) {
            w->now += 1000;
            if (grpc_session_deadline(s) <= w->now && grpc_session_expire(s, NULL) < 0)
                return;
        }
        if (how & ENDING)
            end_one(w, how & ANSWERING);
        if (grpc_session_finished(s))
            return;
    }
    // An honest end: everything is answered and taken, or given up.
    while (w->count > 0)
        end_one(w, how & ANSWERING);
    while (grpc_session_send(s, out, sizeof out) > 0)
        ;
    w->now += 1000000;
    grpc_session_expire(s, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_MAX)
        return 0;
    struct world w = {.now = 1000};
    const struct rpc_service service = {
        .name = "containerd.services.sandbox.v1.Controller", .dispatch = dispatch, .ctx = &w};
    const struct rpc_service *const services[] = {&service, NULL};
    struct grpc_usage usage = {0};
    struct grpc_session *s = grpc_session_new(&(struct grpc_session_config){.services = services,
                                                                            .usage = &usage,
                                                                            .clock = world_clock,
                                                                            .wake = world_wake,
                                                                            .arg = &w});
    if (!s)
        return 0;
    play(s, &w, data[0] ? data[0] * 8u : 1, data[1], data + 2, size - 2);
    grpc_session_close(s);
    if (grpc_session_calls(s) != w.count)
        abort();
    // One method ends before the session is freed, the others after it.
    end_one(&w, true);
    grpc_session_free(s);
    if (usage.calls || usage.received || usage.pending)
        abort();
    while (w.count > 0)
        end_one(&w, false);
    return 0;
}
