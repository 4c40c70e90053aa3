// A gRPC server (unary methods) on a unix socket, HTTP/2 by libnghttp2.
#ifndef RPC_GRPC_SERVER_H
#define RPC_GRPC_SERVER_H

#include <ev.h>

#include "rpc/call.h"

struct grpc_server;

// As ttrpc_server_new.
struct grpc_server *grpc_server_new(struct ev_loop *loop, int listen_fd,
                                    const struct rpc_service *const *services);
// Stops accepting and sends GOAWAY; open calls go on. `drained` is called from the loop when none
// is open any more.
void grpc_server_drain(struct grpc_server *s, void (*drained)(void *arg), void *arg);
struct grpc_server *grpc_server_free(struct grpc_server *s);

#endif
