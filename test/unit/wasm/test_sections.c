// Compiled code in a module: found, and cut out, however it is written.
#include "engine/wasmedge/sections.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define MODULE "\0asm\1\0\0\0"
#define TYPES  "\1\4\1\x60\0\0"
#define CODE   "\0\x0d\x08wasmedgecode"
// The name's length, and the section's, in more bytes than they need.
#define LONG_NAME "\0\x0f\x88\x80\0wasmedgecode"
#define LONG_SIZE "\0\x8d\x80\x80\x80\0\x08wasmedgecode"
// A section of another name, and one that is no custom section.
#define OTHER  "\0\x0d\x08wasmedgEcode"
#define LONGER "\0\x0e\x09wasmedge2code"
#define TYPED  "\1\x0d\x08wasmedgecode"
// A name that ends behind its section.
#define NAME_CUT "\0\x05\x08wasm"

#define BYTES(text) ((const uint8_t *)(text)), sizeof(text) - 1

static void cut(const uint8_t *bytes, size_t len, const uint8_t *want, size_t want_len)
{
    struct error err = {0};
    size_t n = 0;
    uint8_t *copy = sections_without_code(bytes, len, &n, &err);
    cr_assert(copy, "%s", err.text);
    cr_expect(n == want_len && memcmp(copy, want, n) == 0, "%zu bytes of %zu", n, len);
    free(copy);
}

Test(sections, code_is_cut_out_wherever_it_is)
{
    cut(BYTES(MODULE CODE TYPES), BYTES(MODULE TYPES));
    cut(BYTES(MODULE TYPES CODE), BYTES(MODULE TYPES));
    cut(BYTES(MODULE CODE CODE TYPES CODE), BYTES(MODULE TYPES));
    cut(BYTES(MODULE LONG_NAME TYPES LONG_SIZE), BYTES(MODULE TYPES));
}

Test(sections, all_else_is_as_it_was)
{
    cut(BYTES(MODULE), BYTES(MODULE));
    cut(BYTES(MODULE TYPES), BYTES(MODULE TYPES));
    cut(BYTES(MODULE OTHER LONGER TYPED NAME_CUT), BYTES(MODULE OTHER LONGER TYPED NAME_CUT));
}

static void refused(const uint8_t *bytes, size_t len)
{
    struct error err = {0};
    size_t n = 0;
    uint8_t *copy = sections_without_code(bytes, len, &n, &err);
    cr_expect_null(copy);
    free(copy);
    cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT, "%s", err.text);
    cr_expect_not(sections_end_with_code(bytes, len));
}

Test(sections, what_is_longer_than_the_file_is_refused)
{
    refused(BYTES(MODULE "\1"));
    refused(BYTES(MODULE "\1\5\1\x60\0\0"));
    refused(BYTES(MODULE "\1\xff\xff\xff\xff\x0f"));
    refused(BYTES(MODULE "\1\x80"));
    refused(BYTES(MODULE "\1\x80\x80\x80\x80\x80\0")); // of more than 32 bits
    refused(BYTES(MODULE CODE "\0"));
}

Test(sections, what_the_compiler_writes_ends_with_code)
{
    cr_expect(sections_end_with_code(BYTES(MODULE CODE)));
    cr_expect(sections_end_with_code(BYTES(MODULE TYPES CODE)));
    cr_expect(sections_end_with_code(BYTES(MODULE CODE TYPES LONG_NAME)));
    cr_expect_not(sections_end_with_code(BYTES(MODULE)));
    cr_expect_not(sections_end_with_code(BYTES(MODULE CODE TYPES)));
    cr_expect_not(sections_end_with_code(BYTES(MODULE TYPES OTHER)));
    cr_expect_not(sections_end_with_code(BYTES("\177ELF\1\0\0\0" CODE)));
    cr_expect_not(sections_end_with_code(BYTES("\0asm\1\0\0")));
    cr_expect_not(sections_end_with_code(BYTES("")));
}
