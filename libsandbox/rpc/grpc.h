// A gRPC server session, sans IO: bytes of one HTTP/2 connection in, bytes out, calls to services
// in between. (The socket side: rpc/grpc_server.h.)
#ifndef RPC_GRPC_H
#define RPC_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "rpc/call.h"

// Largest message either way; containerd's own limit (its defaults/defaults.go).
#define GRPC_MESSAGE_MAX (16u * 1024 * 1024)
// Request headers: largest list (names, values and 32 bytes each, as HTTP/2 counts) and number.
#define GRPC_HEADERS_MAX      (16u * 1024)
#define GRPC_HEADER_COUNT_MAX 64
// Open streams per connection, together with calls whose stream is gone but whose method still
// runs. Every pod parks one stream, so this is no number that an honest peer gets near; it is not
// announced, one stream more is refused.
#define GRPC_SESSION_CALLS_MAX 32768
// All sessions that share a grpc_usage together: open calls, bytes of requests that are being
// received or served, bytes of answers that wait to be sent.
#define GRPC_USAGE_CALLS_MAX    65536
#define GRPC_USAGE_RECEIVED_MAX (64u * 1024 * 1024)
#define GRPC_USAGE_PENDING_MAX  (64u * 1024 * 1024)
// Times in milliseconds: for the client's preface and SETTINGS, for a request to arrive as a whole,
// for an answer to be taken, between the two steps of a graceful GOAWAY.
#define GRPC_HANDSHAKE_MS 20000
#define GRPC_REQUEST_MS   60000
#define GRPC_ANSWER_MS    120000
#define GRPC_GOAWAY_MS    1000

// grpc_session_deadline: nothing to wait for.
#define GRPC_NEVER UINT64_MAX

struct grpc_session;

// What the sessions of one server hold together, against the GRPC_USAGE limits. Zeroed at birth;
// outlives the sessions.
struct grpc_usage {
    size_t calls;
    size_t received;
    size_t pending;
};

struct grpc_session_config {
    const struct rpc_service *const *services; // NULL-terminated, borrowed
    struct grpc_usage *usage;                  // borrowed
    uint64_t (*clock)(void *arg);              // monotonic, milliseconds
    // Output, the deadline or the number of calls may have changed, from outside of this
    // interface (a method ended a call later). Must not call back into the session.
    void (*wake)(void *arg);
    void *arg;
};

// A session with the server's SETTINGS ready to be sent. The configuration is copied. NULL without
// memory.
struct grpc_session *grpc_session_new(const struct grpc_session_config *config);

// The connection is gone: cancels the open calls. Calls whose methods do not take a cancellation
// still count in grpc_session_calls until the methods end them. Only grpc_session_calls and
// grpc_session_free are allowed afterwards.
void grpc_session_close(struct grpc_session *s);

// Closes if that has not been done. Methods that still run may end their calls later; nothing of
// the session is touched by that. Not from inside a method. Accepts NULL. Returns NULL.
struct grpc_session *grpc_session_free(struct grpc_session *s);

// Takes bytes of the peer, in pieces of any size, and runs the methods that have become due.
// Returns 0, or -1 with *err set when the session is broken beyond a GOAWAY: close it.
int grpc_session_receive(struct grpc_session *s, const uint8_t *data, size_t len,
                         struct error *err);

// Writes at most `cap` bytes for the peer to `out`. Returns their number; 0 when there is nothing
// to send now.
size_t grpc_session_send(struct grpc_session *s, uint8_t *out, size_t cap);

// When grpc_session_expire wants to be called (the configured clock), or GRPC_NEVER.
uint64_t grpc_session_deadline(const struct grpc_session *s);

// Acts on deadlines that have passed. Returns 0, or -1 with *err set: close the session.
int grpc_session_expire(struct grpc_session *s, struct error *err);

// Announces the end: two GOAWAYs, the second after a round trip or GRPC_GOAWAY_MS, so that requests
// that are on their way are still served. Open calls go on. There is output afterwards.
void grpc_session_drain(struct grpc_session *s);

// True when nothing will be read or written any more: flush what grpc_session_send gave and close.
bool grpc_session_finished(const struct grpc_session *s);

// Calls that are received, served or answered now.
size_t grpc_session_calls(const struct grpc_session *s);

// Why we ended the session, or NULL (no reason of ours). Static text.
const char *grpc_session_reason(const struct grpc_session *s);

#endif
