// Accepts the peers of a listening socket.
//
// When descriptors or memory are short the queue keeps the peers and the socket is left alone for a
// while, doubled up to a second: a loop that is woken for a peer that it cannot take would spin.
#ifndef RPC_ACCEPTOR_H
#define RPC_ACCEPTOR_H

#include <ev.h>
#include <stdbool.h>

struct acceptor {
    struct ev_loop *loop;
    const char *protocol; // for the log
    void (*accepted)(struct acceptor *a, int fd);
    int fd;       // owned; -1: closed
    double pause; // the last one, in seconds; 0 after a success
    bool held;
    ev_io io;
    ev_timer again;
};

// Takes over a non-blocking listening socket. `accepted` gets each peer's descriptor (non-blocking,
// close-on-exec) and takes it over; it may hold or close the acceptor. `protocol` is kept.
void acceptor_start(struct acceptor *a, struct ev_loop *loop, int fd, const char *protocol,
                    void (*accepted)(struct acceptor *a, int fd));
// From now on nobody is accepted, until the resumption; those who wait stay in the queue. Both may
// be called twice, and on a closed one.
void acceptor_hold(struct acceptor *a);
void acceptor_resume(struct acceptor *a);
// Closes the socket. May be called twice.
void acceptor_close(struct acceptor *a);

#endif
