// Asking a daemon, with a deadline. The caller waits; nothing else runs meanwhile.
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include <ev.h>
#include <protobuf-c/protobuf-c.h>

#include "base/error.h"

// One call of the Inspect service at `socket`. Returns the decoded answer (api_message_free), or
// NULL: NOT_FOUND without such a socket, UNAVAILABLE when nobody listens, DEADLINE_EXCEEDED after
// `timeout` seconds, UNIMPLEMENTED from a daemon that is too old, or what it answered.
ProtobufCMessage *client_ask(struct ev_loop *loop, const char *socket, const char *method,
                             const ProtobufCMessage *request,
                             const ProtobufCMessageDescriptor *answer, double timeout,
                             struct error *err);

// What can be done about a daemon that does not answer: a remedy to `why`. Borrowed.
const char *client_remedy(const struct error *why);

#endif
