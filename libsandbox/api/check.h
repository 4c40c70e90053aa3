// Checks the bytes of a protobuf message before anything is allocated for it.
#ifndef API_CHECK_H
#define API_CHECK_H

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"

// Walks `data` along `type` without allocating. Returns 0 if the message may be decoded, or -1 with
// INVALID_ARGUMENT that names message and field ("task.CreateTaskRequest.rootfs.source: ...").
// What is refused is listed at the top of check.c. `data` may be NULL if `len` is 0.
int api_message_check(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len,
                      struct error *err);

// Whether the bytes are UTF-8 without a NUL: what a protobuf string that becomes a C string may be.
bool api_text_valid(const uint8_t *data, size_t len);

#endif
