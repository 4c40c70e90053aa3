// A gRPC server (unary methods) on a unix socket, HTTP/2 by libnghttp2. (The protocol itself:
// rpc/grpc.h, sans IO.)
#ifndef RPC_GRPC_SERVER_H
#define RPC_GRPC_SERVER_H

#include <ev.h>

#include "rpc/call.h"

// Most connections at a time; one more is closed at once.
#define GRPC_SERVER_CONNECTIONS_MAX 1024

struct grpc_server;

// Serves `services` (NULL-terminated, borrowed) on `listen_fd`, a bound and listening non-blocking
// unix socket that the server takes over, also when it fails (see rpc/listen.h). Peers must have
// our uid. NULL without memory.
struct grpc_server *grpc_server_new(struct ev_loop *loop, int listen_fd,
                                    const struct rpc_service *const *services);
// Stops accepting and sends GOAWAY; open calls go on. `drained` is called once from the loop when
// none is open any more and the answers have been written (or their readers given up); the server
// may be freed in it.
void grpc_server_drain(struct grpc_server *s, void (*drained)(void *arg), void *arg);
// Closes everything; open calls are cancelled. Methods that do not take a cancellation may still
// end their calls afterwards. Not from inside a method. Accepts NULL. Returns NULL.
struct grpc_server *grpc_server_free(struct grpc_server *s);
// Open connections.
unsigned grpc_server_connections(const struct grpc_server *s);

#endif
