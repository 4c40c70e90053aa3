// A ttrpc server on a unix socket. (The protocol itself: rpc/ttrpc.h, sans IO.)
#ifndef RPC_TTRPC_SERVER_H
#define RPC_TTRPC_SERVER_H

#include <ev.h>

#include "rpc/call.h"

struct ttrpc_server;

// Serves `services` (NULL-terminated, borrowed) on `listen_fd`, a bound and listening unix socket
// that the server takes over (see rpc/listen.h). Peers must have our uid. NULL without memory.
struct ttrpc_server *ttrpc_server_new(struct ev_loop *loop, int listen_fd,
                                      const struct rpc_service *const *services);
// Stops accepting; connections live on. `drained` is called from the loop when no request is open
// any more (at once if none is), parked waits of the services are theirs to end.
void ttrpc_server_drain(struct ttrpc_server *s, void (*drained)(void *arg), void *arg);
// Closes everything; open calls are cancelled. Accepts NULL. Returns NULL.
struct ttrpc_server *ttrpc_server_free(struct ttrpc_server *s);

#endif
