#include "ctl/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "ctl/program.h"

// Longest that one of the programs it asks may take.
#define PROGRAM_SECONDS 10.0

static const char *const verdict_names[] = {
    [VERDICT_OK] = "ok", [VERDICT_WARNING] = "warning", [VERDICT_ERROR] = "error"};

const char *verdict_name(enum verdict v)
{
    return verdict_names[v];
}

static const struct {
    const char *area;
    void (*run)(struct doctor *d);
} checks[] = {
    {"containerd", check_containerd}, {"handlers", check_handlers}, {"daemons", check_daemons},
    {"runtimes", check_runtimes},     {"wasm", check_wasm},         {"kernel", check_kernel},
    {"cgroups", check_cgroups},
};

int doctor_run(struct doctor *d, const struct ctl *ctl, const char *root, struct error *err)
{
    *d = (struct doctor){.ctl = ctl, .root = root};
    d->list = calloc(FINDINGS_MAX, sizeof *d->list);
    if (!d->list)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        d->area = checks[i].area;
        checks[i].run(d);
    }
    return 0;
}

void doctor_done(struct doctor *d)
{
    document_done(&d->merged);
    document_done(&d->files);
    free(d->list);
    *d = (struct doctor){0};
}

int doctor_exit(const struct doctor *d)
{
    static const int codes[] = {
        [VERDICT_OK] = EXIT_OK, [VERDICT_WARNING] = EXIT_WARNING, [VERDICT_ERROR] = EXIT_ERROR};
    enum verdict worst = VERDICT_OK;
    for (size_t i = 0; i < d->n; i++)
        if (d->list[i].verdict > worst)
            worst = d->list[i].verdict;
    return codes[worst];
}

void found(struct doctor *d, enum verdict verdict, const char *fmt, ...)
{
    va_list ap;
    if (d->n == FINDINGS_MAX)
        return;
    struct finding *f = &d->list[d->n++];
    *f = (struct finding){.verdict = verdict, .area = d->area};
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
}

void remedy(struct doctor *d, const char *fmt, ...)
{
    va_list ap;
    struct finding *f = &d->list[d->n - 1];
    va_start(ap, fmt);
    vsnprintf(f->remedy, sizeof f->remedy, fmt, ap);
    va_end(ap);
}

// ---- looking ------------------------------------------------------------------------------------

int doctor_path(const struct doctor *d, char *out, size_t size, const char *fmt, ...)
{
    char path[PATH_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof path)
        return -ENAMETOOLONG;
    return path_format(out, size, "%s%s", d->root, path);
}

bool doctor_read(const struct doctor *d, const char *path, char *out, size_t size)
{
    char full[PATH_MAX];
    if (doctor_path(d, full, sizeof full, "%s", path) < 0)
        return false;
    _cleanup_close_ int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    if (n < 0)
        return false;
    if (n && out[n - 1] == '\n')
        n--;
    out[n] = '\0';
    return true;
}

bool doctor_exists(const struct doctor *d, const char *path)
{
    char full[PATH_MAX];
    return doctor_path(d, full, sizeof full, "%s", path) == 0 && access(full, F_OK) == 0;
}

static bool is_program(const struct doctor *d, const char *path)
{
    char full[PATH_MAX];
    return doctor_path(d, full, sizeof full, "%s", path) == 0 && access(full, X_OK) == 0;
}

bool doctor_find_program(const struct doctor *d, const char *path, const char *name,
                         char out[PATH_MAX])
{
    if (strchr(name, '/')) {
        return path_format(out, PATH_MAX, "%s", name) == 0 && is_program(d, out);
    }
    while (*path) {
        size_t len = strcspn(path, ":");
        if (len && len < PATH_MAX &&
            path_format(out, PATH_MAX, "%.*s/%s", (int)len, path, name) == 0 && is_program(d, out))
            return true;
        path += len + (path[len] == ':');
    }
    return false;
}

char *doctor_output(const struct doctor *d, const char *program, const char *const *arguments,
                    struct error *err)
{
    char full[PATH_MAX];
    const char *argv[5] = {full};
    struct program p = {0};
    for (size_t i = 0; i < 3 && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    if (doctor_path(d, full, sizeof full, "%s", program) < 0) {
        error_set(err, STATUS_INVALID_ARGUMENT, "%s: path too long", program);
        return NULL;
    }
    char *out = NULL;
    if (program_run(d->ctl, argv, PROGRAM_SECONDS, &p, err) == 0) {
        if (p.timed_out)
            error_set(err, STATUS_DEADLINE_EXCEEDED, "%s did not end within %g s", program,
                      PROGRAM_SECONDS);
        else if (p.code)
            error_set(err, STATUS_UNKNOWN, "%s", program_last_line(p.err));
        else if (p.cut)
            error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s printed too much to look at", program);
        else
            out = take_ptr(p.out);
    }
    program_done(&p);
    return out;
}
