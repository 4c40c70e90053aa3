// One message on a socket, with a descriptor perhaps.
#ifndef WASM_WORKER_MESSAGE_H
#define WASM_WORKER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

// Sends all of it; fd -1: none. False with errno.
bool message_send(int socket, const void *data, size_t len, int fd);

#endif
