#include "base/error.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

Test(error, set_formats_and_returns_minus_one)
{
    struct error err = {0};
    cr_assert_eq(error_set(&err, STATUS_NOT_FOUND, "sandbox %s: not found", "abc"), -1);
    cr_assert_eq(err.status, STATUS_NOT_FOUND);
    cr_assert_str_eq(err.text, "sandbox abc: not found");
}

Test(error, accepts_no_target)
{
    cr_assert_eq(error_set(NULL, STATUS_NOT_FOUND, "x"), -1);
    cr_assert_eq(error_errno(NULL, ENOENT, "x"), -1);
    cr_assert_eq(error_wrap(NULL, "x"), -1);
    error_clear(NULL);
}

Test(error, own_text_may_be_an_argument)
{
    struct error err = {0};
    error_set(&err, STATUS_INTERNAL, "inner");
    error_set(&err, STATUS_INTERNAL, "outer(%s)", err.text);
    cr_assert_str_eq(err.text, "outer(inner)");
}

Test(error, errno_adds_reason_and_ignores_the_sign)
{
    struct error err = {0};
    error_errno(&err, -ENOENT, "open %s", "/x");
    cr_assert_eq(err.status, STATUS_NOT_FOUND);
    cr_assert_str_eq(err.text, "open /x: No such file or directory");
    error_errno(&err, EACCES, "open");
    cr_assert_eq(err.status, STATUS_PERMISSION_DENIED);
}

Test(error, errno_keeps_the_reason_behind_a_long_text)
{
    struct error err = {0};
    char longest[2000];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    error_errno(&err, ENOENT, "%s", longest);
    cr_assert_eq(strlen(err.text), ERROR_TEXT_MAX - 1);
    cr_assert(strstr(err.text, "a: No such file or directory"));
}

Test(error, wrap_puts_text_in_front_and_keeps_the_status)
{
    struct error err = {0};
    error_set(&err, STATUS_ABORTED, "inner");
    cr_assert_eq(error_wrap(&err, "outer %d", 1), -1);
    cr_assert_str_eq(err.text, "outer 1: inner");
    cr_assert_eq(err.status, STATUS_ABORTED);
}

Test(error, wrap_never_overflows)
{
    struct error err = {0};
    error_set(&err, STATUS_ABORTED, "inner");
    for (int i = 0; i < 500; i++)
        error_wrap(&err, "layer %d", i);
    cr_assert_eq(strlen(err.text), ERROR_TEXT_MAX - 1);
    cr_assert_eq(strncmp(err.text, "layer 499: layer 498: ", 22), 0);
}

Test(error, long_text_is_cut_at_a_character_boundary)
{
    static const char *const characters[] = {"a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < ARRAY_SIZE(characters); i++)
        for (size_t shift = 0; shift < 4; shift++) {
            char text[3 * ERROR_TEXT_MAX] = "";
            size_t width = strlen(characters[i]);
            memset(text, 'x', shift);
            for (size_t n = shift; n + width < sizeof text; n += width)
                memcpy(text + n, characters[i], width + 1);
            struct error err = {0};
            error_set(&err, STATUS_INTERNAL, "%s", text);
            size_t len = strlen(err.text);
            cr_assert_eq((len - shift) % width, 0, "width %zu shift %zu", width, shift);
            cr_assert_gt(len, ERROR_TEXT_MAX - 1 - width);
        }
}

Test(error, every_status_has_a_name)
{
    for (int i = 0; i < STATUS_MAX_; i++)
        cr_assert(status_name((enum status)i) && *status_name((enum status)i), "%d", i);
    cr_assert_str_eq(status_name(STATUS_UNAUTHENTICATED), "UNAUTHENTICATED");
    cr_assert_str_eq(status_name(STATUS_MAX_), "UNKNOWN");
    cr_assert_str_eq(status_name((enum status) - 1), "UNKNOWN");
}

Test(error, statuses_of_errno_values)
{
    static const struct {
        int errnum;
        enum status status;
    } rows[] = {
        {0, STATUS_OK},
        {ENOENT, STATUS_NOT_FOUND},
        {EEXIST, STATUS_ALREADY_EXISTS},
        {EPERM, STATUS_PERMISSION_DENIED},
        {EINVAL, STATUS_INVALID_ARGUMENT},
        {ENOMEM, STATUS_RESOURCE_EXHAUSTED},
        {EMFILE, STATUS_RESOURCE_EXHAUSTED},
        {ETIMEDOUT, STATUS_DEADLINE_EXCEEDED},
        {EBUSY, STATUS_FAILED_PRECONDITION},
        {ENOSYS, STATUS_UNIMPLEMENTED},
        {ECONNREFUSED, STATUS_UNAVAILABLE},
        {EIO, STATUS_INTERNAL},
        {99999, STATUS_INTERNAL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        cr_assert_eq(status_from_errno(rows[i].errnum), rows[i].status, "%d", rows[i].errnum);
        cr_assert_eq(status_from_errno(-rows[i].errnum), rows[i].status, "%d", -rows[i].errnum);
    }
}

Test(error, clear_forgets)
{
    struct error err = {.status = STATUS_ABORTED, .text = "x"};
    error_clear(&err);
    cr_assert_eq(err.status, STATUS_OK);
    cr_assert_str_empty(err.text);
}
