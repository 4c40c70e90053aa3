#include <criterion/criterion.h>
#include <stdio.h>

#include "task/departed.h"

static uint32_t code_of(const struct departed *d, const char *ns, const char *id, const char *exec)
{
    const struct departed_exit *e = departed_find(d, ns, id, exec);
    return e ? e->code : 999;
}

Test(departed, the_youngest_of_a_name_is_found)
{
    struct departed d = {0};
    const struct timespec at = {.tv_sec = 7};
    cr_expect_eq(code_of(&d, "n", "c", ""), 999);
    departed_add(&d, "n", "c", "", 1, &at);
    departed_add(&d, "n", "c", "e", 2, &at);
    departed_add(&d, "m", "c", "", 3, &at);
    cr_expect_eq(code_of(&d, "n", "c", ""), 1);
    cr_expect_eq(code_of(&d, "n", "c", "e"), 2);
    cr_expect_eq(code_of(&d, "m", "c", ""), 3);
    departed_add(&d, "n", "c", "", 4, &at);
    cr_expect_eq(code_of(&d, "n", "c", ""), 4);
    cr_expect_eq(departed_find(&d, "n", "c", "")->at.tv_sec, 7);
    cr_expect_eq(code_of(&d, "n", "", "c"), 999);
    cr_expect_eq(code_of(&d, "n", "c", "e2"), 999);
    cr_expect_eq(code_of(&d, "n", "cc", ""), 999);
    departed_done(&d);
}

Test(departed, so_many_are_kept_and_no_more)
{
    struct departed d = {0};
    const struct timespec at = {0};
    char id[32];
    for (uint32_t i = 0; i <= TASK_DEPARTED_MAX; i++) {
        snprintf(id, sizeof id, "c%u", i);
        departed_add(&d, "n", id, "", i, &at);
    }
    cr_expect_eq(code_of(&d, "n", "c0", ""), 999);
    cr_expect_eq(code_of(&d, "n", "c1", ""), 1);
    cr_expect_eq(code_of(&d, "n", id, ""), TASK_DEPARTED_MAX);
    departed_done(&d);
}
