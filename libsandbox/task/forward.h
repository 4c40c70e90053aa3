// A connection that ends in another place: bytes between a socket here and a stream, both ways,
// with containerd's stream messages and windows (api/stream.h), and Empty for the end of one
// direction: a half of the stream that is closed could carry no WindowUpdate any more. The same on
// both sides of a virtual machine; what the stream is, is the user's.
#ifndef TASK_FORWARD_H
#define TASK_FORWARD_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct forward;

// The stream, for the forward. Each is called with `arg`.
struct forward_ops {
    // Sends a message. 0, or a negative errno: it is over.
    int (*send)(const uint8_t *data, size_t len, void *arg);
    // Whether there is room for one; if not, forward_writable follows.
    bool (*room)(void *arg);
    // Both sides have ended, or the socket, the stream or the peer failed: the forward and the
    // stream are to be freed. Called once, from the loop.
    void (*over)(void *arg);
};

// `fd` (a connected socket, non-blocking) is taken over in any case. NULL without memory.
struct forward *forward_new(struct ev_loop *loop, int fd, const struct forward_ops *ops, void *arg);
// A message has come. False: it is none, or too much; then it is over.
bool forward_message(struct forward *f, const uint8_t *data, size_t len);
void forward_writable(struct forward *f);
// The stream is over; what had come before it ended well still goes to the socket.
void forward_closed(struct forward *f);
// Accepts NULL. Returns NULL.
struct forward *forward_free(struct forward *f);

#endif
