#include "rpc/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// ---- counting ---------------------------------------------------------------------------------

static const char *const class_names[RPC_CLASS_MAX_] = {
    [RPC_OK] = "ok", [RPC_CALLER_ERROR] = "caller_error", [RPC_SERVER_ERROR] = "server_error"};

static enum rpc_class class_of(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return RPC_OK;
    case STATUS_CANCELLED:
    case STATUS_INVALID_ARGUMENT:
    case STATUS_NOT_FOUND:
    case STATUS_ALREADY_EXISTS:
    case STATUS_PERMISSION_DENIED:
    case STATUS_FAILED_PRECONDITION:
    case STATUS_OUT_OF_RANGE:
    case STATUS_UNIMPLEMENTED:
    case STATUS_UNAUTHENTICATED:
        return RPC_CALLER_ERROR;
    default:
        return RPC_SERVER_ERROR;
    }
}

void rpc_call_count(struct rpc_call *call, struct rpc_stats *stats)
{
    call->stats = stats;
    call->begun = stages_clock();
    stats->open++;
}

static void count_end(struct rpc_call *call, enum status status)
{
    struct rpc_stats *stats = call->stats;
    if (!stats)
        return;
    call->stats = NULL;
    stats->open--;
    metrics_observe(&stats->took[class_of(status)], stages_clock() - call->begun);
    if (status != STATUS_OK)
        stats->errors[(unsigned)status < STATUS_MAX_ ? status : STATUS_UNKNOWN]++;
}

void rpc_stats_add(struct metrics_page *p, enum metric m, const char *service, const char *method,
                   const struct rpc_stats *stats)
{
    if (m == METRIC_RPC_OPEN && stats->open)
        metrics_add(p, m, METRICS_LABELS({"service", service}, {"method", method}), stats->open);
    for (unsigned i = 0; m == METRIC_RPC_SECONDS && i < RPC_CLASS_MAX_; i++)
        metrics_add_histogram(
            p, m,
            METRICS_LABELS({"service", service}, {"method", method}, {"class", class_names[i]}),
            &stats->took[i]);
    for (unsigned i = 0; m == METRIC_RPC_ERRORS && i < STATUS_MAX_; i++)
        if (stats->errors[i])
            metrics_add(p, m,
                        METRICS_LABELS({"service", service}, {"method", method},
                                       {"code", status_name((enum status)i)}),
                        stats->errors[i]);
}

// ---- calls ------------------------------------------------------------------------------------

// The transport frees the call in `end`, so what is needed afterwards is taken out first. The owner
// is released last: the answer may lie in its memory.
static void finish(struct rpc_call *call, const uint8_t *data, size_t len, const struct error *err)
{
    void (*release)(void *) = call->release;
    void *owner = call->owner;

    count_end(call, err ? err->status : STATUS_OK);
    call->cancel = NULL;
    call->release = NULL;
    call->transport->end(call, data, len, err);
    if (release)
        release(owner);
}

void rpc_call_reply(struct rpc_call *call, const uint8_t *data, size_t len)
{
    finish(call, data, len, NULL);
}

void rpc_call_fail(struct rpc_call *call, const struct error *err)
{
    if (err->status != STATUS_OK) {
        finish(call, NULL, 0, err);
        return;
    }
    struct error unknown = *err;
    unknown.status = STATUS_UNKNOWN;
    finish(call, NULL, 0, &unknown);
}

void rpc_call_failf(struct rpc_call *call, enum status status, const char *fmt, ...)
{
    struct error err;
    char text[ERROR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    error_set(&err, status, "%s", text);
    rpc_call_fail(call, &err);
}

void rpc_call_on_cancel(struct rpc_call *call, rpc_cancel_fn fn, void *arg)
{
    call->cancel = fn;
    call->cancel_arg = arg;
}

const char *rpc_call_metadata(struct rpc_call *call, const char *key)
{
    return call->transport->metadata(call, key);
}

bool rpc_call_cancel(struct rpc_call *call)
{
    rpc_cancel_fn fn = call->cancel;
    if (!fn)
        return false;
    call->cancel = NULL;
    count_end(call, STATUS_CANCELLED);
    fn(call, call->cancel_arg);
    if (call->release)
        call->release(call->owner);
    call->release = NULL;
    return true;
}

const struct rpc_service *rpc_service_find(const struct rpc_service *const *services,
                                           const char *name, size_t name_len)
{
    for (; *services; services++) {
        if (strlen((*services)->name) == name_len && !memcmp((*services)->name, name, name_len))
            return *services;
    }
    return NULL;
}

void rpc_service_dispatch(const struct rpc_service *service, struct rpc_call *call,
                          const char *method, const uint8_t *payload, size_t len)
{
    if (service->dispatch) {
        service->dispatch(call, method, payload, len, service->ctx);
        return;
    }
    for (const struct rpc_method *m = service->methods; m->name; m++) {
        if (!strcmp(m->name, method)) {
            m->handle(call, payload, len, service->ctx);
            return;
        }
    }
    rpc_call_failf(call, STATUS_UNIMPLEMENTED, "method %.200s of service %s is not implemented",
                   method, service->name);
}
