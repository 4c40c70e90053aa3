// The standard streams of a process that runs elsewhere, behind another task server (in a virtual
// machine): one ttrpc stream of the streaming service each, and what the process would have been
// given here (task_stdio_fds) at the other end. The peer is not trusted: it gets what it may get,
// and what it sends beyond its window ends the stream.
#ifndef TASK_REMOTE_IO_H
#define TASK_REMOTE_IO_H

#include <ev.h>
#include <stdbool.h>

#include "base/error.h"
#include "rpc/ttrpc_client.h"

struct remote_out;
struct remote_in;

// Opens stream `id` at the peer and copies what comes to `fd` (taken over in any case; made
// non-blocking). At the end fd is closed first, then the peer is told that we have taken
// everything, then `over` is called, once, from the loop; it must not free the stream. NULL on
// error.
struct remote_out *remote_out_new(struct ev_loop *loop, struct ttrpc_client *client, const char *id,
                                  int fd, void (*over)(void *arg), void *arg, struct error *err);
bool remote_out_is_over(const struct remote_out *o);
// Accepts NULL. Returns NULL.
struct remote_out *remote_out_free(struct remote_out *o);

// The same the other way, until the end of `fd`, which the peer is told.
struct remote_in *remote_in_new(struct ev_loop *loop, struct ttrpc_client *client, const char *id,
                                int fd, struct error *err);
// Accepts NULL. Returns NULL.
struct remote_in *remote_in_free(struct remote_in *i);

#endif
