// What doctor finds, and what its checks (check_*.c) share. A check looks at one area below a root
// directory, which is "" for this machine and a made-up tree in the tests.
#ifndef CTL_DOCTOR_H
#define CTL_DOCTOR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "ctl/ctl.h"
#include "ctl/document.h"
#include "ctl/kinds.h"

enum verdict { VERDICT_OK, VERDICT_WARNING, VERDICT_ERROR };
const char *verdict_name(enum verdict v);

struct finding {
    enum verdict verdict;
    const char *area; // "containerd", a constant
    char text[ERROR_TEXT_MAX];
    char remedy[ERROR_TEXT_MAX]; // "": none is needed
};

// Most findings; a node has some dozens.
#define FINDINGS_MAX 512

// The containerd that runs, or would.
struct containerd {
    pid_t pid;              // 0: none runs
    char program[PATH_MAX]; // without the root; "": none was found
    bool replaced;          // the file there is another than the one that runs
    char path[4096];        // its $PATH
    char config[PATH_MAX];  // its main file, without the root
    int major, minor;       // 0.0: unknown
};

struct doctor {
    const struct ctl *ctl;
    const char *root;
    const char *area; // of the check that runs
    struct finding *list;
    size_t n;
    struct containerd containerd;
    struct document merged; // its configuration as it takes it ("config dump")
    struct document files;  // as it stands in the main file and its imports
    bool merged_known;
};

// Runs all checks. Returns 0 or -1 without memory; doctor_done in any case.
int doctor_run(struct doctor *d, const struct ctl *ctl, const char *root, struct error *err);
void doctor_done(struct doctor *d);
// The worst of all, as an exit code.
int doctor_exit(const struct doctor *d);

// ---- for the checks -----------------------------------------------------------------------------

// Adds a finding of the area that is being checked.
void found(struct doctor *d, enum verdict verdict, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// What can be done about the last one.
void remedy(struct doctor *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// root + path. 0 or -ENAMETOOLONG.
int doctor_path(const struct doctor *d, char *out, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
// Reads a short text file below the root, without its last line break. Returns false if it cannot.
bool doctor_read(const struct doctor *d, const char *path, char *out, size_t size);
// Is there something at root + path?
bool doctor_exists(const struct doctor *d, const char *path);
// Looks a program up in a $PATH below the root; `out` is without the root. An absolute name is only
// looked at. Returns false if there is none.
bool doctor_find_program(const struct doctor *d, const char *path, const char *name,
                         char out[PATH_MAX]);
// Runs root + program with up to three arguments (NULL ends them) and gives what it printed, which
// the caller frees, or NULL with *err: also if it printed more than is kept.
char *doctor_output(const struct doctor *d, const char *program, const char *const *arguments,
                    struct error *err);

void check_containerd(struct doctor *d);
void check_handlers(struct doctor *d);
void check_runtimes(struct doctor *d);
void check_daemons(struct doctor *d);
void check_kernel(struct doctor *d);
void check_cgroups(struct doctor *d);
void check_wasm(struct doctor *d);

#endif
