#include "ctl/kinds.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "sandbox/sandbox.h"

#define PREFIX "kuasar-"

static const struct {
    const char *name, *socket;
} roles[] = {
    [ROLE_SANDBOXER] = {"sandboxer", SANDBOXER_INSPECT_SOCKET},
    [ROLE_TASK] = {"task server", "task.sock"},
};
_Static_assert(ARRAY_SIZE(roles) == ROLE_MAX_, "every role has its names");

const char *role_name(enum role role)
{
    return roles[role].name;
}

int role_socket(enum role role, const struct kind *kind, char *out, size_t size)
{
    return path_format(out, size, "%s/%s", kind->dir, roles[role].socket);
}

// A directory that one of our daemons has worked in.
static bool is_state_dir(const char *dir)
{
    static const char *const marks[] = {"sandboxes", "tasks", "sandboxer.lock", "task.lock"};
    char path[PATH_MAX];
    struct stat st;
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
        if (path_format(path, sizeof path, "%s/%s", dir, marks[i]) == 0 && lstat(path, &st) == 0)
            return true;
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct kind *)a)->name, ((const struct kind *)b)->name);
}

static int find_all(struct kinds *ret, const char *run_dir, struct error *err)
{
    DIR *d = opendir(run_dir);
    if (!d)
        return error_errno(err, errno, "--run-dir: cannot read %s", run_dir);
    for (const struct dirent *e; (e = readdir(d)) && ret->n < KINDS_MAX;) {
        struct kind *k = &ret->list[ret->n];
        if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0 ||
            !ident_valid(e->d_name + strlen(PREFIX)))
            continue;
        snprintf(k->name, sizeof k->name, "%s", e->d_name + strlen(PREFIX));
        if (path_format(k->dir, sizeof k->dir, "%s/%s", run_dir, e->d_name) == 0 &&
            is_state_dir(k->dir))
            ret->n++;
    }
    closedir(d);
    qsort(ret->list, ret->n, sizeof *ret->list, by_name);
    return 0;
}

static int keep_only(struct kinds *k, const char *only, const char *run_dir, struct error *err)
{
    struct buf names;
    buf_init(&names, 512);
    for (size_t i = 0; i < k->n; i++) {
        if (strcmp(k->list[i].name, only) == 0) {
            k->list[0] = k->list[i];
            k->n = 1;
            buf_free(&names);
            return 0;
        }
        buf_printf(&names, "%s%s", i ? ", " : "", k->list[i].name);
    }
    const char *text = buf_cstr(&names);
    error_set(err, STATUS_NOT_FOUND,
              "--kind: there is no state directory %s/" PREFIX
              "%s: has its sandboxer been started? "
              "(kinds found: %s)",
              run_dir, only, text && *text ? text : "none");
    buf_free(&names);
    return -1;
}

int kinds_find(struct kinds *ret, const char *run_dir, const char *only, struct error *err)
{
    ret->n = 0;
    if (find_all(ret, run_dir, err) < 0)
        return -1;
    return only ? keep_only(ret, only, run_dir, err) : 0;
}
