#include "ctl/table.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/text.h"

static void expect_table(const struct table *t, const char *expected)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    table_print(t, out);
    fclose(out);
    cr_expect_str_eq(text, expected);
    free(text);
}

Test(table, columns_fit_their_widest_cell)
{
    static const char *const headers[] = {"A", "LONG", "C", NULL};
    struct table t;
    table_init(&t, headers);
    expect_table(&t, "A  LONG  C\n");
    table_add(&t, "%d", 12345);
    table_add(&t, "%s", "");
    table_add(&t, "x");
    table_add(&t, "\xc3\xa4\xc3\xb6"); // two characters, four bytes
    table_add(&t, "yes");
    table_add(&t, "z");
    table_add(&t, "alone");
    expect_table(&t, "A      LONG  C\n12345  -     x\n\xc3\xa4\xc3\xb6     yes   z\nalone\n");
    table_done(&t);
}

Test(table, what_would_steer_a_terminal_is_shown_as_a_question_mark)
{
    static const char *const cases[][2] = {
        {"plain", "plain"},
        {"\033[31mred\a", "?[31mred?"},
        {"a\nb\tc\x7f", "a?b?c?"},
        {"\xc2\x9b"
         "31m",
         "??31m"}, // CSI as one character
        {"\xff\xfe", "??"},
        {"\xc3\xa4", "\xc3\xa4"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[32];
        text_clean(out, sizeof out, cases[i][0]);
        cr_expect_str_eq(out, cases[i][1], "case %zu: %s", i, out);
    }
    char cut[4];
    text_clean(cut, sizeof cut, "ab\xc3\xa4");
    cr_expect_str_eq(cut, "ab");
}

Test(table, ages_and_durations)
{
    static const struct {
        long seconds;
        const char *text;
    } ages[] = {{-5, "0s"}, {59, "59s"}, {60, "1m"}, {3599, "59m"}, {86399, "23h"}, {172800, "2d"}};
    static const struct {
        uint64_t ns;
        const char *text;
    } times[] = {{0, "0 ns"},          {999, "999 ns"},       {1000, "1.00 us"},
                 {1250000, "1.25 ms"}, {99900000, "99.9 ms"}, {2000000000, "2.00 s"}};
    char text[32];
    for (size_t i = 0; i < sizeof ages / sizeof *ages; i++) {
        text_age(text, sizeof text, ages[i].seconds);
        cr_expect_str_eq(text, ages[i].text);
    }
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        text_duration(text, sizeof text, times[i].ns);
        cr_expect_str_eq(text, times[i].text);
    }
}
