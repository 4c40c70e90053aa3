// Numbers about a daemon, and the page that shows them: Prometheus' text format 0.0.4.
//
// What is counted while the daemon works are plain integers in their owner's struct (nothing is
// allocated, nothing is looked up); everything else is read when somebody asks for the page. The
// names are this table and nothing else; docs/METRICS.md explains them to people.
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/stages.h"

// Most samples of one page, and its most bytes: far more than all values of the fixed labels make,
// so they only catch a mistake of ours. What is over them fails the whole page.
#define METRICS_SAMPLES_MAX 16384
#define METRICS_PAGE_MAX    (2u * 1024 * 1024)
// Most labels of one sample.
#define METRICS_LABELS_MAX 3

enum metric {
    METRIC_BUILD_INFO,
    METRIC_RPC_SECONDS,
    METRIC_RPC_ERRORS,
    METRIC_RPC_OPEN,
    METRIC_CONNECTIONS,
    METRIC_SANDBOXES,
    METRIC_CONTAINERS,
    METRIC_EXECS,
    METRIC_OPERATION_SECONDS,
    METRIC_STAGE_SECONDS,
    METRIC_OPERATIONS_OPEN,
    METRIC_PARKED_CALLS,
    METRIC_EVENTS_QUEUED,
    METRIC_EVENTS_QUEUED_BYTES,
    METRIC_EVENTS_RESENT,
    METRIC_EVENTS_DROPPED,
    METRIC_SCRAPES_REFUSED,
    METRIC_OPEN_FDS,
    METRIC_RESIDENT_BYTES,
    METRIC_CPU_SECONDS,
    METRIC_START_TIME,
    METRIC_MAX_,
};

enum metric_type { METRIC_GAUGE, METRIC_COUNTER, METRIC_HISTOGRAM };

struct metric_info {
    const char *name, *help;
    enum metric_type type;
};
extern const struct metric_info metric_infos[METRIC_MAX_];

// ---- histograms -------------------------------------------------------------------------------

// Upper bounds of the buckets in nanoseconds, 100 microseconds to 1 minute; one bucket more is for
// what takes longer.
#define METRICS_BOUNDS 17
extern const uint64_t metrics_bounds[METRICS_BOUNDS];

struct metrics_histogram {
    uint64_t n[METRICS_BOUNDS + 1]; // in this bucket alone
    uint64_t sum;                   // nanoseconds
};
void metrics_observe(struct metrics_histogram *h, uint64_t nanoseconds);
uint64_t metrics_count(const struct metrics_histogram *h);

// Histograms of a timed operation and of its steps.
struct stage_histograms {
    struct metrics_histogram total, steps[STAGES_MAX];
};
// The operation has succeeded. Steps that were not needed are not counted.
void metrics_observe_stages(struct stage_histograms *h, const struct stages *s);

// ---- the page ---------------------------------------------------------------------------------

// A label; values come from fixed tables, never from a peer.
struct metrics_label {
    const char *name, *value;
};
// A list of labels for the functions below, ended by a row of NULLs.
#define METRICS_LABELS(...) ((const struct metrics_label[]){__VA_ARGS__, {NULL, NULL}})
#define METRICS_NO_LABELS   ((const struct metrics_label[]){{NULL, NULL}})

struct metrics_page {
    struct buf *out;
    size_t samples;
    enum metric last; // METRIC_MAX_: none yet
    bool shown[METRIC_MAX_];
    int failed; // the first negative errno; the page is worthless then
};

// An empty page in `out`, which limits its length (METRICS_PAGE_MAX).
void metrics_page_init(struct metrics_page *p, struct buf *out);
// Adds a sample. All samples of one metric must follow one another (-EINVAL for the page
// otherwise).
void metrics_add(struct metrics_page *p, enum metric m, const struct metrics_label *labels,
                 uint64_t value);
// The same for a time, which is shown in seconds.
void metrics_add_time(struct metrics_page *p, enum metric m, const struct metrics_label *labels,
                      uint64_t nanoseconds);
// Adds a histogram, unless it is empty.
void metrics_add_histogram(struct metrics_page *p, enum metric m,
                           const struct metrics_label *labels, const struct metrics_histogram *h);
// Adds METRIC_OPERATION_SECONDS or METRIC_STAGE_SECONDS of all operations of a layer.
void metrics_add_operations(struct metrics_page *p, const struct stage_plan *plans,
                            const struct stage_histograms *h, size_t n);
void metrics_add_stages(struct metrics_page *p, const struct stage_plan *plans,
                        const struct stage_histograms *h, size_t n);
// Adds what the kernel knows of this process. (What /proc does not say is left out.)
void metrics_add_process(struct metrics_page *p);

#endif
