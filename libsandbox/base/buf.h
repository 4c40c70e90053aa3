// A growable byte buffer with a hard maximum that is given at birth.
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; // owned; NULL while empty
    size_t len;    // bytes used
    size_t cap;    // bytes allocated
    size_t max;    // never more than this
};

// An empty buffer that will never hold more than `max` bytes.
void buf_init(struct buf *b, size_t max);
// Frees the memory; the buffer is empty and usable afterwards.
void buf_free(struct buf *b);
// Makes room for `n` more bytes at data + len. Returns 0, -ENOMEM, or -EMSGSIZE over the maximum;
// the contents are unchanged on failure.
int buf_reserve(struct buf *b, size_t n);
// Appends bytes. Errors as buf_reserve.
int buf_append(struct buf *b, const void *data, size_t n);
// Appends formatted text (the NUL is kept behind the end, not counted). Errors as buf_reserve.
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Drops `n` bytes (at most len) from the front.
void buf_consume(struct buf *b, size_t n);
// Keeps the memory, forgets the bytes.
void buf_clear(struct buf *b);
// The contents as a C string (a NUL is put behind the end). NULL when there is no memory for it.
const char *buf_cstr(struct buf *b);

#endif
