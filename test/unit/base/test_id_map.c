#include "base/id_map.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "base/cleanup.h"

Test(id_map, takes_what_containerd_writes)
{
    static const struct {
        const char *text;
        struct id_map want;
    } good[] = {
        {"0:100000:65536", {0, 100000, 65536}}, {"1:0:1", {1, 0, 1}},
        {"0:4294967294:1", {0, 4294967294, 1}}, {"4294967294:0:1", {4294967294, 0, 1}},
        {"0:0:4294967295", {0, 0, 4294967295}}, {"00:0100:010", {0, 100, 10}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct id_map m;
        cr_assert_eq(id_map_parse(good[i].text, &m), 0, "%s", good[i].text);
        cr_assert(m.inside == good[i].want.inside && m.outside == good[i].want.outside &&
                      m.length == good[i].want.length,
                  "%s", good[i].text);
    }
}

Test(id_map, tells_the_hosts_id)
{
    const struct id_map m = {10, 1000, 5}, none = {0, 0, 0}, last = {0, 4294967290, 4};
    uint32_t id = 7;
    cr_expect(id_map_outside(&m, 10, &id) == 0 && id == 1000);
    cr_expect(id_map_outside(&m, 14, &id) == 0 && id == 1004);
    cr_expect_eq(id_map_outside(&m, 15, &id), -ERANGE);
    cr_expect_eq(id_map_outside(&m, 9, &id), -ERANGE);
    cr_expect_eq(id_map_outside(&m, UINT32_MAX, &id), -ERANGE);
    cr_expect_eq(id, 1004, "untouched");
    cr_expect(id_map_outside(&last, 3, &id) == 0 && id == 4294967293);
    cr_expect(id_map_outside(&none, 12, &id) == 0 && id == 12);
}

Test(id_map, refuses_everything_else)
{
    static const char *const bad[] = {
        "",
        "0",
        "0:1",
        "0:1:",
        ":1:1",
        "0::1",
        "0:1:0",
        "0:1:1:",
        "0:1:1,1:2:1",
        "0:1:1 ",
        " 0:1:1",
        "-1:1:1",
        "+1:1:1",
        "0:0x1:1",
        "0:1:a",
        "a:1:1",
        "4294967295:0:1",
        "0:4294967295:1",
        "0:1:4294967295",
        "4294967296:0:1",
        "0:0:4294967296",
        "0:18446744073709551617:1",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct id_map m = {7, 8, 9};
        cr_assert_eq(id_map_parse(bad[i], &m), -EINVAL, "%s", bad[i]);
        cr_assert(m.inside == 7 && m.outside == 8 && m.length == 9, "%s", bad[i]);
    }
}

Test(id_map, equality_ignores_where_nothing_lies)
{
    struct id_maps a = {{0, 1, 0}, {0, 0, 0}}, b = {{0, 2, 0}, {3, 0, 0}};
    cr_assert(id_maps_equal(&a, &b));
    a.uid.length = 1;
    cr_assert_not(id_maps_equal(&a, &b));
    b.uid.length = 1;
    cr_assert_not(id_maps_equal(&a, &b));
    b.uid.outside = 1;
    cr_assert(id_maps_equal(&a, &b));
    b.gid.length = 1;
    cr_assert_not(id_maps_equal(&a, &b));
}
