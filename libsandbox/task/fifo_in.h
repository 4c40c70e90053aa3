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

// Takes `fifo` (non-blocking) over in any case. Returns NULL on error; else *ret is the end of a
// pipe that is read, the caller's.
struct fifo_in *fifo_in_new(struct ev_loop *loop, int fifo, int *ret, struct error *err);
// Copies from now on, until the FIFO's last writer has closed and everything is in the pipe, which
// then ends, or until nobody reads that any more. SIGPIPE must be ignored (event_signals_start does
// that). Idempotent.
void fifo_in_start(struct fifo_in *i);
// For a process that does better with the FIFO itself: gives it back, and frees `i`, which has not
// been started.
int fifo_in_give_up(struct fifo_in *i);
// Accepts NULL. Returns NULL.
struct fifo_in *fifo_in_free(struct fifo_in *i);

#endif
