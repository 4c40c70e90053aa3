// Bytes from a FIFO of containerd's to a pipe, which a process has as its standard input.
//
// The process does not get the FIFO itself, for it may open its input anew, by /dev/stdin: open(2)
// of a FIFO blocks when its writers are gone (for ever: none will come), of a pipe it does not.
// Nothing is kept here: the kernel moves bytes when there are some and the pipe takes them.
#ifndef TASK_FIFO_IN_H
#define TASK_FIFO_IN_H

#include <ev.h>

#include "base/error.h"

struct fifo_in;

// Copies from `fifo` (non-blocking, taken over in any case) until its last writer has closed and
// everything is in the pipe, which then ends, or until nobody reads that any more. Returns NULL on
// error; else *ret is the end of the pipe that is read, the caller's. SIGPIPE must be ignored
// (event_signals_start does that).
struct fifo_in *fifo_in_new(struct ev_loop *loop, int fifo, int *ret, struct error *err);
// Accepts NULL. Returns NULL.
struct fifo_in *fifo_in_free(struct fifo_in *i);

#endif
