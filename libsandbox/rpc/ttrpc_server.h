// A ttrpc server on a unix socket. (The protocol itself: rpc/ttrpc.h, sans IO.)
#ifndef RPC_TTRPC_SERVER_H
#define RPC_TTRPC_SERVER_H

#include <ev.h>
#include <sys/types.h>

#include "rpc/call.h"

// Most connections at a time; more wait in the listen queue. (containerd opens one per container
// and one per IO stream.)
#define TTRPC_SERVER_CONNECTIONS_MAX 16384
// Most open requests of a connection; one more is answered RESOURCE_EXHAUSTED.
#define TTRPC_SERVER_REQUESTS_MAX 1024
// The same for all connections together, with those whose peer is gone and that still run.
#define TTRPC_SERVER_REQUESTS_TOTAL_MAX 65536
// Most bytes that all connections together make us keep in unfinished frames and unsent answers.
// Over it a connection that holds more than its equal share is closed. The same again for the
// records of open requests (metadata); there a new request is answered RESOURCE_EXHAUSTED.
#define TTRPC_SERVER_MEMORY_MAX (256u * 1024 * 1024)
// Seconds in which a frame that has begun must be complete. An idle connection lives for ever,
#define TTRPC_SERVER_FRAME_TIMEOUT 30.0
// but one that has only ever carried streams is closed when the last of them has been over for so
// long: containerd before 2.3 opens one per stream and never closes it. (What a client still sends
// for a stream that is over comes within this time.)
#define TTRPC_SERVER_STREAM_LINGER 2.0

struct ttrpc_server;

// Serves `services` (NULL-terminated, borrowed) on `listen_fd`, a bound and listening unix socket
// that the server takes over (see rpc/listen.h). Peers must have our uid. NULL without memory (the
// descriptor is closed then, too).
struct ttrpc_server *ttrpc_server_new(struct ev_loop *loop, int listen_fd,
                                      const struct rpc_service *const *services);
// Stops accepting; connections live on. `drained` is called from the loop when no request is open
// any more (at once if none is), parked waits of the services are theirs to end.
void ttrpc_server_drain(struct ttrpc_server *s, void (*drained)(void *arg), void *arg);
// Closes everything; open calls are cancelled. Accepts NULL. Must not be called from a method, a
// cancel function or an event of a stream. Returns NULL.
struct ttrpc_server *ttrpc_server_free(struct ttrpc_server *s);

// ---- streams -----------------------------------------------------------------------------------
//
// A request with flags 0x01 or 0x02 opens a stream: messages in both directions until each side has
// ended its own. How much may be under way (credit) is a matter between the service and its peer.
//
// Life of a stream: `open` is called with the request's payload and either takes the stream
// (rpc_stream_take) or refuses it (rpc_stream_fail) before it returns; a stream that it did neither
// with is failed with UNIMPLEMENTED. A taken stream is over, and its pointer dead, when
//  - `closed` has been called: both sides have ended, the deadline has passed, the peer is gone or
//    broke the protocol (err says which; NULL after a proper end); do not end it there, or
//  - rpc_stream_fail, rpc_stream_drop, or an rpc_stream_end that returned true has been called.
//  Then
//    `closed` is not called.
struct rpc_stream;

struct rpc_stream_events {
    // A message; may be empty.
    void (*message)(struct rpc_stream *st, const uint8_t *data, size_t len, void *arg);
    // The peer will send no more. Not called if we have ended already (`closed` is then).
    void (*half_closed)(struct rpc_stream *st, void *arg);
    // After an rpc_stream_send that was refused with -EAGAIN: there is room again.
    void (*writable)(struct rpc_stream *st, void *arg);
    void (*closed)(struct rpc_stream *st, const struct error *err, void *arg);
};

// One method that opens streams; a table ends with {NULL}.
struct rpc_stream_method {
    const char *service, *method;
    void (*open)(struct rpc_stream *st, const uint8_t *payload, size_t len, void *ctx);
    void *ctx;
};

// Makes the methods known; `table` is borrowed for the server's life. A method that is in no table
// is answered UNIMPLEMENTED, its Data frames are dropped.
void ttrpc_server_set_streams(struct ttrpc_server *s, const struct rpc_stream_method *table);

// Takes the stream: events come with `arg`. A missing function drops the event. `events` is
// borrowed.
void rpc_stream_take(struct rpc_stream *st, const struct rpc_stream_events *events, void *arg);
// Sends a message. Returns 0; -EAGAIN while the peer does not read (nothing is sent; `writable`
// follows), -EPIPE after our end or when the connection is about to close, -EMSGSIZE over 4 MiB.
int rpc_stream_send(struct rpc_stream *st, const uint8_t *data, size_t len);
// Whether at most `most` bytes wait for the peer on the stream's connection. If not, `writable`
// follows when there is room again; so who asks before it makes a message never has one left over.
bool rpc_stream_room(struct rpc_stream *st, size_t most);
// Ends our side. Returns true if the peer had ended already: the stream is over. Else it lives on
// until the peer ends, too: that tells that the peer has taken everything.
bool rpc_stream_end(struct rpc_stream *st);
// Ends both sides with an error. The stream is over.
void rpc_stream_fail(struct rpc_stream *st, const struct error *err);
// Ends our side if it is not ended, and does not wait for the peer's. The stream is over.
void rpc_stream_drop(struct rpc_stream *st);

// ---- for tests ---------------------------------------------------------------------------------

struct ttrpc_server_limits {
    size_t connections, requests, requests_total, memory;
    double frame_timeout, stream_linger;
    uid_t uid; // that peers must have
};
// The limits in force, to be changed before the loop runs.
struct ttrpc_server_limits *ttrpc_server_limits(struct ttrpc_server *s);
// What is held at this moment.
struct ttrpc_server_usage {
    size_t connections, requests, memory, request_memory;
};
struct ttrpc_server_usage ttrpc_server_usage(const struct ttrpc_server *s);

#endif
