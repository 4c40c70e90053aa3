#include "base/metrics.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

struct fixture {
    struct buf out;
    struct metrics_page page;
};

static void begin(struct fixture *f)
{
    buf_init(&f->out, METRICS_PAGE_MAX);
    metrics_page_init(&f->page, &f->out);
}

static void expect(struct fixture *f, const char *text)
{
    cr_assert_eq(f->page.failed, 0);
    cr_assert_str_eq(buf_cstr(&f->out), text);
    buf_free(&f->out);
}

Test(metrics, a_sample_with_its_head)
{
    struct fixture f;
    begin(&f);
    metrics_add(&f.page, METRIC_SANDBOXES, METRICS_LABELS({"state", "ready"}), 3);
    metrics_add(&f.page, METRIC_SANDBOXES, METRICS_LABELS({"state", "stopped"}), 0);
    metrics_add(&f.page, METRIC_EVENTS_QUEUED, METRICS_NO_LABELS, UINT64_MAX);
    expect(&f, "# HELP kuasar_sandboxes Sandboxes by state.\n"
               "# TYPE kuasar_sandboxes gauge\n"
               "kuasar_sandboxes{state=\"ready\"} 3\n"
               "kuasar_sandboxes{state=\"stopped\"} 0\n"
               "# HELP kuasar_events_queued Events that wait for containerd.\n"
               "# TYPE kuasar_events_queued gauge\n"
               "kuasar_events_queued 18446744073709551615\n");
}

Test(metrics, times_are_seconds)
{
    struct fixture f;
    begin(&f);
    metrics_add_time(&f.page, METRIC_CPU_SECONDS, METRICS_NO_LABELS, 1500000001);
    cr_assert_not_null(
        strstr(buf_cstr(&f.out), "\nkuasar_process_cpu_seconds_total 1.500000001\n"));
    buf_free(&f.out);
}

Test(metrics, values_of_labels_are_escaped)
{
    struct fixture f;
    begin(&f);
    metrics_add(&f.page, METRIC_BUILD_INFO, METRICS_LABELS({"version", "a\"b\\c\nd"}), 1);
    cr_assert_not_null(strstr(buf_cstr(&f.out), "{version=\"a\\\"b\\\\c\\nd\"} 1\n"));
    buf_free(&f.out);
}

Test(metrics, buckets_are_cumulative_and_end_with_all)
{
    struct fixture f;
    struct metrics_histogram h = {0};
    begin(&f);
    metrics_observe(&h, 0);
    metrics_observe(&h, metrics_bounds[0]);
    metrics_observe(&h, metrics_bounds[0] + 1);
    metrics_observe(&h, UINT64_C(3600000000000));
    cr_assert_eq(metrics_count(&h), 4);
    metrics_add_histogram(&f.page, METRIC_RPC_SECONDS, METRICS_LABELS({"method", "Wait"}), &h);
    const char *text = buf_cstr(&f.out);
    cr_expect_not_null(strstr(text, "_bucket{method=\"Wait\",le=\"0.0001\"} 2\n"), "%s", text);
    cr_expect_not_null(strstr(text, "_bucket{method=\"Wait\",le=\"0.00025\"} 3\n"));
    cr_expect_not_null(strstr(text, "_bucket{method=\"Wait\",le=\"60\"} 3\n"));
    cr_expect_not_null(strstr(text, "_bucket{method=\"Wait\",le=\"+Inf\"} 4\n"));
    cr_expect_not_null(strstr(text, "_sum{method=\"Wait\"} 3600.000200001\n"));
    cr_expect_not_null(strstr(text, "_count{method=\"Wait\"} 4\n"));
    buf_free(&f.out);
}

Test(metrics, bounds_rise)
{
    for (size_t i = 1; i < METRICS_BOUNDS; i++)
        cr_assert_gt(metrics_bounds[i], metrics_bounds[i - 1]);
}

Test(metrics, an_empty_histogram_is_not_shown)
{
    struct fixture f;
    struct metrics_histogram h = {0};
    begin(&f);
    metrics_add_histogram(&f.page, METRIC_RPC_SECONDS, METRICS_NO_LABELS, &h);
    expect(&f, "");
}

Test(metrics, stages_that_were_not_needed_are_not_counted)
{
    static const struct stage_plan plan = {"bake", {"mix", "rise", "heat"}};
    struct stages s = {.plan = &plan, .begun = 1000, .last = 4000, .took = {1000, 0, 2000}};
    struct stage_histograms h = {0};
    struct fixture f;
    begin(&f);
    metrics_observe_stages(&h, &s);
    metrics_add_operations(&f.page, &plan, &h, 1);
    metrics_add_stages(&f.page, &plan, &h, 1);
    const char *text = buf_cstr(&f.out);
    cr_expect_not_null(
        strstr(text, "\nkuasar_operation_duration_seconds_sum{operation=\"bake\"} 0.000003000\n"));
    cr_expect_not_null(strstr(text, "_sum{operation=\"bake\",stage=\"heat\"} 0.000002000\n"));
    cr_expect_null(strstr(text, "rise"));
    buf_free(&f.out);
}

Test(metrics, samples_of_a_metric_stand_together)
{
    struct fixture f;
    begin(&f);
    metrics_add(&f.page, METRIC_EVENTS_QUEUED, METRICS_NO_LABELS, 1);
    metrics_add(&f.page, METRIC_EXECS, METRICS_NO_LABELS, 1);
    metrics_add(&f.page, METRIC_EVENTS_QUEUED, METRICS_NO_LABELS, 1);
    cr_assert_eq(f.page.failed, -EINVAL);
    buf_free(&f.out);
}

Test(metrics, too_many_samples_fail_the_page)
{
    struct fixture f;
    begin(&f);
    for (unsigned i = 0; i < METRICS_SAMPLES_MAX; i++)
        metrics_add(&f.page, METRIC_EVENTS_QUEUED, METRICS_NO_LABELS, i);
    cr_assert_eq(f.page.failed, 0);
    metrics_add(&f.page, METRIC_EVENTS_QUEUED, METRICS_NO_LABELS, 0);
    cr_assert_eq(f.page.failed, -E2BIG);
    buf_free(&f.out);
}

Test(metrics, a_page_without_room_fails)
{
    struct buf small;
    struct metrics_page page;
    buf_init(&small, 10);
    metrics_page_init(&page, &small);
    metrics_add(&page, METRIC_EVENTS_QUEUED, METRICS_NO_LABELS, 1);
    cr_assert_eq(page.failed, -EMSGSIZE);
    buf_free(&small);
}

static uint64_t sample(const char *page, const char *name)
{
    char line[128];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(page, line);
    cr_assert(at, "%s in:\n%s", name, page);
    return strtoull(at + strlen(line), NULL, 10);
}

Test(metrics, the_process_is_this_one)
{
    struct fixture f;
    begin(&f);
    metrics_add_process(&f.page);
    uint64_t before = sample(buf_cstr(&f.out), "kuasar_process_open_fds");
    uint64_t started = sample(buf_cstr(&f.out), "kuasar_process_start_time_seconds");
    cr_expect_gt(sample(buf_cstr(&f.out), "kuasar_process_resident_memory_bytes"), 100000);
    cr_expect_leq(started, (uint64_t)time(NULL) + 2);
    cr_expect_gt(started, (uint64_t)time(NULL) - 86400);
    buf_free(&f.out);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    begin(&f);
    metrics_add_process(&f.page);
    cr_expect_eq(sample(buf_cstr(&f.out), "kuasar_process_open_fds"), before + 1);
    close(fd);
    buf_free(&f.out);
}

// ---- the names ----------------------------------------------------------------------------------

Test(metrics, every_name_says_its_unit)
{
    for (size_t i = 0; i < METRIC_MAX_; i++) {
        const struct metric_info *m = &metric_infos[i];
        cr_assert(m->name && m->help, "metric %zu has no name", i);
        size_t len = strlen(m->name);
        cr_expect(strncmp(m->name, "kuasar_", 7) == 0, "%s", m->name);
        bool total = len > 6 && strcmp(m->name + len - 6, "_total") == 0;
        cr_expect_eq(total, m->type == METRIC_COUNTER, "%s", m->name);
        if (m->type == METRIC_HISTOGRAM)
            cr_expect_str_eq(m->name + len - 8, "_seconds");
    }
}

static char *read_doc(const char *path)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    char full[4096];
    snprintf(full, sizeof full, TEST_DATA "/../%s", path);
    cr_assert_eq(file_read_at(AT_FDCWD, full, &b), 0, "%s", full);
    cr_assert(buf_cstr(&b));
    return (char *)b.data;
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

// Is it a name of the table, perhaps with what a histogram adds?
static bool is_metric(const char *name, size_t len)
{
    for (size_t i = 0; i < METRIC_MAX_; i++) {
        const struct metric_info *m = &metric_infos[i];
        size_t n = strlen(m->name);
        if (len < n || strncmp(name, m->name, n) != 0)
            continue;
        if (len == n)
            return true;
        static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
        for (size_t k = 0; m->type == METRIC_HISTOGRAM && k < ARRAY_SIZE(suffixes); k++)
            if (len - n == strlen(suffixes[k]) && strncmp(name + n, suffixes[k], len - n) == 0)
                return true;
    }
    return false;
}

// Every name that begins with kuasar_ in a text is one of ours. Returns how many there are.
static unsigned check_names(const char *text, const char *where)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, "kuasar_")); n++) {
        size_t len = 0;
        while (is_name_byte(at[len]))
            len++;
        cr_expect(is_metric(at, len), "%s: %.*s is no metric", where, (int)len, at);
        at += len;
    }
    return n;
}

Test(metrics, the_documentation_has_the_same_names)
{
    char *text = read_doc("docs/METRICS.md");
    static const char *const types[] = {"gauge", "counter", "histogram"};
    for (size_t i = 0; i < METRIC_MAX_; i++) {
        char row[256];
        snprintf(row, sizeof row, "\n| `%s` | %s | ", metric_infos[i].name,
                 types[metric_infos[i].type]);
        cr_expect_not_null(strstr(text, row), "no row \"%s\"", row + 1);
    }
    cr_expect_geq(check_names(text, "docs/METRICS.md"), METRIC_MAX_);
    free(text);
}

Test(metrics, the_dashboard_uses_documented_names)
{
    char *text = read_doc("examples/grafana/kuasar.json");
    struct error err = {0};
    json_object *json = json_parse(text, strlen(text), "kuasar.json", &err);
    cr_expect(json, "%s", err.text);
    json_object_put(json);
    cr_expect_geq(check_names(text, "examples/grafana/kuasar.json"), 10);
    free(text);
}

Test(metrics, the_scrape_configuration_uses_documented_names)
{
    char *text = read_doc("examples/prometheus/kuasar.yaml");
    cr_expect_geq(check_names(text, "examples/prometheus/kuasar.yaml"), 3);
    free(text);
}
