// One request that is being served, whatever carries it (gRPC or ttrpc), and the services that
// serve.
//
// Life of a call: the server makes it and hands it to a method; it ends exactly once, by
// rpc_call_reply, rpc_call_fail, or, if the method asked for that, by its cancel function. After
// the end the pointer is dead. A method may end the call before it returns, or any time later from
// the loop.
//
// A peer that goes away, cancels, or lets the deadline pass: with a cancel function set, the
// function is called and the call is over. Without one the method is not told; the call stays valid
// and the answer is dropped when it comes. (So a method that changes the world may simply run to
// its end.)
#ifndef RPC_CALL_H
#define RPC_CALL_H

#include <stdbool.h>

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/metrics.h"

struct rpc_call;
struct rpc_call_transport;

typedef void (*rpc_cancel_fn)(struct rpc_call *call, void *arg);
typedef void (*rpc_handler)(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx);

// One method of a service; `name` without slashes.
struct rpc_method {
    const char *name;
    rpc_handler handle;
};

// A service: full name ("containerd.task.v3.Task") and a table of methods that ends with {NULL}.
// `ctx` is given to every handler. Borrowed by the servers for their whole life.
//
// If `dispatch` is set it is used instead of `methods` and finds the method itself (it fails the
// call with UNIMPLEMENTED for an unknown one).
struct rpc_service {
    const char *name;
    const struct rpc_method *methods;
    void (*dispatch)(struct rpc_call *call, const char *method, const uint8_t *payload, size_t len,
                     void *ctx);
    void *ctx;
};

// The transport's side: one table per protocol. `end` sends the answer (err NULL) or the error and
// releases what the transport holds for the call; it must accept calls whose peer is gone.
struct rpc_call_transport {
    void (*end)(struct rpc_call *call, const uint8_t *data, size_t len, const struct error *err);
    const char *(*metadata)(struct rpc_call *call, const char *key);
};

// Kinds of answers: as asked; an error that the caller can do something about; an error of ours.
enum rpc_class { RPC_OK, RPC_CALLER_ERROR, RPC_SERVER_ERROR, RPC_CLASS_MAX_ };

// What has become of the calls of one method.
struct rpc_stats {
    struct metrics_histogram took[RPC_CLASS_MAX_];
    uint64_t errors[STATUS_MAX_];
    uint64_t open;
};

// Embedded in the transport's own record of the call.
struct rpc_call {
    const struct rpc_call_transport *transport;
    rpc_cancel_fn cancel;
    void *cancel_arg;
    void *owner; // free for the layer that decodes the request (api/)
    // Called once when the call is over, with its answer handed on. It gets the owner and nothing
    // else: the call may be gone.
    void (*release)(void *owner);
    struct rpc_stats *stats; // rpc_call_count
    uint64_t begun;          // CLOCK_MONOTONIC in nanoseconds
};

// From now on the call is counted in `stats`, which lives as long as it: for the layer that knows
// the method.
void rpc_call_count(struct rpc_call *call, struct rpc_stats *stats);
// Adds METRIC_RPC_SECONDS, METRIC_RPC_ERRORS or METRIC_RPC_OPEN of a method.
void rpc_stats_add(struct metrics_page *p, enum metric m, const char *service, const char *method,
                   const struct rpc_stats *stats);

// Ends the call with a message. `data` is only used during the call.
void rpc_call_reply(struct rpc_call *call, const uint8_t *data, size_t len);
// Ends the call with an error; a status of OK in *err is sent as UNKNOWN.
void rpc_call_fail(struct rpc_call *call, const struct error *err);
// Ends the call with an error made here.
void rpc_call_failf(struct rpc_call *call, enum status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// See above. fn == NULL takes the wish back.
void rpc_call_on_cancel(struct rpc_call *call, rpc_cancel_fn fn, void *arg);
// First value of a metadata key (lower case), borrowed until the call ends; NULL if absent.
const char *rpc_call_metadata(struct rpc_call *call, const char *key);

// For transports: the peer is gone or the time is over. Returns true if a cancel function was
// called (the call has been released and the transport must free it now); false if the method will
// still end it later.
bool rpc_call_cancel(struct rpc_call *call);

// Finds a service by name in a NULL-terminated list. NULL if there is none.
const struct rpc_service *rpc_service_find(const struct rpc_service *const *services,
                                           const char *name, size_t name_len);
// Runs the method (or fails the call with UNIMPLEMENTED, naming it). `method` is NUL-terminated.
void rpc_service_dispatch(const struct rpc_service *service, struct rpc_call *call,
                          const char *method, const uint8_t *payload, size_t len);

#endif
