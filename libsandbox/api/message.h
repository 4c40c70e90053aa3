// Protobuf messages from outside: decoded within limits, and typed services on top of rpc/.
#ifndef API_MESSAGE_H
#define API_MESSAGE_H

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"
#include "rpc/call.h"

// Most memory that one decoded message may take (a small message of empty sub-messages can ask for
// a multiple of its size).
#define API_MESSAGE_MEMORY_MAX (32u * 1024 * 1024)
// Deepest nesting of messages.
#define API_MESSAGE_DEPTH_MAX 32
// Largest answer: ttrpc's largest frame less what wraps the message there.
#define API_REPLY_MAX (4u * 1024 * 1024 - 64)

// Decodes a message. Refused with INVALID_ARGUMENT that names message and field: bytes that are no
// protobuf, strings that are not UTF-8 or hold a NUL (C would silently cut them), a message field
// that is not repeated and occurs twice, nesting or memory over the limits. Unknown fields are
// ignored (they stay in the message, and an encoder writes them again). RESOURCE_EXHAUSTED without
// memory. NULL on error.
//
// Absent strings are "", never NULL; absent messages are NULL; absent bytes have len 0 and may have
// data NULL. Free with api_message_free, never with the generated free functions; nothing in it can
// be freed or replaced alone.
ProtobufCMessage *api_message_decode(const ProtobufCMessageDescriptor *type, const uint8_t *data,
                                     size_t len, struct error *err);
// Accepts NULL.
void api_message_free(ProtobufCMessage *msg);

// A handler of a decoded request. `req` belongs to the call: valid until it ends.
typedef void (*api_handler)(struct rpc_call *call, const ProtobufCMessage *req, void *ctx);

// One row of a service's dispatch table. `name` as in the .proto.
struct api_method {
    const char *name;
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *response;
    api_handler handle;
};

// Most methods of a service; those beyond are served and not counted.
#define API_METHODS_MAX 24

// A service with decoded messages. Embed it, then give `.rpc` to a server. `methods` ends with {0}.
struct api_service {
    struct rpc_service rpc;
    const struct api_method *methods;
    void *ctx;
    struct rpc_stats stats[API_METHODS_MAX]; // by the place in `methods`
    struct rpc_stats unknown;                // of calls for no method
};
// Fills s; s must not move afterwards. `name` and `methods` are borrowed.
void api_service_init(struct api_service *s, const char *name, const struct api_method *methods,
                      void *ctx);
// Adds METRIC_RPC_SECONDS, METRIC_RPC_ERRORS and METRIC_RPC_OPEN of all services.
void api_services_metrics(struct metrics_page *p, const struct api_service *const *services,
                          size_t n);

// Ends the call with a message (encoded here, so it may borrow from the request). The call fails
// instead with RESOURCE_EXHAUSTED over API_REPLY_MAX or without memory, and with INTERNAL, naming
// the field, if a string is not UTF-8 (the peer would refuse the whole answer).
void api_reply(struct rpc_call *call, const ProtobufCMessage *msg);
// Ends the call with google.protobuf.Empty, i.e. zero bytes.
void api_reply_empty(struct rpc_call *call);

// Encodes into fresh memory (free()); never NULL for an empty message. NULL without memory.
uint8_t *api_message_encode(const ProtobufCMessage *msg, size_t *ret_len);

#endif
