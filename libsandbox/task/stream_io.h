// Bytes between a pipe of a process and a stream of containerd (streams.h), one way each.
//
// Output is read from the pipe only when the peer takes it, so nothing is kept here, and a reader
// that is slow or away fills the pipe and stops its own process only. Input is kept until the pipe
// takes it, at most one window.
#ifndef TASK_STREAM_IO_H
#define TASK_STREAM_IO_H

#include <stdbool.h>

#include "task/streams.h"

// How long after the end of the process its pipe may be open and silent until it counts as empty:
// somebody whom the process left behind holds it. (What the process wrote is in the pipe by then.)
#define STREAM_SILENT_SECONDS 1.0
// How long CloseIO, which comes on another connection, waits for the end of the input itself.
#define STREAM_CLOSE_SECONDS 1.0

struct stream_out;
struct stream_in;

// Claims `id` and copies from `fd` (non-blocking, taken over in any case) until its end, which is
// then told to the peer. `handed` is called, maybe more than once, when stream_out_handed may have
// become true; it must not free anything. NULL on error (as stream_claim).
struct stream_out *stream_out_new(struct ev_loop *loop, struct streams *streams, const char *id,
                                  int fd, void (*handed)(void *arg), void *arg, struct error *err);
// The process has ended.
void stream_out_exited(struct stream_out *o);
// Is what the process wrote in other hands? The peer has read it up to the end, or wants no more of
// it; or the pipe is silent.
bool stream_out_handed(const struct stream_out *o);
// Accepts NULL. Returns NULL.
struct stream_out *stream_out_free(struct stream_out *o);

// Claims `id` and copies to `fd` (non-blocking, taken over in any case). The fd is closed when the
// peer has ended its side and everything is written; the end of a connection is no such end.
struct stream_in *stream_in_new(struct ev_loop *loop, struct streams *streams, const char *id,
                                int fd, struct error *err);
// No more input is wanted than what is on its way. Idempotent.
void stream_in_close(struct stream_in *i);
// The process has ended.
void stream_in_exited(struct stream_in *i);
// Accepts NULL. Returns NULL.
struct stream_in *stream_in_free(struct stream_in *i);

#endif
