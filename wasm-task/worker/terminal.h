// The terminal of a container or an exec: made here, in the host's devpts; the master goes to the
// task server by its console socket, as an OCI runtime sends it.
#ifndef WASM_WORKER_TERMINAL_H
#define WASM_WORKER_TERMINAL_H

#include "base/error.h"

// Makes it and sends the master to the socket. Returns the slave, or -1.
int terminal_make(const char *console, struct error *err);
// Makes it the terminal of this process and its standard input, output and error; closes `slave`.
// 0 or -1.
int terminal_take(int slave, struct error *err);

#endif
