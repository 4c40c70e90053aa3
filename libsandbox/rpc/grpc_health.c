#include "rpc/grpc_health.h"

#include <stddef.h>
#include <string.h>

// grpc.health.v1: HealthCheckRequest{1: string service}, HealthCheckResponse{1: enum status}.
enum { HEALTH_SERVING = 1, HEALTH_NOT_SERVING = 2 };
#define FIELD_SERVICE 0x0a // field 1, length-delimited
#define FIELD_STATUS  0x08 // field 1, varint

// Reads the one field of the request; an empty message is the empty name. Returns 0, or -1 for
// bytes that are no such message.
static int parse_request(const uint8_t *data, size_t len, const uint8_t **ret_name, size_t *ret_len)
{
    *ret_name = data;
    *ret_len = 0;
    if (len == 0)
        return 0;
    if (data[0] != FIELD_SERVICE)
        return -1;
    // A length of at most two varint bytes covers GRPC_HEALTH_NAME_MAX.
    size_t at = 1, name_len = 0;
    for (unsigned shift = 0; shift <= 7; shift += 7) {
        if (at >= len)
            return -1;
        uint8_t byte = data[at++];
        name_len |= (size_t)(byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        if (name_len != len - at || name_len > GRPC_HEALTH_NAME_MAX)
            return -1;
        *ret_name = data + at;
        *ret_len = name_len;
        return 0;
    }
    return -1;
}

static void check(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    const struct grpc_health *h = ctx;
    const uint8_t *name;
    size_t name_len;
    if (parse_request(payload, len, &name, &name_len) < 0) {
        rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "malformed HealthCheckRequest");
        return;
    }
    if (name_len > 0 && !rpc_service_find(h->services, (const char *)name, name_len)) {
        rpc_call_failf(call, STATUS_NOT_FOUND, "unknown service");
        return;
    }
    const uint8_t reply[] = {FIELD_STATUS, h->serving ? HEALTH_SERVING : HEALTH_NOT_SERVING};
    rpc_call_reply(call, reply, sizeof reply);
}

void grpc_health_init(struct grpc_health *h, const struct rpc_service *const *services)
{
    static const struct rpc_method methods[] = {{"Check", check}, {NULL, NULL}};
    *h = (struct grpc_health){
        .service = {.name = "grpc.health.v1.Health", .methods = methods, .ctx = h},
        .services = services,
        .serving = true,
    };
}

void grpc_health_set(struct grpc_health *h, bool serving)
{
    h->serving = serving;
}
