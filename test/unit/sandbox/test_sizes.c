#include "sandbox/sizes.h"

#include <criterion/criterion.h>
#include <string.h>

static int update(struct sandbox_sizes *s, const char *text, struct error *err)
{
    _cleanup_json_ json_object *o = json_parse(text, strlen(text), "update", err);
    cr_assert(o, "%s", err->text);
    return sizes_update(s, o, err);
}

Test(sizes, what_an_update_has_replaces_what_was_there)
{
    struct sandbox_sizes s = {.resources = {.cpu_shares = 512, .memory_limit_in_bytes = 100}};
    struct error err = {0};
    cr_assert_eq(update(&s,
                        "{\"Overhead\":{\"memory_limit_in_bytes\":5},"
                        "\"Resources\":{\"cpu_shares\":700,\"cpu_quota\":-1}}",
                        &err),
                 0, "%s", err.text);
    cr_expect_eq(s.resources.cpu_shares, 700);
    cr_expect_eq(s.resources.cpu_quota, -1);
    cr_expect_eq(s.resources.memory_limit_in_bytes, 100, "not given, not changed");
    cr_expect_eq(s.overhead.memory_limit_in_bytes, 5);
    cr_expect_null(s.beyond);
    cr_assert_eq(update(&s, "{\"Overhead\":null,\"Resources\":null}", &err), 0);
    cr_assert_eq(update(&s, "{}", &err), 0);
    cr_expect_eq(s.resources.cpu_shares, 700);
}

Test(sizes, bad_updates_name_the_field_and_change_nothing)
{
    static const struct {
        const char *text, *names;
    } cases[] = {
        {"[]", "object"},
        {"{\"Resources\":5}", "Resources"},
        {"{\"Resources\":{\"memory_limit_in_bytes\":\"much\"}}", "memory_limit_in_bytes"},
        {"{\"Resources\":{\"memory_limit_in_bytes\":-2}}", "Resources.memory_limit_in_bytes"},
        {"{\"Resources\":{\"memory_limit_in_bytes\":9223372036854775807}}", "memory"},
        {"{\"Resources\":{\"cpu_shares\":1}}", "Resources.cpu_shares"},
        {"{\"Resources\":{\"cpu_shares\":-1}}", "Resources.cpu_shares"},
        {"{\"Resources\":{\"cpu_quota\":999}}", "Resources.cpu_quota"},
        {"{\"Resources\":{\"cpu_period\":999}}", "Resources.cpu_period"},
        {"{\"Resources\":{\"cpu_shares\":7},\"Overhead\":{\"cpu_period\":1000001}}",
         "Overhead.cpu_period"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sandbox_sizes s = {.resources = {.cpu_shares = 512}};
        struct error err = {0};
        cr_expect_eq(update(&s, cases[i].text, &err), -1, "%s", cases[i].text);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
        cr_expect(strstr(err.text, cases[i].names), "%s: %s", cases[i].text, err.text);
        cr_expect_eq(s.resources.cpu_shares, 512);
        cr_expect_eq(s.overhead.cpu_period, 0);
    }
}

Test(sizes, fields_that_are_no_size_are_told)
{
    static const char *const given[] = {
        "{\"Resources\":{\"cpuset_cpus\":\"0\"}}",
        "{\"Resources\":{\"unified\":{\"memory.high\":\"1\"}}}",
        "{\"Overhead\":{\"hugepage_limits\":[{\"page_size\":\"2MB\",\"limit\":5}]}}",
        "{\"Resources\":{\"memory_swap_limit_in_bytes\":5}}",
    };
    static const char *const absent =
        "{\"Resources\":{\"cpuset_cpus\":\"\",\"unified\":{},\"hugepage_limits\":[],"
        "\"memory_swap_limit_in_bytes\":0,\"oom_score_adj\":-998}}";
    struct sandbox_sizes s = {.beyond = NULL};
    struct error err = {0};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        cr_assert_eq(update(&s, given[i], &err), 0);
        cr_expect(s.beyond && strstr(given[i], s.beyond), "%s", given[i]);
    }
    cr_assert_eq(update(&s, absent, &err), 0);
    cr_expect_null(s.beyond);
}

Test(sizes, of_a_configuration)
{
    Cri__PodSandboxConfig c = CRI__POD_SANDBOX_CONFIG__INIT;
    Cri__LinuxPodSandboxConfig l = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
    Cri__LinuxContainerResources r = CRI__LINUX_CONTAINER_RESOURCES__INIT;
    struct sandbox_sizes s = {.resources = {.cpu_shares = 5}};
    struct error err = {0};
    cr_assert_eq(sizes_from_config(&s, NULL, &err), 0);
    cr_expect_eq(s.resources.cpu_shares, 0);
    c.linux_ = &l;
    l.resources = &r;
    r.memory_limit_in_bytes = 4096;
    cr_assert_eq(sizes_from_config(&s, &c, &err), 0);
    cr_expect_eq(s.resources.memory_limit_in_bytes, 4096);
    l.overhead = &r;
    r.memory_limit_in_bytes = -5;
    l.resources = NULL;
    cr_assert_eq(sizes_from_config(&s, &c, &err), -1);
    cr_expect(strstr(err.text, "linux.overhead.memory_limit_in_bytes"), "%s", err.text);
}

Test(sizes, json_and_back)
{
    const struct sandbox_resources r = {.cpu_quota = -1, .memory_limit_in_bytes = 4096};
    struct sandbox_resources back = {.cpu_period = 1};
    struct error err = {0};
    _cleanup_json_ json_object *o = resources_to_json(&r);
    cr_assert_eq(resources_from_json(&back, o, "resources", &err), 0);
    cr_expect_eq(memcmp(&r, &back, sizeof r), 0);
    cr_assert_eq(resources_from_json(&back, NULL, "resources", &err), 0);
    cr_expect_eq(back.memory_limit_in_bytes, 0);
}

static void expect_limits(struct sandbox_sizes s, int64_t shares, int64_t quota, int64_t period,
                          int64_t memory)
{
    struct cgroup_limits l = sizes_limits(&s);
    cr_expect_eq(l.cpu_shares, shares, "shares %lld", (long long)l.cpu_shares);
    cr_expect_eq(l.cpu_quota, quota, "quota %lld", (long long)l.cpu_quota);
    cr_expect_eq(l.cpu_period, period, "period %lld", (long long)l.cpu_period);
    cr_expect_eq(l.memory, memory, "memory %lld", (long long)l.memory);
}

Test(sizes, the_overhead_is_added)
{
    expect_limits((struct sandbox_sizes){.resources = {50000, 25000, 512, 4096},
                                         .overhead = {100000, 10000, 100, 1024}},
                  612, 30000, 50000, 5120);
    // What is not limited stays so, whatever the overhead.
    expect_limits((struct sandbox_sizes){.overhead = {100000, 10000, 100, 1024}}, 0, 0, 100000, 0);
    expect_limits(
        (struct sandbox_sizes){.resources = {0, -1, 262144, -1}, .overhead = {0, 10000, 100, 1024}},
        262144, -1, 100000, -1);
}
