// Listening sockets. Unix: one owner at a time, mode 0600 from birth. TCP: loopback only.
#ifndef RPC_LISTEN_H
#define RPC_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

// Makes a listening socket at `path` (absolute, at most 107 bytes): non-blocking, close-on-exec,
// 0600. A stale socket file is replaced; a live listener there is ALREADY_EXISTS that says so; a
// file that is no socket is FAILED_PRECONDITION. The directory must exist. Returns the descriptor
// or -1.
int rpc_listen_unix(const char *path, struct error *err);

// Is it a numeric loopback address with a port ("127.0.0.1:9464", "[::1]:9464")? Returns 0, or -1
// with INVALID_ARGUMENT that begins with `field`.
int rpc_loopback_check(const char *address, const char *field, struct error *err);
// Listens there: non-blocking, close-on-exec. Whoever is on this machine, in its network namespace,
// can connect. Returns the descriptor or -1.
int rpc_listen_loopback(const char *address, struct error *err);

// Listens on a vsock port of this machine, which is a guest: non-blocking, close-on-exec. Returns
// the descriptor or -1.
int rpc_listen_vsock(uint32_t port, struct error *err);

// Connects to a unix socket, non-blocking, close-on-exec. Returns the descriptor or -1 with
// UNAVAILABLE (nobody listens) or another status.
int rpc_connect_unix(const char *path, struct error *err);

// May the peer of an accepted socket speak to us? On a unix socket it must be of user `uid`, on a
// vsock be the host. A refusal is logged under `protocol`. `ret_pid` (may be NULL) gets the pid of
// a peer on a unix socket.
bool rpc_peer_allowed(int fd, uid_t uid, const char *protocol, pid_t *ret_pid);

#endif
