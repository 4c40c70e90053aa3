// Records are read as if an enemy had written them: a wrong pid or cgroup would kill strangers.
#include "support.h"

#include "task/record.h"

#define HEAD "\"version\":1,\"namespace\":\"k8s.io\",\"id\":\"c1\",\"bundle\":\"/run/b\""
#define TAIL "\"kind\":\"oci\",\"engine\":{\"binary\":\"runc\",\"root\":\"/run/r\"}"

#define LONG_64 "0123456789012345678901234567890123456789012345678901234567890123"
#define LONG    LONG_64 LONG_64 LONG_64 LONG_64

static int parse(const char *text, struct task_record *r, struct error *err)
{
    return task_record_parse(text, strlen(text), r, err);
}

Test(record, a_whole_one_is_read)
{
    struct task_record r;
    struct error err = {0};
    cr_assert(
        parse("{" HEAD
              ",\"sandbox\":\"s1\",\"name\":\"web\",\"cgroup\":\"/k8s.io/c1\",\"mounted\":true,"
              "\"engaged\":true,\"stopped\":false,\"init\":{\"pid\":77,\"start_time\":123},"
              "\"execs\":[{\"id\":\"x\",\"process\":{\"pid\":78,\"start_time\":9}}],"
              "\"unknown\":[1,2]," TAIL "}",
              &r, &err) == 0,
        "%s", err.text);
    cr_expect(strcmp(r.ns, "k8s.io") == 0 && strcmp(r.id, "c1") == 0);
    cr_expect(strcmp(r.cgroup, "/k8s.io/c1") == 0 && strcmp(r.sandbox_id, "s1") == 0);
    cr_expect_str_eq(r.name, "web");
    cr_expect(r.mounted && r.engaged && !r.stopped);
    cr_expect(r.init.pid == 77 && r.init.start_time == 123);
    cr_expect(r.n_execs == 1 && r.execs[0].pid.pid == 78);
    task_record_done(&r);
}

Test(record, broken_ones_are_refused)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", ""},
        {"{", ""},
        {"[]", "object"},
        {"{" HEAD "}", "engine"},
        {"{" HEAD ",\"engine\":{}}", "kind"},
        {"{\"version\":2}", "version"},
        {"{\"version\":1," TAIL "}", "namespace"},
        {"{\"version\":1,\"namespace\":\"..\",\"id\":\"c\",\"bundle\":\"/b\"," TAIL "}",
         "namespace"},
        {"{\"version\":1,\"namespace\":\"n\",\"id\":\"a/b\",\"bundle\":\"/b\"," TAIL "}", "id"},
        {"{\"version\":1,\"namespace\":\"n\",\"id\":\"c\",\"bundle\":\"/b/../c\"," TAIL "}",
         "bundle"},
        {"{" HEAD ",\"cgroup\":\"/\"," TAIL "}", "cgroup"},
        {"{" HEAD ",\"name\":7," TAIL "}", "name"},
        {"{" HEAD ",\"name\":\"a\\u0000b\"," TAIL "}", "name"},
        {"{" HEAD ",\"name\":\"" LONG "\"," TAIL "}", "name"},
        {"{" HEAD ",\"cgroup\":\"//\"," TAIL "}", "cgroup"},
        {"{" HEAD ",\"cgroup\":\"/a/../..\"," TAIL "}", "cgroup"},
        {"{" HEAD ",\"init\":{\"pid\":1,\"start_time\":1}," TAIL "}", "init"},
        {"{" HEAD ",\"init\":{\"pid\":0}," TAIL "}", "init"},
        {"{" HEAD ",\"init\":{\"pid\":-1}," TAIL "}", "init"},
        {"{" HEAD ",\"init\":{\"pid\":4294967297}," TAIL "}", "init"},
        {"{" HEAD ",\"init\":{\"pid\":\"7\"}," TAIL "}", "init"},
        {"{" HEAD ",\"mounted\":1," TAIL "}", "mounted"},
        {"{" HEAD ",\"execs\":{}," TAIL "}", "execs"},
        {"{" HEAD ",\"execs\":[7]," TAIL "}", "execs[0]"},
        {"{" HEAD ",\"execs\":[{\"id\":\"..\"}]," TAIL "}", "execs[0]"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct task_record r = {0};
        struct error err = {0};
        cr_expect(parse(rows[i].text, &r, &err) < 0, "%s", rows[i].text);
        cr_expect(strstr(err.text, rows[i].says), "%s: %s", rows[i].text, err.text);
        cr_expect(!r.root && !r.execs);
    }
}

Test(record, too_many_execs_are_refused)
{
    struct task_record r;
    struct error err = {0};
    struct buf b;
    buf_init(&b, TASK_RECORD_MAX);
    buf_printf(&b, "{" HEAD ",\"execs\":[");
    for (int i = 0; i <= TASK_EXECS_MAX; i++)
        buf_printf(&b, "%s{\"id\":\"x%d\"}", i ? "," : "", i);
    buf_printf(&b, "]," TAIL "}");
    cr_expect(task_record_parse(b.data, b.len, &r, &err) < 0);
    cr_expect(strstr(err.text, "execs"), "%s", err.text);
    buf_free(&b);
}
