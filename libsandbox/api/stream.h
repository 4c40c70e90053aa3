// The messages of containerd's streaming service: each is an Any (streaming.proto).
//
// One stream carries bytes one way: `Data` that way, `WindowUpdate` back. The sender of bytes stays
// within what the receiver has allowed. (containerd core/transfer/streaming.)
#ifndef API_STREAM_H
#define API_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

// What containerd allows at a time, and allows again when less is left.
#define STREAM_WINDOW (64u * 1024)
// Most bytes in one Data: containerd reads into a buffer of this size and counts only what fits.
#define STREAM_DATA_MAX (32u * 1024)
// Room for what stream_data_header writes.
#define STREAM_HEADER_MAX 64
// Room for a whole WindowUpdate, or Empty.
#define STREAM_SMALL_MAX 96

// Longest id that stream_init_encode takes.
#define STREAM_INIT_ID_MAX 100
// Room for what it writes.
#define STREAM_INIT_MAX (STREAM_SMALL_MAX + STREAM_INIT_ID_MAX)

// EMPTY is the answer to INIT.
enum stream_kind { STREAM_INIT, STREAM_DATA, STREAM_UPDATE, STREAM_EMPTY };

struct stream_message {
    enum stream_kind kind;
    const char *id;      // INIT
    const uint8_t *data; // DATA; NULL if len is 0
    size_t len;
    uint32_t update;   // UPDATE: 1 to INT32_MAX
    void *any, *inner; // owned
};

// Reads one message. INVALID_ARGUMENT for anything else than the four kinds, and for an update
// that is not positive; *ret is untouched then. 0 or -1. Free with stream_message_done.
int stream_message_parse(const uint8_t *data, size_t len, struct stream_message *ret,
                         struct error *err);
void stream_message_done(struct stream_message *m);

// Writes what comes before `len` bytes of data (at most STREAM_DATA_MAX) in an encoded Data, so
// that it ends at `end`. Returns its length, at most STREAM_HEADER_MAX.
size_t stream_data_header(uint8_t *end, size_t len);
// Encodes a WindowUpdate. Returns its length.
size_t stream_update_encode(uint8_t out[STREAM_SMALL_MAX], uint32_t update);
// Encodes an Empty, the answer to StreamInit. Returns its length.
size_t stream_empty_encode(uint8_t out[STREAM_SMALL_MAX]);
// Encodes a StreamInit; `id` has at most STREAM_INIT_ID_MAX bytes. Returns its length.
size_t stream_init_encode(uint8_t out[STREAM_INIT_MAX], const char *id);

#endif
