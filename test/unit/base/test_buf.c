#include "base/buf.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(buf, appends_and_grows)
{
    struct buf b;
    buf_init(&b, 1000);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(buf_append(&b, "x", 1), 0);
    cr_assert_eq(b.len, 1000);
    cr_assert_leq(b.cap, 1001);
    cr_assert_eq(strlen(buf_cstr(&b)), 1000);
    buf_free(&b);
}

Test(buf, never_holds_more_than_its_maximum)
{
    struct buf b;
    buf_init(&b, 4);
    cr_assert_eq(buf_append(&b, "abcde", 5), -EMSGSIZE);
    cr_assert_eq(b.len, 0);
    cr_assert_eq(buf_append(&b, "abcd", 4), 0);
    cr_assert_eq(buf_append(&b, "e", 1), -EMSGSIZE);
    cr_assert_eq(buf_append(&b, "", 0), 0);
    cr_assert_str_eq(buf_cstr(&b), "abcd");
    buf_free(&b);
}

Test(buf, refuses_sizes_that_overflow)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    cr_assert_eq(buf_append(&b, "ab", 2), 0);
    cr_assert_eq(buf_reserve(&b, SIZE_MAX), -EMSGSIZE);
    cr_assert_eq(buf_reserve(&b, SIZE_MAX - 1), -EMSGSIZE);
    cr_assert_eq(b.len, 2);
    buf_free(&b);
}

Test(buf, failure_keeps_the_contents)
{
    struct buf b;
    buf_init(&b, 8);
    cr_assert_eq(buf_printf(&b, "%s", "abc"), 0);
    cr_assert_eq(buf_printf(&b, "%s", "0123456789"), -EMSGSIZE);
    cr_assert_str_eq(buf_cstr(&b), "abc");
    buf_free(&b);
}

Test(buf, printf_fills_up_to_the_maximum)
{
    struct buf b;
    buf_init(&b, 6);
    cr_assert_eq(buf_printf(&b, "%d", 123), 0);
    cr_assert_eq(b.data[3], '\0');
    cr_assert_eq(buf_printf(&b, "%d", 456), 0);
    cr_assert_eq(b.len, 6);
    cr_assert_str_eq((const char *)b.data, "123456");
    buf_free(&b);
}

Test(buf, consume_drops_from_the_front)
{
    struct buf b;
    buf_init(&b, 16);
    buf_append(&b, "abcdef", 6);
    buf_consume(&b, 2);
    cr_assert_str_eq(buf_cstr(&b), "cdef");
    buf_consume(&b, 0);
    cr_assert_eq(b.len, 4);
    buf_consume(&b, 100);
    cr_assert_eq(b.len, 0);
    buf_free(&b);
}

Test(buf, empty_is_the_empty_string)
{
    struct buf b;
    buf_init(&b, 0);
    cr_assert_null(b.data);
    cr_assert_str_empty(buf_cstr(&b));
    cr_assert_eq(buf_append(&b, "x", 1), -EMSGSIZE);
    buf_free(&b);
}

Test(buf, is_usable_after_free_and_clear)
{
    struct buf b;
    buf_init(&b, 16);
    buf_append(&b, "abc", 3);
    buf_clear(&b);
    cr_assert_str_empty(buf_cstr(&b));
    buf_free(&b);
    cr_assert_null(b.data);
    cr_assert_eq(buf_append(&b, "d", 1), 0);
    cr_assert_str_eq(buf_cstr(&b), "d");
    buf_free(&b);
}
