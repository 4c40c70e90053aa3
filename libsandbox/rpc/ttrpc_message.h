// The envelopes of ttrpc (its Request and Response messages, google.rpc.Status in the latter), read
// and written by hand: bounded, without allocation.
//
// Numbers: Request{1 service, 2 method, 3 payload, 4 timeout_nano, 5 repeated metadata{1 key,
// 2 value}}, Response{1 status, 2 payload}, Status{1 code, 2 message, 3 details}.
//
// Decoding is in place. A protobuf string has at least one length byte in front; once the length is
// read the string is moved down over it by one byte and terminated with NUL. So the bytes handed to
// a decoder are spoiled for anybody else, and what it returns points into them.
#ifndef RPC_TTRPC_MESSAGE_H
#define RPC_TTRPC_MESSAGE_H

#include "rpc/ttrpc.h"

// Decodes a Request. Unknown fields are skipped, the last of a repeated singular field wins.
// Refused with INVALID_ARGUMENT: malformed protobuf, an empty or too long name, strings with NUL or
// bad UTF-8; with RESOURCE_EXHAUSTED: more metadata than the limits of rpc/ttrpc.h. Sets every
// field of *ret but `id` and `flags`. Returns 0 or -1.
int ttrpc_request_decode(uint8_t *data, size_t len, struct ttrpc_request *ret, struct error *err);

// Decodes a Response. Returns 0 with the payload, or -1 with *err set: the peer's status and text,
// or INTERNAL when the message is malformed.
int ttrpc_response_decode(uint8_t *data, size_t len, const uint8_t **ret_payload, size_t *ret_len,
                          struct error *err);

// Bytes that the message takes; may be more than a frame holds.
size_t ttrpc_request_size(const struct ttrpc_request *req);
size_t ttrpc_response_size(size_t payload_len);
// Writes exactly that many bytes.
void ttrpc_request_encode(const struct ttrpc_request *req, uint8_t *out);
void ttrpc_response_encode(const uint8_t *payload, size_t payload_len, uint8_t *out);
// The same for a Response that carries an error. Its text is made valid UTF-8 (a Go peer refuses
// the whole message otherwise): bad bytes become '?'.
size_t ttrpc_error_size(const struct error *err);
void ttrpc_error_encode(const struct error *err, uint8_t *out);

#endif
