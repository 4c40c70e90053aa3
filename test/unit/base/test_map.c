#include "base/map.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

Test(map, add_get_remove)
{
    struct map *m = map_new();
    int one = 1, two = 2;
    cr_assert_null(map_get(m, "a"));
    cr_assert_eq(map_add(m, "a", &one), 0);
    cr_assert_eq(map_add(m, "b", &two), 0);
    cr_assert_eq(map_add(m, "a", &two), -EEXIST);
    cr_assert_eq(map_get(m, "a"), &one);
    cr_assert_eq(map_size(m), 2);
    cr_assert_eq(map_remove(m, "a"), &one);
    cr_assert_null(map_remove(m, "a"));
    cr_assert_null(map_get(m, "a"));
    cr_assert_eq(map_size(m), 1);
    cr_assert_null(map_free(m));
    cr_assert_null(map_free(NULL));
}

Test(map, copies_its_keys)
{
    struct map *m = map_new();
    char key[] = "abc";
    map_add(m, key, key);
    key[0] = 'x';
    cr_assert_eq(map_get(m, "abc"), (void *)key);
    cr_assert_null(map_get(m, "xbc"));
    map_free(m);
}

struct seen {
    struct map *m;
    int n;
    bool ordered;
    bool remove;
    int stop_at;
};

static bool see(const char *key, void *value, void *arg)
{
    struct seen *s = arg;
    int number = 0;
    sscanf(key, "key-%d", &number);
    s->ordered &= number == s->n++;
    if (s->remove)
        map_remove(s->m, key);
    return s->n != s->stop_at;
}

static struct map *thousand(void)
{
    struct map *m = map_new();
    for (int i = 0; i < 1000; i++) {
        char key[32];
        snprintf(key, sizeof key, "key-%d", i);
        cr_assert_eq(map_add(m, key, m), 0);
    }
    return m;
}

Test(map, each_visits_in_the_order_of_adding)
{
    struct map *m = thousand();
    struct seen s = {.m = m, .ordered = true};
    map_each(m, see, &s);
    cr_assert_eq(s.n, 1000);
    cr_assert(s.ordered);
    map_free(m);
}

Test(map, each_stops_and_may_remove)
{
    struct map *m = thousand();
    struct seen s = {.m = m, .ordered = true, .stop_at = 10};
    map_each(m, see, &s);
    cr_assert_eq(s.n, 10);
    s = (struct seen){.m = m, .ordered = true, .remove = true};
    map_each(m, see, &s);
    cr_assert_eq(s.n, 1000);
    cr_assert_eq(map_size(m), 0);
    map_free(m);
}
