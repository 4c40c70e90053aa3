// The guest's side of its ports: a stream for each connection, to a port of the guest's loopback.
#ifndef TASK_PORT_SERVER_H
#define TASK_PORT_SERVER_H

#include <ev.h>

#include "rpc/ttrpc_server.h"

// Most connections at a time.
#define PORT_SERVER_CONNECTIONS_MAX 1024

// Serves on `listening`, which is taken over in any case. One in a process. NULL without memory.
struct ttrpc_server *port_server_new(struct ev_loop *loop, int listening);

#endif
