#include "shim/wire.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static void expect_bytes(struct buf *b, const char *want, size_t len)
{
    cr_expect_eq(b->len, len);
    cr_expect(b->len == len && memcmp(b->data, want, len) == 0);
    buf_free(b);
}

// Bytes as protoc writes them.
Test(wire, writes_what_protobuf_writes)
{
    struct buf b;
    buf_init(&b, 4096);
    cr_assert_eq(wire_put_uint(&b, 1, 150), 0);
    expect_bytes(&b, "\x08\x96\x01", 3);
    cr_assert_eq(wire_put_uint(&b, 2, UINT64_MAX), 0);
    expect_bytes(&b, "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
    cr_assert_eq(wire_put_text(&b, 2, "testing"), 0);
    expect_bytes(&b, "\x12\x07testing", 9);
    cr_assert_eq(wire_put_any(&b, 4, "t", "v", 1), 0);
    expect_bytes(&b, "\x22\x06\x0a\x01t\x12\x01v", 8);
    cr_assert_eq(wire_put_uint(&b, 20, 1), 0);
    expect_bytes(&b, "\xa0\x01\x01", 3);
}

Test(wire, default_values_are_left_out)
{
    struct buf b;
    buf_init(&b, 16);
    cr_assert_eq(wire_put_uint(&b, 1, 0), 0);
    cr_assert_eq(wire_put_text(&b, 1, ""), 0);
    cr_assert_eq(wire_put_bytes(&b, 1, NULL, 0), 0);
    cr_expect_eq(b.len, 0u);
    buf_free(&b);
}

Test(wire, a_full_buffer_is_an_error)
{
    struct buf b;
    buf_init(&b, 4);
    cr_expect_lt(wire_put_text(&b, 1, "long text"), 0);
    buf_free(&b);
}

Test(wire, finds_the_last_field_of_a_number)
{
    static const char message[] = "\x08\x01\x12\x01"
                                  "a\x15"
                                  "1234\x12\x02"
                                  "bc\x19"
                                  "12345678";
    struct wire_field f;
    cr_assert(wire_find(message, sizeof message - 1, 2, &f));
    cr_expect(f.len == 2 && memcmp(f.data, "bc", 2) == 0);
    cr_expect_not(wire_find(message, sizeof message - 1, 1, &f), "a number, not bytes");
    cr_expect_not(wire_find(message, sizeof message - 1, 7, &f));
    cr_expect_not(wire_find("", 0, 1, &f));
}

Test(wire, malformed_bytes_end_the_message)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"\x12\x05"
         "ab",
         4},
        {"\x12", 1},
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},
        {"\x13\x01", 2},
        {"\x02\x01"
         "a",
         3},
        {"\x15"
         "123",
         4},
        {"\xff", 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        // Exactly as long as it is, so that a sanitizer sees every read past the end.
        uint8_t *exact = malloc(cases[i].len);
        memcpy(exact, cases[i].bytes, cases[i].len);
        struct wire_reader r = {exact, cases[i].len};
        struct wire_field f;
        cr_expect_not(wire_next(&r, &f), "%zu", i);
        cr_expect_not(wire_next(&r, &f), "%zu", i);
        free(exact);
    }
}
