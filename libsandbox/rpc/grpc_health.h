// The health service (grpc.health.v1.Health), unary part: what `grpc_health_probe` and the like
// ask.
#ifndef RPC_GRPC_HEALTH_H
#define RPC_GRPC_HEALTH_H

#include <stdbool.h>

#include "rpc/call.h"

// Longest service name that Check takes.
#define GRPC_HEALTH_NAME_MAX 256

// Embedded in the owner of the server. `service` goes into the server's list.
struct grpc_health {
    struct rpc_service service;
    const struct rpc_service *const *services;
    bool serving;
};

// Answers for "" (the whole server) and for every name in `services` (NULL-terminated, borrowed;
// may hold &h->service), at first with SERVING. Check of another name is NOT_FOUND. Watch is
// UNIMPLEMENTED, which the protocol allows and clients understand: the server has no streams.
void grpc_health_init(struct grpc_health *h, const struct rpc_service *const *services);
// Answers SERVING or NOT_SERVING from now on.
void grpc_health_set(struct grpc_health *h, bool serving);

#endif
