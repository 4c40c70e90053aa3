// Recovery: read every record, move what cannot be read to quarantine/, then clean up everything
// else, RECOVERY_PARALLEL at a time, with the same code that serves Delete.
//
// A record is believed only as far as the kernel confirms it: processes are named by pid and start
// time, the cgroup by its path below the hierarchies, the mount by the mount table.
#include "task/recovery.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "base/log.h"
#include "task/internal.h"
#include "task/record.h"

// Containers that are cleaned at a time.
#define RECOVERY_PARALLEL 16
// How long the server keeps containerd waiting for it; what takes longer goes on beside its work.
#define RECOVERY_SECONDS 5.0
// Exit code of a process that lost its server: it was killed.
#define RECOVERY_EXIT_CODE 137

struct leftover {
    struct task *task;
    bool stopped; // its exit was published by the dead server
    STAILQ_ENTRY(leftover) link;
};

struct task_recovery {
    struct task_server *server;
    STAILQ_HEAD(, leftover) todo;
    size_t running, cleaned, failed;
    bool advancing;
    void (*done)(void *arg);
    void *arg;
    ev_timer begin; // so that done never comes from inside task_server_recover
    ev_timer late;  // RECOVERY_SECONDS
};

static void leftover_free(struct leftover *l)
{
    task_unref(l->task);
    free(l);
}

static void advance(struct task_recovery *r);

static void cleaned(void *arg, const struct error *err)
{
    struct task *t = arg;
    struct task_recovery *r = t->server->recovery;
    if (!r)
        return;
    if (err) {
        r->failed++;
        log_error("container %s of a dead server: %s", t->id, err->text);
    } else {
        r->cleaned++;
    }
    r->running--;
    task_unref(t);
    advance(r);
}

static void clean(struct leftover *l)
{
    struct task *t = l->task;
    struct timespec now;
    struct task_process *p;
    clock_gettime(CLOCK_REALTIME, &now);
    t->ops->reap(t);
    TAILQ_FOREACH(p, &t->execs, link)
    {
        task_process_exited(p, RECOVERY_EXIT_CODE, &now);
    }
    // Whose Create had not got so far as a process has nothing to report.
    t->init.state = t->init.pid.pid && !l->stopped ? PROCESS_RUNNING : PROCESS_NEW;
    task_process_exited(&t->init, RECOVERY_EXIT_CODE, &now);
    task_cleanup(task_ref(t), (struct task_done){cleaned, t});
    leftover_free(l);
}

static void advance(struct task_recovery *r)
{
    if (r->advancing)
        return;
    r->advancing = true;
    while (r->running < RECOVERY_PARALLEL && !STAILQ_EMPTY(&r->todo)) {
        struct leftover *l = STAILQ_FIRST(&r->todo);
        STAILQ_REMOVE_HEAD(&r->todo, link);
        r->running++;
        clean(l);
    }
    r->advancing = false;
    if (r->running || !STAILQ_EMPTY(&r->todo))
        return;
    if (r->cleaned || r->failed)
        log_info("recovery: %zu containers of a dead server ended, %zu not", r->cleaned, r->failed);
    void (*done)(void *) = r->done;
    void *arg = r->arg;
    r->server->recovery = task_recovery_free(r);
    if (done)
        done(arg);
}

static void on_late(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct task_recovery *r = container_of(w, struct task_recovery, late);
    void (*done)(void *) = r->done;
    ev_timer_stop(loop, w);
    log_warn("recovery: containers of a dead server resist; the server starts beside them");
    r->done = NULL;
    if (done)
        done(r->arg);
}

// ---- reading the records --------------------------------------------------------------------

static int add_exec(struct task *t, const struct task_record_exec *e, struct error *err)
{
    struct task_process *p = task_exec_add(t, e->id, err);
    if (!p)
        return -1;
    p->pid = e->pid;
    p->state = PROCESS_RUNNING;
    return 0;
}

static const struct task_ops *ops_of(const struct task_ops *ops, const char *kind)
{
    if (strcmp(ops->name, kind) == 0)
        return ops;
    for (size_t i = 0; ops->others && ops->others[i]; i++) {
        if (strcmp(ops->others[i]->name, kind) == 0)
            return ops->others[i];
    }
    return NULL;
}

static struct task *task_of(struct task_server *s, const struct task_record *rec, struct error *err)
{
    struct task *t = task_new(s, rec->ns, rec->id, rec->bundle);
    if (t && rec->cgroup)
        t->cgroup = strdup(rec->cgroup);
    if (t && rec->sandbox_id)
        t->sandbox_id = strdup(rec->sandbox_id);
    if (!t || (rec->cgroup && !t->cgroup) || (rec->sandbox_id && !t->sandbox_id)) {
        error_errno(err, ENOMEM, "container %s", rec->id);
        return task_unref(t);
    }
    t->mounted = rec->mounted;
    t->engaged = rec->engaged;
    t->recorded = true;
    t->private_pid = true; // everything is reaped at once, by ops->reap
    t->init.pid = rec->init;
    t->ops = ops_of(s->ops, rec->kind);
    if (!t->ops) {
        t->ops = s->ops;
        error_set(err, STATUS_FAILED_PRECONDITION, "kind: \"%s\" is not served here", rec->kind);
        return task_unref(t);
    }
    if (t->ops->adopt(t, rec->engine, err) < 0)
        return task_unref(t);
    for (size_t i = 0; i < rec->n_execs; i++) {
        if (add_exec(t, &rec->execs[i], err) < 0)
            return task_unref(t);
    }
    return t;
}

static int read_record(struct task_recovery *r, const char *path, const char *ns, const char *file,
                       struct error *err)
{
    struct task_record rec = {0};
    struct buf text;
    buf_init(&text, TASK_RECORD_MAX);
    int n = file_read_at(AT_FDCWD, path, &text);
    if (n < 0)
        error_errno(err, n, "read");
    else
        n = task_record_parse(text.data, text.len, &rec, err);
    buf_free(&text);
    if (n < 0)
        return -1;
    struct leftover *l = calloc(1, sizeof(*l));
    size_t id_len = strlen(file) - strlen(".json");
    if (strcmp(rec.ns, ns) != 0 || strlen(rec.id) != id_len || strncmp(rec.id, file, id_len) != 0)
        error_set(err, STATUS_INVALID_ARGUMENT, "it is about container %s of namespace %s", rec.id,
                  rec.ns);
    else if (!l)
        error_errno(err, ENOMEM, "record");
    else if ((l->task = task_of(r->server, &rec, err)))
        l->stopped = rec.stopped;
    task_record_done(&rec);
    if (!l || !l->task) {
        free(l);
        return -1;
    }
    STAILQ_INSERT_TAIL(&r->todo, l, link);
    return 0;
}

static void quarantine(const struct task_server *s, const char *path, const char *ns,
                       const char *file, const char *why)
{
    char to[PATH_MAX];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int r = path_format(to, sizeof(to), "%s/quarantine/task-%s-%s.%lld", s->dir, ns, file,
                        (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    if (r == 0 && rename(path, to) < 0)
        r = -errno;
    if (r < 0)
        log_error("record %s is unusable (%s) and cannot be moved away: %s", path, why,
                  strerror(-r));
    else
        log_error("record %s is unusable (%s): moved to %s; its container must be ended by hand",
                  path, why, to);
}

// Logs of commands and half-written records; no record has such a name.
static bool is_scrap(const char *file)
{
    return file[0] == '.' && strcmp(file, ".") != 0 && strcmp(file, "..") != 0;
}

static bool is_record(const char *file)
{
    size_t len = strlen(file);
    return file[0] != '.' && len > 5 && strcmp(file + len - 5, ".json") == 0;
}

static void read_namespace(struct task_recovery *r, const char *ns)
{
    char dir[PATH_MAX], path[PATH_MAX];
    if (path_format(dir, sizeof(dir), "%s/tasks/%s", r->server->dir, ns) < 0)
        return;
    DIR *d = opendir(dir);
    const struct dirent *e;
    if (!d) {
        log_error("%s: %s", dir, strerror(errno));
        return;
    }
    while ((e = readdir(d))) {
        struct error err = {0};
        if (path_format(path, sizeof(path), "%s/%s", dir, e->d_name) < 0)
            continue;
        if (is_scrap(e->d_name))
            (void)unlink(path);
        if (!is_record(e->d_name))
            continue;
        if (read_record(r, path, ns, e->d_name, &err) < 0)
            quarantine(r->server, path, ns, e->d_name, err.text);
    }
    closedir(d);
}

static void read_all(struct task_recovery *r)
{
    char dir[PATH_MAX];
    if (path_format(dir, sizeof(dir), "%s/tasks", r->server->dir) < 0)
        return;
    DIR *d = opendir(dir);
    const struct dirent *e;
    if (!d) {
        log_error("%s: %s", dir, strerror(errno));
        return;
    }
    while ((e = readdir(d))) {
        if (ident_valid(e->d_name))
            read_namespace(r, e->d_name);
    }
    closedir(d);
}

static void begin(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct task_recovery *r = container_of(w, struct task_recovery, begin);
    read_all(r);
    advance(r);
}

int task_server_recover(struct task_server *s, void (*done)(void *arg), void *arg)
{
    struct task_recovery *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->server = s;
    r->done = done;
    r->arg = arg;
    STAILQ_INIT(&r->todo);
    ev_timer_init(&r->begin, begin, 0, 0);
    ev_timer_init(&r->late, on_late, RECOVERY_SECONDS, 0);
    s->recovery = r;
    ev_timer_start(s->loop, &r->begin);
    ev_timer_start(s->loop, &r->late);
    return 0;
}

struct task_recovery *task_recovery_free(struct task_recovery *r)
{
    if (!r)
        return NULL;
    ev_timer_stop(r->server->loop, &r->begin);
    ev_timer_stop(r->server->loop, &r->late);
    while (!STAILQ_EMPTY(&r->todo)) {
        struct leftover *l = STAILQ_FIRST(&r->todo);
        STAILQ_REMOVE_HEAD(&r->todo, link);
        leftover_free(l);
    }
    free(r);
    return NULL;
}
