// The terminal of one process: the socket on which an OCI runtime hands over the master, and the
// copying between master and two descriptors. See stdio.h for the whole picture.
#ifndef TASK_CONSOLE_H
#define TASK_CONSOLE_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct console;

// Makes a socket in a directory of its own (0700) below `dir`. `over` is called from the loop,
// once, when nothing is copied any more (not after console_free). NULL with *err set.
struct console *console_new(struct ev_loop *loop, const char *dir, void (*over)(void *arg),
                            void *arg, struct error *err);
// Path for --console-socket, at most 107 bytes.
const char *console_socket(const struct console *c);
// Takes the master that the runtime has sent (it has ended already: nothing is waited for), removes
// the socket, sets the size (0: leave) and starts copying: master to `out`, `in` (-1: none) to
// master. Both must be non-blocking; they are taken over in any case. 0 or -1.
int console_take(struct console *c, int in, int out, uint16_t columns, uint16_t rows,
                 struct error *err);
// 0 or a negative errno; -ENOTTY before the master is there.
int console_resize(struct console *c, uint16_t columns, uint16_t rows);
// The process has ended: the rest is copied, at most STDIO_DRAIN_SECONDS without progress.
void console_exited(struct console *c);
// Is something still to be copied after console_exited?
bool console_draining(const struct console *c);
// Closes everything. Accepts NULL. Returns NULL.
struct console *console_free(struct console *c);

#endif
