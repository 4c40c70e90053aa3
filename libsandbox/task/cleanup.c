// Taking back everything that was done for a task, in the reverse order of Create.
//
//   ops->remove ─► init has ended ─► rootfs unmounted ─► record removed
//
// Every step is tried whatever became of the one before; the record stays if one failed, so that
// the next server tries again.
#include "task/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "event/job.h"
#include "linux/mount.h"
#include "linux/mount_space.h"
#include "task/record.h"

int task_rootfs_path(const struct task *t, char *out, size_t size)
{
    return t->server->mounts->own >= 0 && (t->mounted || t->n_mounts)
               ? path_format(out, size, "%s/rootfs/%s/%s", t->server->dir, t->ns, t->id)
               : path_format(out, size, "%s/rootfs", t->bundle);
}

struct cleanup {
    struct task *task;
    struct task_done done;
    struct error err; // the first one
};

static void cleanup_note(struct cleanup *c, const struct error *err)
{
    if (!err)
        return;
    log_warn("container %s: cleaning up: %s", c->task->id, err->text);
    if (c->err.status == STATUS_OK)
        c->err = *err;
}

static void cleanup_end(struct cleanup *c)
{
    struct task *t = c->task;
    if (c->err.status == STATUS_OK) {
        task_record_remove(t);
        task_timing_end(t, TASK_TIMING_DELETE, TASK_DELETE_RECORD);
    }
    c->done.fn(c->done.arg, c->err.status == STATUS_OK ? NULL : &c->err);
    task_unref(t);
    free(c);
}

// A predecessor may have had another mount namespace, or none.
static int unmount_work(void *arg, void *reply, size_t *reply_len, struct error *err)
{
    const struct task *t = ((const struct cleanup *)arg)->task;
    char path[PATH_MAX], bundle[PATH_MAX];
    int r = task_rootfs_path(t, path, sizeof(path));
    if (r == 0)
        r = path_format(bundle, sizeof(bundle), "%s/rootfs", t->bundle);
    if (r == 0)
        r = mount_remove(path);
    if (r == 0 && strcmp(path, bundle) != 0) {
        r = mount_remove(bundle);
        if (rmdir(path) < 0 && errno != ENOENT && r == 0)
            r = -errno;
    }
    return r < 0 ? error_errno(err, r, "unmount %s", path) : 0;
}

static void unmounted(const void *reply, size_t len, const struct error *err, void *arg)
{
    struct cleanup *c = arg;
    task_timing_mark(c->task, TASK_TIMING_DELETE, TASK_DELETE_UNMOUNT);
    cleanup_note(c, err);
    if (!err)
        c->task->mounted = false;
    cleanup_end(c);
}

static void cleanup_unmount(struct cleanup *c)
{
    struct task *t = c->task;
    struct error err = {0};
    if (!t->mounted) {
        cleanup_end(c);
    } else if (!job_start(t->server->loop, t->server->reaper, unmount_work, unmounted, c,
                          TASK_MOUNT_SECONDS, &err)) {
        cleanup_note(c, &err);
        cleanup_end(c);
    }
}

static void cleanup_stopped(void *arg, const struct error *err)
{
    struct cleanup *c = arg;
    task_timing_mark(c->task, TASK_TIMING_DELETE, TASK_DELETE_WAIT);
    cleanup_note(c, err);
    cleanup_unmount(c);
}

static void cleanup_removed(void *arg, const struct error *err)
{
    struct cleanup *c = arg;
    task_timing_mark(c->task, TASK_TIMING_DELETE, TASK_DELETE_RUNTIME);
    if (!err || err->status == STATUS_NOT_FOUND)
        c->task->engaged = false;
    else
        cleanup_note(c, err);
    task_await_stop(c->task, TASK_KILL_SECONDS, (struct task_done){cleanup_stopped, c});
}

static void removed_early(void *arg, const struct error *err)
{
    struct task_op *op = arg;
    struct task *t = op->task;
    task_timing_end(t, TASK_TIMING_REMOVE, TASK_REMOVE_RUNTIME);
    if (!err || err->status == STATUS_NOT_FOUND)
        t->engaged = false;
    else
        log_info("container %s: %s; Delete tries again", t->id, err->text);
    task_op_end(op, NULL);
}

static void remove_early_run(struct task_op *op)
{
    struct task *t = op->task;
    if (!t->engaged) {
        task_op_end(op, NULL);
        return;
    }
    task_timing_begin(t, TASK_TIMING_REMOVE);
    t->ops->remove(t, (struct task_done){removed_early, op});
}

void task_remove_early(struct task *t)
{
    if (t->stored && t->engaged)
        task_op_start(t, NULL, NULL, true, remove_early_run, NULL, 0);
}

void task_cleanup(struct task *t, struct task_done done)
{
    struct cleanup *c = calloc(1, sizeof(*c));
    struct error err = {0};
    if (!c) {
        error_errno(&err, ENOMEM, "container %s", t->id);
        done.fn(done.arg, &err);
        return;
    }
    c->task = task_ref(t);
    c->done = done;
    task_timing_begin(t, TASK_TIMING_DELETE);
    if (t->engaged)
        t->ops->remove(t, (struct task_done){cleanup_removed, c});
    else
        cleanup_removed(c, NULL);
}
