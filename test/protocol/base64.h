// Bytes as the recordings have them.
#ifndef TEST_BASE64_H
#define TEST_BASE64_H

#include <criterion/criterion.h>
#include <nettle/base64.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
    uint8_t *data;
    size_t len;
};

// Free `data`.
static inline struct bytes base64_bytes(const char *text)
{
    struct base64_decode_ctx ctx;
    size_t n = strlen(text);
    struct bytes out = {.data = malloc(BASE64_DECODE_LENGTH(n) + 1),
                        .len = BASE64_DECODE_LENGTH(n) + 1};
    base64_decode_init(&ctx);
    cr_assert(out.data && base64_decode_update(&ctx, &out.len, out.data, n, text) &&
              base64_decode_final(&ctx));
    return out;
}

#endif
