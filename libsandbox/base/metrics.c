#include "base/metrics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define US            UINT64_C(1000)
#define MS            (1000 * US)

const struct metric_info metric_infos[METRIC_MAX_] = {
    [METRIC_BUILD_INFO] = {"kuasar_build_info", "Program and version; always 1.", METRIC_GAUGE},
    [METRIC_RPC_SECONDS] = {"kuasar_rpc_duration_seconds",
                            "Time from a request to its answer, by method and kind of answer.",
                            METRIC_HISTOGRAM},
    [METRIC_RPC_ERRORS] = {"kuasar_rpc_errors_total", "Requests answered with an error, by status.",
                           METRIC_COUNTER},
    [METRIC_RPC_OPEN] = {"kuasar_rpc_open", "Requests that are not answered yet.", METRIC_GAUGE},
    [METRIC_CONNECTIONS] = {"kuasar_connections", "Open connections of clients.", METRIC_GAUGE},
    [METRIC_SANDBOXES] = {"kuasar_sandboxes", "Sandboxes by state.", METRIC_GAUGE},
    [METRIC_CONTAINERS] = {"kuasar_containers", "Containers by state.", METRIC_GAUGE},
    [METRIC_EXECS] = {"kuasar_execs", "Exec processes by state.", METRIC_GAUGE},
    [METRIC_OPERATION_SECONDS] = {"kuasar_operation_duration_seconds",
                                  "Time of operations that succeeded.", METRIC_HISTOGRAM},
    [METRIC_STAGE_SECONDS] = {"kuasar_stage_duration_seconds",
                              "Time of the steps of operations that succeeded.", METRIC_HISTOGRAM},
    [METRIC_OPERATIONS_OPEN] = {"kuasar_operations_open", "Operations at work or in a queue.",
                                METRIC_GAUGE},
    [METRIC_PARKED_CALLS] = {"kuasar_parked_calls",
                             "Calls that wait until a sandbox or process gets somewhere.",
                             METRIC_GAUGE},
    [METRIC_EVENTS_QUEUED] = {"kuasar_events_queued", "Events that wait for containerd.",
                              METRIC_GAUGE},
    [METRIC_EVENTS_QUEUED_BYTES] = {"kuasar_events_queued_bytes", "Bytes of these events.",
                                    METRIC_GAUGE},
    [METRIC_EVENTS_RESENT] = {"kuasar_events_resent_total",
                              "Tries to send an event that failed and are made again.",
                              METRIC_COUNTER},
    [METRIC_EVENTS_DROPPED] = {"kuasar_events_dropped_total",
                               "Events that containerd refused or that found no room.",
                               METRIC_COUNTER},
    [METRIC_SCRAPES_REFUSED] = {"kuasar_scrapes_refused_total",
                                "Requests for metrics that were not answered with them.",
                                METRIC_COUNTER},
    [METRIC_OPEN_FDS] = {"kuasar_process_open_fds", "Open file descriptors of the daemon.",
                         METRIC_GAUGE},
    [METRIC_RESIDENT_BYTES] = {"kuasar_process_resident_memory_bytes",
                               "Resident memory of the daemon.", METRIC_GAUGE},
    [METRIC_CPU_SECONDS] = {"kuasar_process_cpu_seconds_total",
                            "CPU time that the daemon itself has used.", METRIC_COUNTER},
    [METRIC_START_TIME] = {"kuasar_process_start_time_seconds",
                           "When the daemon was started, in seconds since 1970.", METRIC_GAUGE},
};

static const char *const type_names[] = {
    [METRIC_GAUGE] = "gauge", [METRIC_COUNTER] = "counter", [METRIC_HISTOGRAM] = "histogram"};

const uint64_t metrics_bounds[METRICS_BOUNDS] = {
    100 * US, 250 * US, 500 * US, 1 * MS,    2500 * US, 5 * MS,    10 * MS,    25 * MS,    50 * MS,
    100 * MS, 250 * MS, 500 * MS, 1000 * MS, 2500 * MS, 5000 * MS, 10000 * MS, 60000 * MS,
};

// ---- histograms -------------------------------------------------------------------------------

void metrics_observe(struct metrics_histogram *h, uint64_t nanoseconds)
{
    size_t i = 0;
    while (i < METRICS_BOUNDS && nanoseconds > metrics_bounds[i])
        i++;
    h->n[i]++;
    h->sum += nanoseconds;
}

uint64_t metrics_count(const struct metrics_histogram *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= METRICS_BOUNDS; i++)
        n += h->n[i];
    return n;
}

void metrics_observe_stages(struct stage_histograms *h, const struct stages *s)
{
    metrics_observe(&h->total, stages_total(s));
    for (size_t i = 0; i < STAGES_MAX; i++)
        if (s->took[i])
            metrics_observe(&h->steps[i], s->took[i]);
}

// ---- the page ---------------------------------------------------------------------------------

void metrics_page_init(struct metrics_page *p, struct buf *out)
{
    *p = (struct metrics_page){.out = out, .last = METRIC_MAX_};
}

static void fail(struct metrics_page *p, int e)
{
    if (p->failed == 0 && e < 0)
        p->failed = e;
}

#define PRINT(p, ...) fail(p, buf_printf((p)->out, __VA_ARGS__))

// The head of a metric, before its first sample.
static void head(struct metrics_page *p, enum metric m)
{
    const struct metric_info *info = &metric_infos[m];
    if (p->last == m)
        return;
    if (p->shown[m])
        fail(p, -EINVAL);
    p->last = m;
    p->shown[m] = true;
    PRINT(p, "# HELP %s %s\n# TYPE %s %s\n", info->name, info->help, info->name,
          type_names[info->type]);
}

static void print_label(struct metrics_page *p, char before, const struct metrics_label *l)
{
    PRINT(p, "%c%s=\"", before, l->name);
    for (const char *c = l->value; *c;) {
        size_t plain = strcspn(c, "\n\"\\");
        PRINT(p, "%.*s", (int)plain, c);
        c += plain;
        if (*c)
            PRINT(p, "\\%c", *c == '\n' ? 'n' : *c);
        c += *c != '\0';
    }
    PRINT(p, "\"");
}

// Everything of a sample but its value. `extra` may be NULL.
static void begin_sample(struct metrics_page *p, enum metric m, const char *suffix,
                         const struct metrics_label *labels, const struct metrics_label *extra)
{
    char before = '{';
    if (p->samples++ == METRICS_SAMPLES_MAX)
        fail(p, -E2BIG);
    if (p->failed)
        return;
    PRINT(p, "%s%s", metric_infos[m].name, suffix);
    for (; labels->name; labels++, before = ',')
        print_label(p, before, labels);
    if (extra) {
        print_label(p, before, extra);
        before = ',';
    }
    PRINT(p, "%s ", before == ',' ? "}" : "");
}

static void print_count(struct metrics_page *p, uint64_t value)
{
    PRINT(p, "%llu\n", (unsigned long long)value);
}

static void print_seconds(struct metrics_page *p, uint64_t nanoseconds)
{
    PRINT(p, "%llu.%09llu\n", (unsigned long long)(nanoseconds / NS_PER_SECOND),
          (unsigned long long)(nanoseconds % NS_PER_SECOND));
}

void metrics_add(struct metrics_page *p, enum metric m, const struct metrics_label *labels,
                 uint64_t value)
{
    head(p, m);
    begin_sample(p, m, "", labels, NULL);
    print_count(p, value);
}

void metrics_add_time(struct metrics_page *p, enum metric m, const struct metrics_label *labels,
                      uint64_t nanoseconds)
{
    head(p, m);
    begin_sample(p, m, "", labels, NULL);
    print_seconds(p, nanoseconds);
}

void metrics_add_histogram(struct metrics_page *p, enum metric m,
                           const struct metrics_label *labels, const struct metrics_histogram *h)
{
    uint64_t n = 0;
    if (metrics_count(h) == 0)
        return;
    head(p, m);
    for (size_t i = 0; i <= METRICS_BOUNDS; i++) {
        char bound[32] = "+Inf";
        if (i < METRICS_BOUNDS)
            snprintf(bound, sizeof bound, "%g", (double)metrics_bounds[i] / NS_PER_SECOND);
        const struct metrics_label le = {"le", bound};
        n += h->n[i];
        begin_sample(p, m, "_bucket", labels, &le);
        print_count(p, n);
    }
    begin_sample(p, m, "_sum", labels, NULL);
    print_seconds(p, h->sum);
    begin_sample(p, m, "_count", labels, NULL);
    print_count(p, n);
}

void metrics_add_operations(struct metrics_page *p, const struct stage_plan *plans,
                            const struct stage_histograms *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        metrics_add_histogram(p, METRIC_OPERATION_SECONDS,
                              METRICS_LABELS({"operation", plans[i].operation}), &h[i].total);
}

void metrics_add_stages(struct metrics_page *p, const struct stage_plan *plans,
                        const struct stage_histograms *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < stages_count(&plans[i]); k++)
            metrics_add_histogram(
                p, METRIC_STAGE_SECONDS,
                METRICS_LABELS({"operation", plans[i].operation}, {"stage", plans[i].names[k]}),
                &h[i].steps[k]);
}

// ---- the process ------------------------------------------------------------------------------

static void add_open_fds(struct metrics_page *p)
{
    uint64_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    metrics_add(p, METRIC_OPEN_FDS, METRICS_NO_LABELS, n - 1); // not the one for looking
}

// The field of /proc/self/stat with this number, proc(5); 0 if it cannot be had. The second field,
// a name in parentheses, may hold anything.
static uint64_t stat_field(const char *text, int number)
{
    const char *s = strrchr(text, ')');
    for (int i = 2; s && i < number; i++)
        if ((s = strchr(s, ' ')))
            s++;
    return s ? strtoull(s, NULL, 10) : 0;
}

#define STAT_START_TIME 22
#define STAT_RSS        24

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

void metrics_add_process(struct metrics_page *p)
{
    _cleanup_(buf_free) struct buf stat;
    buf_init(&stat, 4096);
    const char *text =
        file_read_at(AT_FDCWD, "/proc/self/stat", &stat) == 0 ? buf_cstr(&stat) : NULL;
    add_open_fds(p);
    if (text)
        metrics_add(p, METRIC_RESIDENT_BYTES, METRICS_NO_LABELS,
                    stat_field(text, STAT_RSS) * (uint64_t)sysconf(_SC_PAGESIZE));
    metrics_add_time(p, METRIC_CPU_SECONDS, METRICS_NO_LABELS, clock_ns(CLOCK_PROCESS_CPUTIME_ID));
    if (text) {
        uint64_t boot = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME);
        uint64_t tick = NS_PER_SECOND / (uint64_t)sysconf(_SC_CLK_TCK);
        metrics_add_time(p, METRIC_START_TIME, METRICS_NO_LABELS,
                         boot + stat_field(text, STAT_START_TIME) * tick);
    }
}
