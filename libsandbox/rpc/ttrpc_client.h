// A ttrpc client on a unix socket: unary calls, connected when first needed.
#ifndef RPC_TTRPC_CLIENT_H
#define RPC_TTRPC_CLIENT_H

#include <ev.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

// Most calls open at a time; one more is RESOURCE_EXHAUSTED.
#define TTRPC_CLIENT_CALLS_MAX 4096

struct ttrpc_client;

// Called once from the loop: err == NULL on success, `data` is valid during the call. It may make
// calls, forget others and free the client.
typedef void (*ttrpc_reply_fn)(const uint8_t *data, size_t len, const struct error *err, void *arg);

// `path` is copied. `closed` (may be NULL) is called whenever an established connection ends, after
// its calls have failed; not by ttrpc_client_free. NULL without memory or with a path over 107
// bytes.
struct ttrpc_client *ttrpc_client_new(struct ev_loop *loop, const char *path,
                                      void (*closed)(void *arg), void *arg);
// Open calls fail with CANCELLED, from inside this call. Accepts NULL. Returns NULL.
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

#endif
