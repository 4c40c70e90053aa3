// Typed services on top of rpc/: one table per service, one decoded request per call.
#include <stdio.h>
#include <string.h>

#include "api/check.h"
#include "api/message.h"
#include "base/cleanup.h"

// Longest method name that is repeated in an answer.
#define METHOD_SHOWN_MAX 128

static const struct api_method *find_method(const struct api_service *s, const char *name)
{
    for (const struct api_method *m = s->methods; m->name; m++) {
        if (strcmp(m->name, name) == 0)
            return m;
    }
    return NULL;
}

static void release_request(void *owner)
{
    api_message_free(owner);
}

static void dispatch(struct rpc_call *call, const char *method, const uint8_t *payload, size_t len,
                     void *ctx)
{
    struct api_service *s = ctx;
    const struct api_method *m = find_method(s, method);
    size_t place = m ? (size_t)(m - s->methods) : 0;
    if (place < API_METHODS_MAX)
        rpc_call_count(call, m ? &s->stats[place] : &s->unknown);
    if (!m) {
        size_t shown = strnlen(method, METHOD_SHOWN_MAX);
        bool clean = api_text_valid((const uint8_t *)method, shown);
        rpc_call_failf(call, STATUS_UNIMPLEMENTED, "unknown method %.*s for service %s",
                       clean ? (int)shown : 0, method, s->rpc.name);
        return;
    }
    struct error err = {0};
    ProtobufCMessage *req = api_message_decode(m->request, payload, len, &err);
    if (!req) {
        rpc_call_fail(call, &err);
        return;
    }
    call->owner = req;
    call->release = release_request;
    m->handle(call, req, s->ctx);
}

void api_service_init(struct api_service *s, const char *name, const struct api_method *methods,
                      void *ctx)
{
    *s = (struct api_service){
        .rpc = {.name = name, .dispatch = dispatch, .ctx = s},
        .methods = methods,
        .ctx = ctx,
    };
}

void api_services_metrics(struct metrics_page *p, const struct api_service *const *services,
                          size_t n)
{
    static const enum metric metrics[] = {METRIC_RPC_SECONDS, METRIC_RPC_ERRORS, METRIC_RPC_OPEN};
    for (size_t k = 0; k < ARRAY_SIZE(metrics); k++)
        for (size_t i = 0; i < n; i++) {
            const struct api_service *s = services[i];
            for (size_t place = 0; place < API_METHODS_MAX && s->methods[place].name; place++)
                rpc_stats_add(p, metrics[k], s->rpc.name, s->methods[place].name, &s->stats[place]);
            rpc_stats_add(p, metrics[k], s->rpc.name, "unknown", &s->unknown);
        }
}

void api_reply(struct rpc_call *call, const ProtobufCMessage *msg)
{
    const char *type = msg->descriptor->name;
    size_t len = protobuf_c_message_get_packed_size(msg);
    if (len > API_REPLY_MAX) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED,
                       "%s: an answer of %zu bytes is over the limit of %u", type, len,
                       API_REPLY_MAX);
        return;
    }
    _cleanup_free_ uint8_t *data = api_message_encode(msg, &len);
    if (!data) {
        rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "%s: out of memory", type);
        return;
    }
    // One string that is not UTF-8, a path for example, would make the peer drop the whole answer
    // with an error that names nothing.
    struct error err = {0};
    if (api_message_check(msg->descriptor, data, len, &err) < 0) {
        err.status = STATUS_INTERNAL;
        rpc_call_fail(call, &err);
        return;
    }
    rpc_call_reply(call, data, len);
}

void api_reply_empty(struct rpc_call *call)
{
    rpc_call_reply(call, (const uint8_t *)"", 0);
}
