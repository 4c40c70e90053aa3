// LinuxResources: every field that is read, and what is none.
#include <criterion/criterion.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/resources.h"

static json_object *object;

static void drop(void)
{
    json_object_put(object);
    object = NULL;
}

TestSuite(oci_resources, .fini = drop);

static struct oci_resources read_good(const char *text)
{
    struct error err = {0};
    struct oci_resources r;
    drop();
    object = json_parse(text, strlen(text), "resources", &err);
    cr_assert(object, "%s", err.text);
    cr_assert_eq(oci_resources_read(object, &r, &err), 0, "%s", err.text);
    return r;
}

Test(oci_resources, every_field)
{
    // Strings and `unified` point into what has been read.
    struct oci_resources r = read_good(
        "{\"memory\":{\"limit\":1000,\"swap\":2000,\"reservation\":500},"
        "\"cpu\":{\"shares\":512,\"quota\":20000,\"period\":50000,\"cpus\":\"0-1\",\"mems\":\"0\"},"
        "\"pids\":{\"limit\":10},\"unified\":{\"memory.high\":\"900\",\"cpu.idle\":\"1\"}}");
    const struct cgroup_limits *l = &r.limits;
    cr_expect(l->memory == 1000 && l->memory_swap == 2000 && l->memory_reservation == 500);
    cr_expect(l->cpu_shares == 512 && l->cpu_quota == 20000 && l->cpu_period == 50000);
    cr_expect_str_eq(l->cpus, "0-1");
    cr_expect_str_eq(l->mems, "0");
    cr_expect_eq(l->pids, 10);
    cr_assert_eq(l->n_unified, 2);
    cr_expect_str_eq(r.unified[0].file, "memory.high");
    cr_expect_str_eq(r.unified[0].value, "900");
    cr_expect_str_eq(r.unified[1].file, "cpu.idle");
}

Test(oci_resources, nothing_changes_what_is_not_there)
{
    static const char *const texts[] = {
        "{}",
        "{\"memory\":{},\"cpu\":{},\"pids\":{},\"unified\":{}}",
        "{\"memory\":null,\"cpu\":{\"cpus\":\"\",\"mems\":\"\"},\"unified\":null}",
        "{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}],\"hugepageLimits\":[]}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct oci_resources r = read_good(texts[i]);
        const struct cgroup_limits *l = &r.limits;
        cr_expect(!l->memory && !l->memory_swap && !l->memory_reservation && !l->cpu_shares &&
                      !l->cpu_quota && !l->pids && !l->cpus && !l->mems && !l->n_unified,
                  "%s", texts[i]);
    }
}

Test(oci_resources, no_limit_is_minus_one)
{
    struct oci_resources r =
        read_good("{\"memory\":{\"limit\":-1,\"swap\":-1},\"cpu\":{\"quota\":-1},\"pids\":{"
                  "\"limit\":-1}}");
    cr_expect(r.limits.memory == -1 && r.limits.memory_swap == -1 && r.limits.cpu_quota == -1 &&
              r.limits.pids == -1);
}

static const struct {
    const char *text, *field;
} bad[] = {
    {"{\"memory\":[]}", "memory"},
    {"{\"memory\":{\"limit\":\"1\"}}", "memory: limit"},
    {"{\"memory\":{\"limit\":1.5}}", "memory: limit"},
    {"{\"memory\":{\"limit\":-2}}", "memory: limit"},
    {"{\"memory\":{\"swap\":true}}", "memory: swap"},
    {"{\"memory\":{\"reservation\":{}}}", "memory: reservation"},
    {"{\"memory\":{\"limit\":2000,\"swap\":1000}}", "memory.swap"},
    {"{\"cpu\":7}", "cpu"},
    {"{\"cpu\":{\"shares\":-5}}", "cpu: shares"},
    {"{\"cpu\":{\"quota\":\"x\"}}", "cpu: quota"},
    {"{\"cpu\":{\"quota\":1000,\"period\":10}}", "cpu.period"},
    {"{\"cpu\":{\"quota\":1000,\"period\":2000000}}", "cpu.period"},
    {"{\"cpu\":{\"cpus\":0}}", "cpu: cpus"},
    {"{\"cpu\":{\"mems\":[]}}", "cpu: mems"},
    {"{\"pids\":{\"limit\":[]}}", "pids: limit"},
    {"{\"pids\":3}", "pids"},
    {"{\"unified\":{\"memory.high\":1}}", "unified"},
    {"{\"unified\":[]}", "unified"},
};

Test(oci_resources, errors_name_the_field)
{
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err = {0};
        struct oci_resources r;
        drop();
        object = json_parse(bad[i].text, strlen(bad[i].text), "resources", &err);
        cr_assert(object);
        cr_expect_eq(oci_resources_read(object, &r, &err), -1, "%s", bad[i].text);
        cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT, "%s", bad[i].text);
        cr_expect(strncmp(err.text, bad[i].field, strlen(bad[i].field)) == 0, "%s: %s", bad[i].text,
                  err.text);
    }
}

Test(oci_resources, no_more_files_than_there_is_room_for)
{
    struct error err = {0};
    struct oci_resources r;
    object = json_object_new_object();
    json_object *unified = json_object_new_object();
    json_object_object_add(object, "unified", unified);
    for (int i = 0; i <= CGROUP_UNIFIED_MAX; i++) {
        char key[16];
        snprintf(key, sizeof(key), "file.%d", i);
        json_object_object_add(unified, key, json_object_new_string("1"));
    }
    cr_assert_eq(oci_resources_read(object, &r, &err), -1);
    cr_assert_eq(err.status, STATUS_INVALID_ARGUMENT);
    json_object_object_del(unified, "file.0");
    cr_assert_eq(oci_resources_read(object, &r, &err), 0);
    cr_assert_eq(r.limits.n_unified, CGROUP_UNIFIED_MAX);
}
