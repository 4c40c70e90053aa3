// As much of the protobuf wire format as a shim needs: a program that runs for a millisecond is
// better off without generated code and a library for three small messages.
#ifndef SHIM_WIRE_H
#define SHIM_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

// Append a field. Return 0, or an errno as buf_append does. A field with proto3's default value (0,
// nothing) is left out.
int wire_put_uint(struct buf *out, unsigned field, uint64_t value);
int wire_put_bytes(struct buf *out, unsigned field, const void *data, size_t len);
int wire_put_text(struct buf *out, unsigned field, const char *text);
// google.protobuf.Any {1 type_url, 2 value} as a field.
int wire_put_any(struct buf *out, unsigned field, const char *type_url, const void *data,
                 size_t len);

// A field that was read; data points into the message.
struct wire_field {
    unsigned number;
    uint64_t value;      // of a varint, else 0
    const uint8_t *data; // of a length-delimited field, else NULL
    size_t len;
};
struct wire_reader {
    const uint8_t *data;
    size_t len;
};
// The next field. False at the end of the message, and for good at the first malformed byte.
bool wire_next(struct wire_reader *r, struct wire_field *f);
// The last length-delimited field with that number. False if there is none.
bool wire_find(const void *data, size_t len, unsigned number, struct wire_field *f);

#endif
