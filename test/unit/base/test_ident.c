#include "base/ident.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/cleanup.h"

static char *repeat(char *out, char c, size_t n)
{
    memset(out, c, n);
    out[n] = '\0';
    return out;
}

Test(ident, takes_what_containerd_takes)
{
    static const char *const good[] = {"a",       "A9", "default",   "swarmkit.docker.io",
                                       "a-b_c.d", "0",  "5d1b8d4d2a"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        cr_assert(ident_valid(good[i]), "%s", good[i]);
}

Test(ident, refuses_what_containerd_refuses)
{
    static const char *const bad[] = {
        "",    ".",        "..",   "-a", "a-", "a..b",     "a.-b",     "a/b",     "../etc", "a b",
        "a\n", "\x1b[31m", "a\tb", "_a", "a_", "\xc3\xa4", "foo.bar.", "foo/foo", ":a",     "a%s"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err = {0};
        cr_assert_not(ident_valid(bad[i]), "%s", bad[i]);
        cr_assert_eq(ident_check(bad[i], "sandbox_id", &err), -1);
        cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
        cr_assert_eq(strncmp(err.text, "sandbox_id: ", 12), 0, "%s", err.text);
    }
    cr_assert_not(ident_valid(NULL));
}

Test(ident, length_is_limited)
{
    char id[IDENT_MAX + 2];
    cr_assert(ident_valid(repeat(id, 'a', IDENT_MAX)));
    cr_assert_not(ident_valid(repeat(id, 'a', IDENT_MAX + 1)));
}

Test(ident, error_shows_a_printable_short_form)
{
    struct error err = {0};
    char id[5000];
    ident_check("a\n\x1b\"b", "id", &err);
    cr_assert(strstr(err.text, "\"a\\x0a\\x1b\\x22b\""), "%s", err.text);
    ident_check(repeat(id, '\x01', sizeof id - 1), "id", &err);
    cr_assert(strstr(err.text, "\\x01...\""), "%s", err.text);
    cr_assert(strstr(err.text, "1 to 76"), "%s", err.text);
    ident_check(NULL, "id", &err);
    cr_assert_str_eq(err.text, "id: must not be empty");
}

Test(ident, success_does_not_touch_the_error)
{
    struct error err = {.status = STATUS_ABORTED, .text = "old"};
    cr_assert_eq(ident_check("abc", "id", &err), 0);
    cr_assert_eq(ident_path_check("/a/b", "bundle", &err), 0);
    cr_assert_eq(err.status, STATUS_ABORTED);
    cr_assert_str_eq(err.text, "old");
}

Test(ident, paths)
{
    static const struct {
        const char *path;
        bool good;
    } rows[] = {
        {"/", true},          {"/run/x", true},  {"/a//b/", true}, {"/a/...", true},
        {"/a/.hidden", true}, {"/a/b..c", true}, {"", false},      {"a", false},
        {"./a", false},       {"/.", false},     {"/..", false},   {"/a/../b", false},
        {"/a/./b", false},    {"/a/..", false},  {"/a/.", false},  {"//..//", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct error err = {0};
        cr_assert_eq(ident_path_check(rows[i].path, "bundle", &err), rows[i].good ? 0 : -1, "%s",
                     rows[i].path);
        cr_assert_eq(err.status, rows[i].good ? STATUS_OK : STATUS_INVALID_ARGUMENT);
    }
    cr_assert_eq(ident_path_check(NULL, "bundle", NULL), -1);
}

Test(ident, path_length_is_limited)
{
    char path[IDENT_PATH_MAX + 2];
    repeat(path, 'a', IDENT_PATH_MAX);
    path[0] = '/';
    cr_assert_eq(ident_path_check(path, "p", NULL), 0);
    repeat(path, 'a', IDENT_PATH_MAX + 1);
    path[0] = '/';
    struct error err = {0};
    cr_assert_eq(ident_path_check(path, "p", &err), -1);
    cr_assert(strstr(err.text, "too long"), "%s", err.text);
}
