// A ttrpc client on a unix socket, or behind one on a virtual machine's vsock: unary calls and
// streams, connected when first needed.
#ifndef RPC_TTRPC_CLIENT_H
#define RPC_TTRPC_CLIENT_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

// Most calls open at a time; one more is RESOURCE_EXHAUSTED.
#define TTRPC_CLIENT_CALLS_MAX 4096
// Unsent bytes above which streams must wait.
#define TTRPC_CLIENT_UNSENT_MAX (256u * 1024)

struct ttrpc_client;

// Called once from the loop: err == NULL on success, `data` is valid during the call. It may make
// calls, forget others and free the client.
typedef void (*ttrpc_reply_fn)(const uint8_t *data, size_t len, const struct error *err, void *arg);

// `path` is copied. `closed` (may be NULL) is called whenever an established connection ends, after
// its calls have failed; not by ttrpc_client_free. NULL without memory or with a path over 107
// bytes.
struct ttrpc_client *ttrpc_client_new(struct ev_loop *loop, const char *path,
                                      void (*closed)(void *arg), void *arg);
// The same for a server that listens on vsock port `port` of the guest whose device is served at
// the unix socket `path` (vhost-device-vsock and Firecracker: "CONNECT <port>\n", answered by
// "OK <number>\n" or the end of the connection). What the guest says before that is not believed.
struct ttrpc_client *ttrpc_client_new_vsock(struct ev_loop *loop, const char *path, uint32_t port,
                                            void (*closed)(void *arg), void *arg);
// Open calls fail with CANCELLED, from inside this call; streams end with it. Accepts NULL. Returns
// NULL.
struct ttrpc_client *ttrpc_client_free(struct ttrpc_client *c);

// Connects if needed and sends a request. `timeout` in seconds (0: none) is sent along and enforced
// here. `metadata` may be NULL, else pairs of key and value ending with NULL. Returns a number > 0
// for ttrpc_client_forget, or 0 with *err set (UNAVAILABLE when nobody listens) and fn is not
// called.
uint64_t ttrpc_client_call(struct ttrpc_client *c, const char *service, const char *method,
                           const uint8_t *payload, size_t len, double timeout,
                           const char *const *metadata, ttrpc_reply_fn fn, void *arg,
                           struct error *err);
// The answer is no longer wanted; fn is not called.
void ttrpc_client_forget(struct ttrpc_client *c, uint64_t number);
// Opens the connection now if it is closed. Returns 0 or -1 with *err set.
int ttrpc_client_connect(struct ttrpc_client *c, struct error *err);

// ---- streams -----------------------------------------------------------------------------------

// One that we have opened: messages in both directions until each side has ended its own.
struct ttrpc_stream;

// Called from the loop (`ended` also by ttrpc_client_free); each may free the stream.
struct ttrpc_stream_events {
    void (*message)(const uint8_t *data, size_t len, void *arg);
    // After ttrpc_stream_room was false: it is true again.
    void (*writable)(void *arg);
    // Nothing more comes. err NULL: the peer has ended its side, and is waiting for our end (if it
    // has not come). Else the stream is over: the peer failed it, or the connection was lost.
    void (*ended)(const struct error *err, void *arg);
};

// Opens a stream with a request. `events` is borrowed. NULL with *err set, as a call.
struct ttrpc_stream *ttrpc_stream_open(struct ttrpc_client *c, const char *service,
                                       const char *method, const uint8_t *payload, size_t len,
                                       const struct ttrpc_stream_events *events, void *arg,
                                       struct error *err);
// Whether there is room for a message. If not, `writable` follows.
bool ttrpc_stream_room(struct ttrpc_stream *st);
// Sends a message. Returns 0, -EPIPE when it is over or we have ended, or -EMSGSIZE over 4 MiB.
int ttrpc_stream_send(struct ttrpc_stream *st, const uint8_t *data, size_t len);
// Ends our side. Idempotent.
void ttrpc_stream_end(struct ttrpc_stream *st);
// Ends our side if it is not, and forgets the stream: no event comes any more. Accepts NULL.
// Returns NULL.
struct ttrpc_stream *ttrpc_stream_free(struct ttrpc_stream *st);

#endif
