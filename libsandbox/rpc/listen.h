// Listening unix sockets: one owner at a time, mode 0600 from birth.
#ifndef RPC_LISTEN_H
#define RPC_LISTEN_H

#include "base/error.h"

// Makes a listening socket at `path` (absolute, at most 107 bytes): non-blocking, close-on-exec,
// 0600. A stale socket file is replaced; a live listener there is ALREADY_EXISTS that says so; a
// file that is no socket is FAILED_PRECONDITION. The directory must exist. Returns the descriptor
// or -1.
int rpc_listen_unix(const char *path, struct error *err);

// Connects to a unix socket, non-blocking, close-on-exec. Returns the descriptor or -1 with
// UNAVAILABLE (nobody listens) or another status.
int rpc_connect_unix(const char *path, struct error *err);

#endif
